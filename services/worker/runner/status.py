"""What the host is doing, in memory that the guardian shares.

The host writes and never waits; the guardian reads a few times a second. So a host that holds the
interpreter lock, or is dead, is still understood: which call it was in, whose, on which connection, until
when. One slot per call at a time; `phase` is written last when a call begins and first when it ends.
"""

from __future__ import annotations

import mmap
import struct

from .protocol import MAX_CALLER_BYTES, MAX_CONNECTIONS, MAX_REQUEST_ID_BYTES

IDLE = 0
RUNNING = 1
ANSWERING = 2
"""The answer is on its way: none may be written in its place."""

_PARTIAL = 64
_TRUSTED = 1024
_SLOTS = 4096
_SLOT_SIZE = 8192
_RECORD = struct.Struct("<QqqqIHH")
_ID = 64
_CALLER = 256
NO_HOLD = -1
FITS = (
    _PARTIAL + MAX_CONNECTIONS <= _TRUSTED
    and _TRUSTED + MAX_CONNECTIONS <= _SLOTS
    and _RECORD.size + 8 <= _ID
    and _ID + MAX_REQUEST_ID_BYTES <= _CALLER
    and _CALLER + MAX_CALLER_BYTES <= _SLOT_SIZE
)
"""Whether each member has room in the layout above."""


class Call:
    """A slot as it was read: the call that was under way."""

    __slots__ = ("caller", "deadline_ns", "hold", "phase", "place", "request_id", "sequence", "started_ns")

    def __init__(self, phase: int, record: tuple[int, ...], request_id: bytes, caller: bytes) -> None:
        self.phase = phase
        self.sequence, self.deadline_ns, self.started_ns, self.hold, self.place = record[:5]
        self.request_id = request_id
        self.caller = caller


class Slot:
    """The host's side of one call at a time."""

    __slots__ = ("_at", "_caller", "_memory", "sequence")

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self._memory = memory
        self._at = _SLOTS + index * _SLOT_SIZE
        self._caller = b""
        self.sequence = 0

    def begin(
        self,
        place: int,
        started_ns: int,
        deadline_ns: int,
        hold: int,
        request_id: bytes,
        caller: bytes,
        partial: bool,
    ) -> None:
        """The call on connection `place` begins. `hold` is where its output starts, if it is asked for.
        `request_id` and `caller` must fit MAX_REQUEST_ID_BYTES and MAX_CALLER_BYTES. `partial` says whether
        bytes of a further request have been taken from the connection."""
        memory = self._memory
        at = self._at
        self.sequence += 1
        _RECORD.pack_into(
            memory, at + 8, self.sequence, deadline_ns, started_ns, hold, place, len(request_id), len(caller)
        )
        memory[at + _ID : at + _ID + len(request_id)] = request_id
        if caller != self._caller:
            memory[at + _CALLER : at + _CALLER + len(caller)] = caller
            self._caller = caller
        memory[at] = RUNNING
        memory[_PARTIAL + place] = partial

    def answering(self) -> None:
        self._memory[self._at] = ANSWERING

    def end(self) -> None:
        self._memory[self._at] = IDLE


class Status:
    """The whole page. Made by the guardian before it forks."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._memory = mmap.mmap(-1, _SLOTS + concurrency * _SLOT_SIZE)

    def slot(self, index: int) -> Slot:
        return Slot(self._memory, index)

    def clear(self) -> None:
        """Forget the last host, before the next one starts."""
        self._memory[:] = bytes(len(self._memory))

    @property
    def draining(self) -> bool:
        return self._memory[0] != 0

    def drain(self) -> None:
        self._memory[0] = 1

    def set_partial(self, place: int, partial: bool) -> None:
        """Whether the host may have taken bytes from this connection of a request that it has not begun. Set
        before it reads."""
        self._memory[_PARTIAL + place] = partial

    def is_partial(self, place: int) -> bool:
        return self._memory[_PARTIAL + place] != 0

    def set_trusted(self, place: int, trusted: bool) -> None:
        """Whether the host has seen the replica's token on this connection."""
        self._memory[_TRUSTED + place] = trusted

    def is_trusted(self, place: int) -> bool:
        return self._memory[_TRUSTED + place] != 0

    def calls_begun(self) -> int:
        return sum(self._sequence(index) for index in range(self._concurrency))

    def calls(self) -> list[Call]:
        """The calls under way."""
        found = (self._read(index) for index in range(self._concurrency))
        return [call for call in found if call is not None]

    def _sequence(self, index: int) -> int:
        value: int = _RECORD.unpack_from(self._memory, _SLOTS + index * _SLOT_SIZE + 8)[0]
        return value

    def _read(self, index: int) -> Call | None:
        memory = self._memory
        at = _SLOTS + index * _SLOT_SIZE
        phase = memory[at]
        if phase == IDLE:
            return None
        record = _RECORD.unpack_from(memory, at + 8)
        request_id = bytes(memory[at + _ID : at + _ID + record[5]])
        caller = bytes(memory[at + _CALLER : at + _CALLER + record[6]])
        if memory[at] == IDLE or self._sequence(index) != record[0]:
            return None  # ended, or another one begun, while it was read: the next look will tell
        return Call(phase, record, request_id, caller)
