"""When signing keys are made, sign, and are no longer needed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class KeyTimes:
    kid: str
    signs_from: datetime


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How long a key signs, is published before that, and after the last token that it signed was issued."""

    period: timedelta
    lead: timedelta
    keep: timedelta
    """Lifetime of a token, and some grace."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    signing: str | None
    """The key to sign with now."""
    create_for: datetime | None
    """Make a key that signs from then on."""
    delete: tuple[str, ...]
    """Keys that no living token was signed with."""


def plan_keys(now: datetime, keys: Sequence[KeyTimes], policy: KeyPolicy) -> KeyPlan:
    """What is to be done about the keys. The first one signs at once, all others after some time in public."""
    ordered = sorted(keys, key=lambda key: (key.signs_from, key.kid))
    if not ordered:
        return KeyPlan(signing=None, create_for=now, delete=())
    started = [key for key in ordered if key.signs_from <= now]
    signing = started[-1] if started else ordered[0]
    due = ordered[-1].signs_from + policy.period - policy.lead <= now
    followed = pairwise(ordered)
    return KeyPlan(
        signing=signing.kid,
        create_for=now + policy.lead if due else None,
        delete=tuple(key.kid for key, next_one in followed if next_one.signs_from + policy.keep <= now),
    )


def pending(now: datetime, keys: Sequence[KeyTimes]) -> KeyTimes | None:
    """The key that is published but does not sign yet, if there is one."""
    return next((key for key in keys if key.signs_from > now), None)
