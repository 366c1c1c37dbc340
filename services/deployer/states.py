"""What a report may make of a replica's state, and how long a state may last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.common.contracts.replicas import TERMINAL, TRANSITIONS, ReplicaState

LIVE = frozenset(ReplicaState) - TERMINAL

BACKOFF_LIMIT_SECONDS = 60.0
STABLE_SECONDS = 60.0
"""A replica that was ready for this long and then fails is started again at once."""


@dataclass(frozen=True, slots=True)
class Deadline:
    seconds: float
    reason: str


DEADLINES: Mapping[ReplicaState, Deadline] = {
    ReplicaState.WANTED: Deadline(30.0, "its worker did not take it up within 30 s"),
    ReplicaState.STARTING: Deadline(1800.0, "it was not ready within 30 minutes"),
    ReplicaState.DRAINING: Deadline(3900.0, "it did not end within 65 minutes of draining"),
}
"""Longest times that states may last. They are for what has got stuck: a worker has shorter ones of its own, and a
call may take 50 minutes."""


def follows(old: ReplicaState, new: ReplicaState) -> bool:
    """May a report say `new` after `old` was known? States in between may have come and gone unreported."""
    reached, ahead = {old}, [old]
    while ahead:
        state = ahead.pop()
        if state == new:
            return True
        ahead.extend(TRANSITIONS[state] - reached)
        reached |= TRANSITIONS[state]
    return False


def overdue(state: ReplicaState, since: datetime, now: datetime) -> str | None:
    """Why a replica that is in a state since then has failed by now, or None."""
    deadline = DEADLINES.get(state)
    if deadline is None or now - since < timedelta(seconds=deadline.seconds):
        return None
    return deadline.reason


def backoff(failures: int) -> timedelta:
    """Pause after that many failed attempts in a row: 1, 2, 4 ... 60 s."""
    return timedelta(seconds=min(BACKOFF_LIMIT_SECONDS, 2.0 ** min(failures - 1, 16)))
