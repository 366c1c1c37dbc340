"""Device nodes as NVIDIA's driver makes them, with nothing behind them: each reads as endless zeros."""

from __future__ import annotations

import os
import stat
from pathlib import Path

ZEROS = os.makedev(1, 5)


def gpu_nodes(folder: Path, count: int) -> Path:
    """A folder like /dev with so many GPUs. Users without the right to make devices get empty files there."""
    folder.mkdir()
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(count))):
        try:
            os.mknod(folder / name, stat.S_IFCHR | 0o666, ZEROS)
        except PermissionError:
            (folder / name).touch()
        (folder / name).chmod(0o666)
    return folder
