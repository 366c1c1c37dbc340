"""What a caller is told when the process that ran its call has ended."""

from __future__ import annotations

import time

from . import answers
from .answers import Failure
from .output import read_call, size_of
from .status import NO_HOLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from .status import Call


_PRINTED_BYTES = 16 * 1024
"""Of the output, so that the answer fits a socket's buffer."""


def failure_of_death(call: Call, words: str, overdue: AbstractSet[int] = frozenset()) -> Failure:
    """`words` say how the process ended; `overdue` are the places of calls that it was ended for."""
    if call.place in overdue:
        limit = (call.deadline_ns - call.started_ns) / 1e9
        message = f"algorithm timed out after {limit:g} seconds; its process was ended"
        return Failure(message, answers.TIMEOUT_ERROR)
    if overdue:
        words = "was ended because another call in it timed out"
    return Failure(f"the algorithm's process {words}", answers.SYSTEM_EXIT)


def failure_of_stop() -> Failure:
    return Failure("the replica was stopped during this call", answers.SYSTEM_EXIT)


def answer_for(call: Call, failure: Failure, output: int) -> bytes:
    """The whole answer, with what the call printed if that was asked for."""
    stdout = None
    if call.hold != NO_HOLD:
        stdout = read_call(output, call.hold, size_of(output), _PRINTED_BYTES)
    seconds = f"{time.monotonic() - call.started_ns / 1e9:.6f}"
    return answers.failure_answer(failure, call.request_id.decode("latin-1"), seconds, stdout=stdout)
