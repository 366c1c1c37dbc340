"""Which replica takes a call: of two random ones, the one with less to do. Pure.

Two random choices come close to the best one at a constant cost, and gateways that know nothing of one another do
not all pick the same replica (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    outstanding: int
    """Calls sent to it and not answered."""
    concurrency: int
    """Calls that it runs at once."""
    avoid_until: float
    """It is not given calls before this time."""


C = TypeVar("C", bound=Candidate)


def has_room(replica: Candidate, now: float) -> bool:
    return replica.outstanding < replica.concurrency and replica.avoid_until <= now


def choose(replicas: Sequence[C], now: float, random: Callable[[], float]) -> C | None:
    """A replica that has room, or None when none has.

    Args:
        now: in the time that `avoid_until` is in.
        random: gives numbers from 0 up to, not including, 1.
    """
    count = len(replicas)
    if count <= 1:
        return replicas[0] if count and has_room(replicas[0], now) else None
    first = int(random() * count)
    second = int(random() * (count - 1))
    if second >= first:
        second += 1
    a, b = replicas[first], replicas[second]
    a_free, b_free = has_room(a, now), has_room(b, now)
    if a_free and b_free:
        return a if a.outstanding * b.concurrency <= b.outstanding * a.concurrency else b
    if a_free or b_free:
        return a if a_free else b
    return next((replica for replica in replicas if has_room(replica, now)), None)
