"""What commands keep beside a bundle: small JSON files, each with its own digest, so that damage is noticed.

They hold settings and credentials, so they are readable for their owner only.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from constellation.bundle.problems import Damaged


def write(path: Path, content: dict[str, Any]) -> None:
    """Keep the content; readers see the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_encoded(content))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(path: Path) -> dict[str, Any]:
    """The content; empty when there is none. Raises Damaged, which names the file."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(found)["content"]
        if isinstance(content, dict) and _encoded(content) == found:
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise Damaged(f"{path.name} is damaged; remove it and set anew what it held") from None


def _encoded(content: dict[str, Any]) -> bytes:
    """Other bytes for other content, and the same for the same."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({"content": content, "sha256": digest}, sort_keys=True, indent=1) + "\n").encode()
