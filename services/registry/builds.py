"""Builds: requested here, done by workers, which hold a lease on the row while they work.

    request -> (source archive) -> job -> claim -> log ... log -> result -> revision in the catalog

Work as any other (see work.py), which can be had once its source archive is made.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.contracts.builds import BUILD_TRANSITIONS, BuildLog, BuildResult, BuildSpec, BuildState
from libs.common.contracts.jobs import BUILD_QUEUE, BuildRequested
from libs.common.db import Database, after_commit
from libs.common.loops import Loop
from libs.common.pages import Page
from libs.common.problems import Conflict, Invalid, NotFound
from libs.common.text import storable
from services.registry import build_logs, store
from services.registry.access import NoSuchAlgorithm
from services.registry.catalog import Catalog
from services.registry.git_process import GitFailed
from services.registry.models import Algorithm, Build
from services.registry.pages import Paging
from services.registry.repositories import ARCHIVE_SECONDS, Repositories
from services.registry.settings import MIB, RegistrySettings
from services.registry.signals import Signals
from services.registry.work import Course, Patience, WorkQueue

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


class Builds(WorkQueue[Build]):
    """See the module's documentation."""

    course = Course(BUILD_TRANSITIONS, BuildState.QUEUED, BuildState.RUNNING, BuildState.SUCCEEDED, BuildState.FAILED)

    def __init__(self, parts: BuildParts, settings: RegistrySettings) -> None:
        patience = Patience(
            lease=settings.build_lease_seconds,
            attempts=settings.build_attempts,
            timeout=settings.build_timeout_seconds,
        )
        super().__init__(Build, "build", database=parts.database, bus=parts.bus, job=_job, patience=patience)
        self._parts = parts
        self._settings = settings
        self._log_limit = settings.build_log_limit_mib * MIB
        self._sources = [Loop("build sources", self.archive_waiting, every=2.0) for _ in range(_ARCHIVES_AT_ONCE)]
        self._archiving: set[UUID] = set()

    async def request(self, session: AsyncSession, algorithm: Algorithm, commit: str) -> Build:
        """The build of a commit: the one that is under way or succeeded, else a new one.

        The algorithm's row is locked.
        """
        newest = await store.newest_build(session, algorithm.id, commit=commit)
        if newest is not None and newest.state is not BuildState.FAILED:
            return newest
        build = Build(algorithm_id=algorithm.id, commit=commit, language=algorithm.language)
        session.add(build)
        await session.flush()
        self.wanted(session)
        return build

    async def claim(self, session: AsyncSession, build_id: UUID, worker: str) -> BuildSpec:
        """Give a build to a worker. Raises NotFound, Conflict when it is taken, finished or not ready."""
        build = await self.locked(session, build_id)
        if build.source is None:
            raise Conflict("its source is not ready yet")
        begun = build.started_at
        token = self.take(session, build, worker)
        build.started_at = begun or build.started_at  # for people, it goes on after a worker was lost
        build.log_received = 0
        algorithm = await store.by_id(session, build.algorithm_id)
        return BuildSpec(
            id=build.id,
            algorithm_id=algorithm.id,
            owner=algorithm.owner,
            name=algorithm.name,
            commit=build.commit,
            language=build.language,
            source=build.source,
            lease_token=token,
            lease_seconds=self.patience.lease,
            timeout_seconds=self.patience.timeout,
            memory_mib=self._settings.build_memory_mib,
        )

    async def write_log(self, session: AsyncSession, build_id: UUID, sent: BuildLog) -> None:
        """Keep a piece of log and renew the lease. Raises Conflict when the lease is lost."""
        build = self.renew(await self.find(session, build_id), sent.lease_token)
        build_logs.receive(session, build, sent, limit=self._log_limit)
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
        build = await self.find(session, build_id)
        wanted = BuildState.SUCCEEDED if result.succeeded else BuildState.FAILED
        if build is not None and build.lease_token == result.lease_token and build.state is wanted:
            return
        build = self.held(build, result.lease_token)
        if result.succeeded:
            await self._check_artifact(build, result)
            assert result.artifact is not None  # noqa: S101 - just checked
            build.artifact = result.artifact.model_dump(mode="json")
        failure = storable(result.reason or "the build failed; its log says why")
        self.end(session, build, None if result.succeeded else failure)
        if result.succeeded:
            await self._parts.catalog.tell(session, algorithm)

    def loops(self) -> list[Loop]:
        return [*super().loops(), *self._sources]

    def wanted(self, session: AsyncSession) -> None:
        """A new build waits for its source."""
        super().wanted(session)
        for loop in self._sources:
            after_commit(session, loop.wake)

    def lost(self, session: AsyncSession, row: Build) -> str:
        lost = f"worker {row.worker} was lost while it built this"
        build_logs.append(session, row, f"\n[{lost}]\n", limit=self._log_limit)
        return f"{lost}, for the {row.attempts}. time: it may need more memory than there is"

    def waiting(self) -> ColumnElement[bool]:
        return super().waiting() & Build.source.is_not(None)

    def end(self, session: AsyncSession, row: Build, reason: str | None) -> None:
        super().end(session, row, reason)
        build_id = row.id
        after_commit(session, lambda: self._parts.signals.tell(build_id))

    async def archive_waiting(self) -> None:
        """Make the sources that are missing, oldest build first, beside who else does. One that takes long, or cannot
        be made now, keeps no other waiting. Raises ExceptionGroup of the faults."""
        faults: list[Exception] = []
        for build_id in await self._without_source():
            if build_id not in self._archiving:
                self._archiving.add(build_id)
                try:
                    await self._archive(build_id)
                except Exception as fault:
                    faults.append(fault)
                finally:
                    self._archiving.discard(build_id)
        if faults:
            raise ExceptionGroup("sources of builds could not be archived", faults)

    async def _without_source(self) -> Sequence[UUID]:
        query = (
            select(Build.id)
            .where(Build.state == BuildState.QUEUED, Build.source.is_(None))
            .order_by(Build.number)
            .limit(_BATCH)
        )
        async with self._parts.database.transaction() as session:
            return (await session.execute(query)).scalars().all()

    async def _archive(self, build_id: UUID) -> None:
        """Make the source archive of a build. One that cannot be made ends the build with the reason."""
        async with self._parts.database.transaction() as session:
            found = await session.get(Build, build_id)
        if found is None or found.state is not BuildState.QUEUED or found.source is not None:
            return
        digest, reason = None, None
        with tempfile.TemporaryDirectory(prefix="constellation-source-") as folder:
            target = Path(folder, "source.tar")
            try:
                await self._parts.repositories.archive(found.algorithm_id, found.commit, target)
            except GitFailed as error:
                reason = f"the source of the commit cannot be taken: {error}"
            except TimeoutError:
                reason = f"the source of the commit could not be read within {ARCHIVE_SECONDS:.0f} s"
            else:
                digest = await self._parts.blobs.put_file(target)
        async with self._parts.database.transaction() as session:
            build = await self.find(session, build_id)
            if build is None or build.state is not BuildState.QUEUED:
                return
            build.source = digest
            after_commit(session, self.loop.wake)
            if reason is not None:
                self.end(session, build, reason)

    async def _check_artifact(self, build: Build, result: BuildResult) -> None:
        if result.artifact is None:
            raise Invalid("a build that succeeded leaves an artifact")
        if result.artifact.source != build.source:
            raise Invalid("the artifact is of another source than the build's")
        lock = result.artifact.lock
        if lock is not None and not await self._parts.blobs.exists(lock):
            raise Invalid(f"the lock {lock} is no blob here; upload it first")


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


def _job(row: Build) -> tuple[str, BuildRequested]:
    return BUILD_QUEUE, BuildRequested(build_id=row.id)
