"""Builds: requested here, done by workers, which hold a lease on the row while they work.

    request -> (source archive) -> job -> claim -> log ... log -> result -> revision in the catalog

The row says what is to be done; the job on the bus is a hint that it waits. A loop (`reconcile`) makes source
archives, sends jobs, sends them again when nobody came, and takes builds back from workers that fell silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.contracts.builds import BUILD_TRANSITIONS, BuildLog, BuildResult, BuildSpec, BuildState
from libs.common.contracts.jobs import BUILD_QUEUE, BuildRequested
from libs.common.db import Database, after_commit, now
from libs.common.lease import new_token
from libs.common.loops import Loop
from libs.common.pages import Page
from libs.common.problems import Conflict, Invalid, NotFound
from libs.common.states import step
from libs.common.text import storable
from services.registry import build_logs, store
from services.registry.access import NoSuchAlgorithm
from services.registry.catalog import Catalog
from services.registry.git_process import GitFailed
from services.registry.models import Algorithm, Build
from services.registry.pages import Paging
from services.registry.repositories import Repositories
from services.registry.settings import MIB, RegistrySettings
from services.registry.signals import Signals
from services.registry.work import hint_pause

log = logs.get(__name__)

BUILD_CODE = 1010
"""What the API calls errors of builds by."""
FINAL = frozenset({BuildState.SUCCEEDED, BuildState.FAILED})
_ARCHIVES_AT_ONCE = 2
_BATCH = 100


@dataclass(frozen=True)
class BuildParts:
    """What builds need of the service."""

    database: Database
    repositories: Repositories
    blobs: Blobs
    bus: Bus
    catalog: Catalog
    signals: Signals


class Builds:
    """See the module's documentation."""

    def __init__(self, parts: BuildParts, settings: RegistrySettings) -> None:
        self._parts = parts
        self._settings = settings
        self._log_limit = settings.build_log_limit_mib * MIB
        self._archiving = asyncio.Semaphore(_ARCHIVES_AT_ONCE)
        self.loop = Loop("builds", self.reconcile, every=2.0)

    async def request(self, session: AsyncSession, algorithm: Algorithm, commit: str) -> Build:
        """The build of a commit: the one that is under way or succeeded, else a new one.

        The algorithm's row is locked.
        """
        newest = await store.newest_build(session, algorithm.id, commit=commit)
        if newest is not None and newest.state is not BuildState.FAILED:
            return newest
        build = Build(algorithm_id=algorithm.id, commit=commit, language=algorithm.language, created_at=now())
        session.add(build)
        await session.flush()
        after_commit(session, self.loop.wake)
        return build

    async def claim(self, session: AsyncSession, build_id: UUID, worker: str) -> BuildSpec:
        """Give a build to a worker. Raises NotFound, Conflict when it is taken, finished or not ready."""
        build = await _locked(session, build_id)
        if build is None:
            raise NotFound(f"there is no build {build_id}")
        if build.state is not BuildState.QUEUED or build.source is None:
            raise Conflict(f"build {build_id} is {build.state}" if build.source else "its source is not ready yet")
        algorithm = await store.by_id(session, build.algorithm_id)
        moment = now()
        self._step(session, build, BuildState.RUNNING)
        build.lease_token = new_token()
        build.lease_until = moment + timedelta(seconds=self._settings.build_lease_seconds)
        build.started_at = build.started_at or moment
        build.worker, build.attempts, build.log_received = worker, build.attempts + 1, 0
        return BuildSpec(
            id=build.id,
            algorithm_id=algorithm.id,
            owner=algorithm.owner,
            name=algorithm.name,
            commit=build.commit,
            language=build.language,
            source=build.source,
            lease_token=build.lease_token,
            lease_seconds=self._settings.build_lease_seconds,
            timeout_seconds=self._settings.build_timeout_seconds,
            memory_mib=self._settings.build_memory_mib,
        )

    async def write_log(self, session: AsyncSession, build_id: UUID, sent: BuildLog) -> None:
        """Keep a piece of log and renew the lease. Raises Conflict when the lease is lost."""
        build = _holding(await _locked(session, build_id), sent.lease_token)
        build_logs.receive(session, build, sent, limit=self._log_limit)
        build.lease_until = now() + timedelta(seconds=self._settings.build_lease_seconds)
        after_commit(session, lambda: self._parts.signals.tell(build_id))

    async def finish(self, session: AsyncSession, build_id: UUID, result: BuildResult) -> None:
        """Take a worker's result. Saying the same again changes nothing.

        Raises Conflict when the lease is lost, Invalid when what it leaves behind is not complete.
        """
        algorithm_id = (
            await session.execute(select(Build.algorithm_id).where(Build.id == build_id))
        ).scalar_one_or_none()
        if algorithm_id is None:
            raise Conflict(f"build {build_id} is gone")
        try:
            algorithm = await store.locked(session, algorithm_id)
        except NoSuchAlgorithm:
            raise Conflict(f"build {build_id} is gone") from None
        build = await _locked(session, build_id)
        wanted = BuildState.SUCCEEDED if result.succeeded else BuildState.FAILED
        if build is not None and build.lease_token == result.lease_token and build.state is wanted:
            return
        build = _holding(build, result.lease_token)
        if result.succeeded:
            await self._check_artifact(build, result)
            assert result.artifact is not None  # noqa: S101 - just checked
            build.artifact = result.artifact.model_dump(mode="json")
        build.reason = None if result.succeeded else storable(result.reason or "the build failed; its log says why")
        self._end(session, build, wanted)
        if result.succeeded:
            await self._parts.catalog.tell(session, algorithm)

    async def reconcile(self) -> None:
        """Bring every unfinished build on: archive, hint, or take back."""
        await self._take_back()
        await self._archive_all()
        await self._hint_all()

    async def _take_back(self) -> None:
        """Builds whose worker fell silent wait again, or fail when that happened too often."""
        async with self._parts.database.transaction() as session:
            query = (
                select(Build)
                .where(Build.state == BuildState.RUNNING, Build.lease_until < now())
                .order_by(Build.number)
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            for build in (await session.execute(query)).scalars().all():
                lost = f"worker {build.worker} was lost while it built this"
                log.warning("build_worker_lost", build=str(build.id), worker=build.worker, attempt=build.attempts)
                build_logs.append(session, build, f"\n[{lost}]\n", limit=self._log_limit)
                if build.attempts < self._settings.build_attempts:
                    self._step(session, build, BuildState.QUEUED)
                    build.lease_token = build.lease_until = build.next_hint_at = None
                    build.hints = 0
                else:
                    build.reason = f"{lost}, for the {build.attempts}. time: it may need more memory than there is"
                    self._end(session, build, BuildState.FAILED)

    async def _archive_all(self) -> None:
        async with self._parts.database.transaction() as session:
            query = (
                select(Build.id)
                .where(Build.state == BuildState.QUEUED, Build.source.is_(None))
                .order_by(Build.number)
                .limit(_BATCH)
            )
            waiting = (await session.execute(query)).scalars().all()
        await asyncio.gather(*(self._archive(build_id) for build_id in waiting))

    async def _archive(self, build_id: UUID) -> None:
        """Make the source archive of a build. One that cannot be made ends the build with the reason."""
        async with self._archiving, self._parts.database.transaction() as session:
            found = await session.get(Build, build_id)
        if found is None:
            return
        digest, reason = None, None
        with tempfile.TemporaryDirectory(prefix="constellation-source-") as folder:
            target = Path(folder, "source.tar")
            try:
                await self._parts.repositories.archive(found.algorithm_id, found.commit, target)
                digest = await self._parts.blobs.put_file(target)
            except GitFailed as error:
                reason = f"the source of the commit cannot be read: {error}"
        async with self._parts.database.transaction() as session:
            build = await _locked(session, build_id)
            if build is None or build.state is not BuildState.QUEUED:
                return
            build.source, build.reason = digest, reason
            if reason is not None:
                self._end(session, build, BuildState.FAILED)

    async def _hint_all(self) -> None:
        """Send the job of each build that waits: at once, and again with growing pauses while nobody comes."""
        async with self._parts.database.transaction() as session:
            query = (
                select(Build.id, Build.hints)
                .where(
                    Build.state == BuildState.QUEUED,
                    Build.source.is_not(None),
                    or_(Build.next_hint_at.is_(None), Build.next_hint_at < now()),
                )
                .order_by(Build.number)
                .limit(_BATCH)
            )
            waiting = (await session.execute(query)).all()
        for build_id, hints in waiting:
            await self._parts.bus.send(BUILD_QUEUE, BuildRequested(build_id=build_id))
            again = now() + timedelta(seconds=hint_pause(hints))
            sent = update(Build).where(Build.id == build_id, Build.state == BuildState.QUEUED)
            async with self._parts.database.transaction() as session:
                await session.execute(sent.values(hints=hints + 1, next_hint_at=again))

    async def _check_artifact(self, build: Build, result: BuildResult) -> None:
        if result.artifact is None:
            raise Invalid("a build that succeeded leaves an artifact")
        if result.artifact.source != build.source:
            raise Invalid("the artifact is of another source than the build's")
        lock = result.artifact.lock
        if lock is not None and not await self._parts.blobs.exists(lock):
            raise Invalid(f"the lock {lock} is no blob here; upload it first")

    def _end(self, session: AsyncSession, build: Build, state: BuildState) -> None:
        self._step(session, build, state)
        build.finished_at, build.lease_until = now(), None
        build_id = build.id
        log.info("build_finished", build=str(build_id), state=state.value, reason=build.reason)
        after_commit(session, lambda: self._parts.signals.tell(build_id))

    def _step(self, session: AsyncSession, build: Build, state: BuildState) -> None:
        build.state = step(BUILD_TRANSITIONS, build.state, state)
        after_commit(session, self.loop.wake)


async def page(session: AsyncSession, algorithm_id: UUID, paging: Paging) -> Page[Build]:
    """Builds of an algorithm, newest first."""
    query = select(Build).where(Build.algorithm_id == algorithm_id)
    if paging.after is not None:
        query = query.where(Build.number < paging.after[0])
    query = query.order_by(Build.number.desc()).limit(paging.limit + 1)
    rows: Sequence[Build] = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda build: (build.number,))


async def get(session: AsyncSession, algorithm_id: UUID, build_id: str) -> Build:
    """A build of an algorithm by its id in text. Raises NotFound with code 1010."""
    found = None
    with contextlib.suppress(ValueError):
        found = await session.get(Build, UUID(build_id))
    if found is None or found.algorithm_id != algorithm_id:
        raise NotFound(f"there is no build '{build_id}' of this algorithm", code=BUILD_CODE)
    return found


async def _locked(session: AsyncSession, build_id: UUID) -> Build | None:
    query = select(Build).where(Build.id == build_id).with_for_update(key_share=True)
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


def _holding(build: Build | None, token: str) -> Build:
    """The build, when `token` holds the lease on it. Raises Conflict."""
    if build is None or build.state is not BuildState.RUNNING or build.lease_token != token:
        raise Conflict("the lease on this build is lost: drop the work")
    return build
