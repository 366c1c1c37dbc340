"""Which replica takes a call. Pure.

Of two random replicas that have room, the one with less to do: close to the best one at a constant cost, and gateways
that know nothing of one another do not all pick the same (Mitzenmacher, "The power of two choices in randomized load
balancing", 2001).

A replica that runs as many calls as it can has no room. Yet if it answers each within a fraction of a millisecond,
the way to the gateway and back costs more than the call, and the replica idles meanwhile. Such a one may be sent some
calls ahead (`ahead_of`), while no replica has room. A long call would hold those up, so only a replica that was that
fast for hundreds of calls in a row gets any, and only as many as it answers within some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

AHEAD_SECONDS = 0.01
"""Work that may be sent ahead, by the pace at which the replica answers."""
AHEAD_MOST = 16
SLOWEST_PACE = 0.002
"""Seconds of a call, past which nothing is sent ahead."""
FIRST_PACE = 1.0
_DECAY = 0.98


class Candidate(Protocol):
    outstanding: int
    """Calls sent to it and not answered."""
    concurrency: int
    """Calls that it runs at once."""
    ahead: int
    """Calls that it may be sent beyond those."""
    avoid_until: float
    """It is not given calls before this time."""


C = TypeVar("C", bound=Candidate)
Random = Callable[[], float]
"""Gives numbers from 0 up to, not including, 1."""


def next_pace(pace: float, seconds: float) -> float:
    """The pace after a call that took `seconds`: about the longest of the last few hundred calls."""
    return max(seconds, pace * _DECAY)


def ahead_of(pace: float) -> int:
    """How many calls a replica of that pace may be sent ahead."""
    return int(min(AHEAD_SECONDS / pace, AHEAD_MOST)) if pace <= SLOWEST_PACE else 0


def has_room(replica: Candidate, now: float) -> bool:
    return replica.outstanding < replica.concurrency and replica.avoid_until <= now


def has_room_ahead(replica: Candidate, now: float) -> bool:
    return replica.outstanding < replica.concurrency + replica.ahead and replica.avoid_until <= now


def choose(replicas: Sequence[C], now: float, random: Random) -> C | None:
    """A replica that has room, or None when none has.

    Args:
        now: in the time that `avoid_until` is in.
    """
    found = _best_of_two(replicas, now, random, has_room)
    if found is None and len(replicas) > 2:
        return next((replica for replica in replicas if has_room(replica, now)), None)
    return found


def choose_ahead(replicas: Sequence[C], now: float, random: Random) -> C | None:
    """A replica that may be sent a call ahead. None when neither of two random ones may: the call can wait here."""
    return _best_of_two(replicas, now, random, has_room_ahead)


def _best_of_two(
    replicas: Sequence[C], now: float, random: Random, room: Callable[[Candidate, float], bool]
) -> C | None:
    count = len(replicas)
    if count <= 1:
        return replicas[0] if count and room(replicas[0], now) else None
    first = int(random() * count)
    second = int(random() * (count - 1))
    if second >= first:
        second += 1
    a, b = replicas[first], replicas[second]
    if not room(a, now):
        return b if room(b, now) else None
    if not room(b, now):
        return a
    return a if a.outstanding * b.concurrency <= b.outstanding * a.concurrency else b
