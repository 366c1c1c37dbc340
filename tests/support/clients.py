"""Interpreters with published client packages, for tests that let the real clients speak to us.

Each set of packages gets one virtual environment in the user's cache, made once and shared by all runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

INSTALL_SECONDS = 300


def algorithmia_python(version: str) -> Path:
    """An interpreter that can `import Algorithmia` of that version from PyPI. Blocks while it is made."""
    return client_python(f"algorithmia=={version}")


def client_python(*requirements: str) -> Path:
    """An interpreter that has the packages. Raises RuntimeError when they cannot be installed."""
    spec = "\n".join((sys.version, *sorted(requirements)))
    folder = _cache() / hashlib.sha256(spec.encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".complete"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--python", str(python), *requirements)
            done.touch()
    return python


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "constellation-tests"


def _uv(*arguments: str) -> None:
    command = [find_uv_bin(), "--quiet", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"uv {' '.join(arguments)} failed: {done.stderr[-2000:]}")
