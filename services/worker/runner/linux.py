"""Calls of the Linux C library that Python does not offer."""

from __future__ import annotations

import ctypes
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_IOLBF = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none escapes by a double fork."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Be killed when process `parent`, which started this one, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def dying_with_me() -> Callable[[], None]:
    """To run in a child before exec: it ends when this process does."""
    parent = os.getpid()
    return lambda: die_with(parent)


def punch_hole(descriptor: int, start: int, length: int) -> None:
    """Give back the memory or disk behind a range of a file, which reads as zeros from now on."""
    fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    if fallocate(descriptor, mode, ctypes.c_int64(start), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def line_buffer_c_stdout() -> None:
    """Let what C code prints appear at each line's end, though standard output is no terminal."""
    _libc.setvbuf(ctypes.c_void_p.in_dll(_libc, "stdout"), None, _IOLBF, ctypes.c_size_t(0))
