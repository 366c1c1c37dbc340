"""Compiling on request: build the head of `master` and wait for the end.

A commit that is built already is not built again. Clients repeat a failed request at once, so one that comes within
a few seconds of a failure gets that failure again instead of a second build.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.builds import BuildState
from libs.common.db import Database, now
from libs.common.problems import Invalid, Problem
from services.registry import build_logs, store
from services.registry.builds import BUILD_CODE, FINAL, Builds
from services.registry.models import Build
from services.registry.repositories import Repositories
from services.registry.signals import Signals

REPEAT_SECONDS = 5.0
TAIL_CHARACTERS = 4000

_LOOK_EVERY = 1.0


class BuildFailed(Invalid):
    """The build ended without a version; the message has the reason and the end of the log."""

    code = BUILD_CODE


class NotFinished(Problem):
    """The build takes longer than the request may wait; it goes on."""

    status, title, code = 504, "Not finished in time", BUILD_CODE


class Compilations:
    """Args:
    seconds: how long a request waits at most.
    """

    def __init__(
        self, database: Database, repositories: Repositories, builds: Builds, signals: Signals, *, seconds: float
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._builds = builds
        self._signals = signals
        self._seconds = seconds

    async def start(self, session: AsyncSession, algorithm_id: UUID) -> Build:
        """The build of the head, requested now if need be. Raises Invalid with code 1010 when there is no commit."""
        algorithm = await store.locked(session, algorithm_id)
        head = await self._repositories.head(algorithm_id)
        if head is None:
            raise Invalid("there is no commit on master to build: push one first", code=BUILD_CODE)
        newest = await store.newest_build(session, algorithm_id, commit=head)
        if newest is not None and _just_failed(newest):
            return newest
        build = await self._builds.request(session, algorithm, head)
        algorithm.seen_head = head
        return build

    async def wait(self, build_id: UUID, gone: Callable[[], Awaitable[bool]]) -> Build | None:
        """The build once it is finished; None when `gone` says that nobody waits any more.

        Raises NotFinished, BuildFailed.
        """
        end = time.monotonic() + self._seconds
        with self._signals.watch(build_id) as watch:
            while True:
                async with self._database.transaction() as session:
                    build = await session.get(Build, build_id)
                    if build is None:
                        raise BuildFailed("the algorithm was deleted while it was built")
                    if build.state is BuildState.FAILED:
                        tail = await build_logs.tail(session, build, TAIL_CHARACTERS)
                        raise BuildFailed(f"{build.reason}\n{tail}".strip())
                if build.state in FINAL:
                    return build
                if time.monotonic() > end:
                    raise NotFinished(
                        f"build {build_id} has not finished within {self._seconds:.0f} s; it goes on: look at"
                        f" .../builds/{build_id}"
                    )
                if await gone():
                    return None
                await watch.news(min(_LOOK_EVERY, max(0.05, end - time.monotonic())))


def _just_failed(build: Build) -> bool:
    if build.state is not BuildState.FAILED or build.finished_at is None:
        return False
    return build.finished_at > now() - timedelta(seconds=REPEAT_SECONDS)
