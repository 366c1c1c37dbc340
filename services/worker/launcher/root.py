"""What a confined program sees of the file system: parts of the machine, its own folders, and nothing else."""

from __future__ import annotations

import os

from services.worker.launcher import namespaces
from services.worker.launcher.request import TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from services.worker.launcher.request import Request

_MOUNT_POINTS_MIB = 8
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


def enter(request: Request) -> None:
    """Put it together in a mount namespace of this process's own, and make it the root. Raises OSError."""
    root = request["root"]
    namespaces.make_mounts_private()
    namespaces.mount_tmpfs(root, mode=0o755, size_mib=_MOUNT_POINTS_MIB)
    for place in TEMPORARY:  # first, because what follows may lie below
        _show(root, request["scratch"], read_only=False, at=place)
    for path in request["system"]:
        _show(root, path, read_only=True)
    emptied = [point for path in request["hidden"] if os.path.isdir(point := root + path)]
    for point in emptied:
        namespaces.mount_tmpfs(point, mode=0o755, size_mib=_MOUNT_POINTS_MIB)
    covered = [path for path in request["system"] if any(_is_below(path, hidden) for hidden in request["hidden"])]
    for path in (*covered, *request["readable"]):
        _show(root, path, read_only=True)
    for path in request["writable"]:
        _show(root, path, read_only=False)
    _make_devices(f"{root}/dev", request["devices"], request["shm_mib"])
    os.makedirs(f"{root}/run", exist_ok=True)
    os.mkdir(f"{root}/proc")
    namespaces.mount_proc(f"{root}/proc")
    for point in (*emptied, f"{root}/dev", root):
        namespaces.seal(point)
    namespaces.pivot_root(root)


def _show(root: str, source: str, *, read_only: bool, at: str | None = None) -> None:
    """Bind a file or folder to its place below `root`. A link, such as /bin, is made anew."""
    target = root + (at or source)
    if os.path.islink(source):
        if not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(source), target)
        return
    if not os.path.exists(source):
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _make_empty(target)
    namespaces.bind(source, target)
    if read_only:
        namespaces.make_read_only(target)


def _make_devices(devices: str, further: dict[str, str], shm_mib: int) -> None:
    os.makedirs(devices, exist_ok=True)
    namespaces.mount_tmpfs(devices, mode=0o755, size_mib=1)
    for name, node in {**{name: f"/dev/{name}" for name in _DEVICES}, **further}.items():
        _make_empty(f"{devices}/{name}")
        namespaces.bind(node, f"{devices}/{name}")
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{devices}/{name}")
    os.mkdir(f"{devices}/shm")
    namespaces.mount_tmpfs(f"{devices}/shm", mode=0o1777, size_mib=shm_mib)


def _make_empty(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
