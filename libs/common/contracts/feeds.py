"""Versioned snapshots that one service publishes and others follow (`GET /internal/feeds/{name}`).

A feed is a map of keys to JSON bodies. Every change gets the feed's next version. A follower names the
last version it has and receives the newest body of every key changed since, oldest change first; a body of
null means that the key is gone. That is told for a week at least, then forgotten: a follower that was away for longer
starts again from 0. Version 0 asks for all of it. When nothing changed the answer waits up to
`wait` seconds. ``epoch`` names one history: when it differs from the follower's, versions do not compare
and the follower starts again from 0.
"""

from __future__ import annotations

from typing import Any

from libs.common.contracts.identity import Wire


class FeedChange(Wire):
    key: str
    version: int
    body: dict[str, Any] | None


class FeedPage(Wire):
    epoch: str
    version: int
    """Version that the follower has after applying `changes`."""
    changes: tuple[FeedChange, ...] = ()
    floor: int = 0
    """Which keys were gone before this version is not told any more."""
    more: bool = False
    """Further changes are waiting: ask again at once."""
