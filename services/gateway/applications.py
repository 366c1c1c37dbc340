"""What answers for applications: the feed `applications` as a lookup table.

An application is called as `/v1/algo/applications/NAME`. Its current version runs on replicas of its own. The
registry says which one is current, so a switch is one change of this feed. Calls that wait for a replica of the
version before wait for one of the new version from then on; those that run are answered by the old one.
"""

from __future__ import annotations

from typing import Any

import orjson

from libs.common.contracts import applications as contract
from libs.common.contracts.applications import APPLICATION_PREFIX, CurrentVersion
from services.gateway import answers
from services.gateway.pool import Pool, Pools
from services.gateway.table import Table, Target


class Application:
    """One application. Replaced whole when anything of it changes."""

    __slots__ = ("_raw", "current", "default", "goal", "name")

    def __init__(self, said: contract.Application) -> None:
        self.name = said.name
        self.current = said.current
        self.goal = said.latency_goal_ms / 1000 if said.latency_goal_ms is not None else None
        """Seconds."""
        given = said.default_answer
        self.default = orjson.dumps(given) if given is not None else None
        """As JSON; None where errors are told as they are."""
        self._raw = given.encode() if isinstance(given, str) else None

    def default_answer(self, why: str, request_id: str, seconds: float, *, is_raw: bool) -> tuple[bytes, bytes]:
        """Content type and body of the default, of which there is one.

        Args:
            is_raw: the bare result is asked for.
        """
        assert self.default is not None  # noqa: S101 - the callers looked
        if is_raw and self._raw is not None:
            return answers.TEXT_TYPE, self._raw
        if is_raw:
            return answers.JSON_TYPE, self.default
        kind = "json" if self._raw is None else "text"
        return answers.JSON_TYPE, answers.default_body(self.default, kind, why, request_id, seconds)


class Applications:
    """`apply` is given to the follower of the feed."""

    def __init__(self, pools: Pools, table: Table) -> None:
        self._pools = pools
        self._table = table
        self._known: dict[str, Application] = {}
        """By reference, such as `applications/digits`."""
        self.changes = 0
        """Rises with every change, for caches built on top."""

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        """Raises ValueError for an entry that is none; the one before stays."""
        name = contract.reference(key.removeprefix(APPLICATION_PREFIX))
        new = Application(contract.Application.model_validate(body)) if body is not None else None
        self.changes += 1
        old = self._known.pop(name, None)
        if new is not None:
            self._known[name] = new
        before, after = old.current if old else None, new.current if new else None
        if after is not None:
            self._pools.launched(after.route).successor = None
        if before is not None and (after is None or after.route != before.route):
            if new is not None and after is not None and after.algorithm_id == before.algorithm_id:
                self._move_on(self._pools.launched(before.route), new, after)
            self._pools.forget_launched(before.route)

    def find(self, reference: str) -> Application | None:
        return self._known.get(reference)

    def target(self, current: CurrentVersion) -> Target | None:
        """What a call of a version runs; None when its algorithm is not in the catalog."""
        algorithm = self._table.by_id(current.algorithm_id)
        return Target(algorithm, current.revision_id, self._pools.launched(current.route)) if algorithm else None

    def _move_on(self, left: Pool, application: Application, current: CurrentVersion) -> None:
        """Calls that wait for a version that is left, or come back to it unbegun, go to the current one. They were
        admitted for the algorithm, so to another one they do not go."""
        target = self.target(current)
        if target is None:
            return
        left.successor = lambda call: call.redirect(target, application)
        for call in tuple(left.waiting):
            call.redirect(target, application)
