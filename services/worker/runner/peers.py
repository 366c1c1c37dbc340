"""Who is at the other end of a loopback connection.

The local door lends the caller's identity to whoever connects, and its port is open to every process of the
machine. So it asks whether the other end belongs to a process of this replica.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from .processes import descendants

_TABLE = "/proc/self/net/tcp"
_LOCAL, _REMOTE, _INODE = 1, 2, 9


def is_own(connection: socket.socket) -> bool:
    """Whether a process below this one holds the other end of an accepted IPv4 connection."""
    inode = _inode(connection.getpeername(), connection.getsockname())
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    return any(_holds(pid, wanted) for pid in descendants())


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> str | None:
    """Of the socket that is bound to `local` and connected to `remote`."""
    ends = (_written(local), _written(remote))
    with contextlib.suppress(OSError), open(_TABLE, encoding="ascii") as table:
        for line in table:
            columns = line.split()
            if (columns[_LOCAL], columns[_REMOTE]) == ends:
                return columns[_INODE]
    return None


def _written(address: tuple[str, int]) -> str:
    """As the kernel's table has it: the four bytes as one number of this machine's byte order."""
    number = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    return f"{number:08X}:{address[1]:04X}"


def _holds(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == link:
                    return True
    return False
