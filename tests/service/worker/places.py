"""A folder that users of sandboxes can pass through. pytest's own folders are closed to everybody else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.worker.files import remove


@contextmanager
def passable_folder() -> Iterator[Path]:
    """Removed at the end, whatever was made in it."""
    folder = Path(tempfile.mkdtemp(prefix="constellation-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        remove(folder)
