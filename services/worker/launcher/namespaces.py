"""Linux system calls for confining a process that Python 3.11 has no name for. Standard library only.

Sources: unshare(2), mount(2), mount_setattr(2), pivot_root(2), prctl(2), user_namespaces(7), netdevice(7).
Every function raises OSError with the name of the call and its object.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct

NEW_MOUNTS = 0x00020000
NEW_IPC = 0x08000000
NEW_USERS = 0x10000000
NEW_PIDS = 0x20000000
NEW_NETWORK = 0x40000000

READ_ONLY = 0x1
NO_SUID = 0x2
NO_DEVICES = 0x4
NO_EXEC = 0x8
_REMOUNT = 0x20
_BIND = 0x1000
_RECURSIVE = 0x4000
_PRIVATE = 0x40000
_DETACH = 0x2

_SYS_MOUNT_SETATTR = 442
"""The same on every architecture."""
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces that the caller shares with its parent. NEW_PIDS holds for its next children."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def map_own_user(uid: int, gid: int) -> None:
    """In a new user namespace: the caller keeps its ids, all others stay unmapped."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def make_mounts_private() -> None:
    """What is mounted from here on is seen in no other mount namespace, and the other way round."""
    _mount(None, "/", None, _RECURSIVE | _PRIVATE, None)


def mount_tmpfs(target: str, *, mode: int, size_mib: int) -> None:
    """An empty file system in memory."""
    options = f"mode={mode:o},size={size_mib}m"
    _mount("tmpfs", target, "tmpfs", NO_SUID | NO_DEVICES, options)


def mount_proc(target: str) -> None:
    """The processes of the caller's own pid namespace."""
    _mount("proc", target, "proc", NO_SUID | NO_DEVICES | NO_EXEC, None)


def bind(source: str, target: str) -> None:
    """Show a file or folder, with all that is mounted below it, in a second place."""
    _mount(source, target, None, _BIND | _RECURSIVE, None)


def make_read_only(target: str) -> None:
    """No writing to a mount and to all mounts below it."""
    attributes = struct.pack("QQQQ", READ_ONLY | NO_SUID, 0, 0, 0)
    done = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.c_char_p(attributes),
        ctypes.c_size_t(len(attributes)),
    )
    if done != 0:  # a kernel before 5.12, or a filter that does not know the call
        for mount_point in _mounts_below(target):
            seal(mount_point)


def seal(mount_point: str) -> None:
    """No writing to one mount; those below it stay as they are."""
    kept = os.statvfs(mount_point).f_flag & (READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC)  # locked in user namespaces
    _mount(None, mount_point, None, _REMOUNT | _BIND | READ_ONLY | NO_SUID | kept, None)


def pivot_root(new: str) -> None:
    """Make a mount the root of the file system, and let go of the old one."""
    os.chdir(new)
    _checked(_libc.pivot_root(b".", b"."), f"pivot_root({new})")
    _checked(_libc.umount2(b".", ctypes.c_int(_DETACH)), "umount2(old root)")
    os.chdir("/")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Get a signal when the thread that started this process ends. Forgotten when the process changes its user."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none leaves the tree."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """No program that this process or a descendant executes gains rights (set-user-id files, capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_tracing() -> None:
    """Other processes of the same user may not read this one's memory or environment, until it executes another."""
    _prctl(_PR_SET_DUMPABLE, 0)


def leave_keyring() -> None:
    """Take a new, empty session keyring in place of the one that was inherited (session-keyring(7))."""
    number = _SYS_KEYCTL.get(os.uname().machine)
    if number is not None:
        _libc.syscall(
            ctypes.c_long(number), ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None
        )  # kernels may have none


def bring_up_loopback() -> None:
    """In a new network namespace: the address 127.0.0.1 works."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interface:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(interface, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(interface, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    done = _libc.mount(_text(source), os.fsencode(target), _text(kind), ctypes.c_ulong(flags), _text(options))
    _checked(done, f"mount({source or kind or 'none'} on {target})")


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _mounts_below(target: str) -> list[str]:
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            point = line.split(" ")[4].encode().decode("unicode_escape")
            if point == target or point.startswith(target.rstrip("/") + "/"):
                found.append(point)
    return found


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _prctl(option: int, argument: int) -> None:
    done = _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), *(ctypes.c_ulong(0),) * 3)
    _checked(done, f"prctl({option}, {argument})")


def _checked(done: int, what: str) -> None:
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
