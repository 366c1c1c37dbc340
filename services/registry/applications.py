"""Applications: what answers for a name, and what does when that fails.

Linked versions run side by side, each with its own replicas, so that another one is made current by telling gateways
(feed `applications`), without a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.bus import Bus
from libs.common.contracts import applications as contract
from libs.common.contracts.applications import APPLICATION_PREFIX, APPLICATIONS_FEED, CurrentVersion
from libs.common.contracts.identity import Principal
from libs.common.db import now
from libs.common.feed import FeedPublisher
from libs.common.pages import Page
from libs.common.problems import Conflict, NotFound
from services.registry import application_fields, linked_versions, satellites, store
from services.registry.application_fields import ApplicationBody, ApplicationChange
from services.registry.audit import Audit
from services.registry.launch_statuses import Statuses
from services.registry.linked_versions import Replicas
from services.registry.models import Application, LinkedVersion, LinkState
from services.registry.pages import Paging

log = logs.get(__name__)


class Applications:
    def __init__(self, audit: Audit, publisher: FeedPublisher, bus: Bus) -> None:
        self._audit = audit
        self._publisher = publisher
        self._replicas = Replicas(publisher, bus)

    async def create(self, session: AsyncSession, asked: ApplicationBody, who: Principal) -> Application:
        """Raises Unprocessable for what cannot be, Conflict when the name is taken."""
        name = application_fields.name(asked.name)
        moment = now()
        row = Application(
            id=uuid4(),
            name=name,
            description=asked.description,
            default_answer=application_fields.default_answer(asked.default_answer),
            latency_goal_ms=application_fields.latency_goal(asked.latency_goal_ms),
            created_at=moment,
            created_by=who.name,
            updated_at=moment,
        )
        await _check_free(session, name)
        session.add(row)
        try:
            await session.flush()
        except IntegrityError:
            raise Conflict(f"there is an application '{name}' already") from None
        self._audit.record(session, who, "application.create", name)
        await self._tell(session, row, {})
        return row

    async def change(self, session: AsyncSession, name: str, asked: ApplicationChange, who: Principal) -> Application:
        """Raises NotFound, Unprocessable."""
        row = await locked(session, name)
        given = asked.model_fields_set
        if "description" in given:
            row.description = asked.description
        if "default_answer" in given:
            row.default_answer = application_fields.default_answer(asked.default_answer)
        if "latency_goal_ms" in given:
            row.latency_goal_ms = application_fields.latency_goal(asked.latency_goal_ms)
        row.updated_at = now()
        self._audit.record(session, who, "application.edit", name, ", ".join(sorted(given)) or None)
        await self._tell(session, row, await linked_versions.of(session, row))
        return row

    async def remove(self, session: AsyncSession, name: str, who: Principal) -> None:
        """Nothing answers to the name any more, and all that runs for it ends. Idempotent."""
        row = await _named(session, name, lock=True)
        if row is None:
            return
        versions = await linked_versions.of(session, row)
        row.removed_at = now()
        self._audit.record(session, who, "application.remove", name)
        running = [one for one in versions.values() if one.state is not LinkState.STOPPED]
        orders = [await self._replicas.stop(session, row, one, who) for one in running]
        await self._publisher.publish(session, APPLICATIONS_FEED, f"{APPLICATION_PREFIX}{name}", None)
        await self._replicas.tell(session, orders)

    async def link(self, session: AsyncSession, name: str, text: str, replicas: int, who: Principal) -> Application:
        """Start a version's replicas. The first version that is linked is current at once.

        Raises:
            NotFound: there is no such application.
            Unprocessable: there is no such version, or it cannot have so many replicas.
            Conflict: it is linked already.
        """
        owner, algorithm_name, commit = application_fields.version(text)
        count = application_fields.replicas(replicas)
        row = await locked(session, name)
        algorithm, build = await store.built(session, owner, algorithm_name, commit)
        await store.locked(session, algorithm.id)  # who deletes it meanwhile finds the link
        versions = await linked_versions.of(session, row)
        if len(versions) >= application_fields.MAX_VERSIONS:
            raise Conflict(f"an application has at most {application_fields.MAX_VERSIONS} versions; unlink some")
        query = select(LinkedVersion).where(
            LinkedVersion.application_id == row.id,
            LinkedVersion.algorithm_id == algorithm.id,
            LinkedVersion.commit == build.commit,
        )
        one = (await session.execute(query)).scalar_one_or_none()
        if one is None:
            one = LinkedVersion(id=uuid4(), application_id=row.id, algorithm_id=algorithm.id, order_number=0)
            session.add(one)
        elif one.unlinked_at is None:
            raise Conflict(f"{one.version} is linked to '{name}' already; set its replicas to change how many it has")
        one.revision_id, one.owner, one.name, one.commit = build.id, algorithm.owner, algorithm.name, build.commit
        one.replicas, one.linked_at, one.linked_by, one.unlinked_at = count, now(), who.name, None
        row.current = row.current or one.id
        self._audit.record(session, who, "application.link", name, f"{one.version} x{count}")
        order = await self._replicas.start(session, row, one, who)
        await self._tell(session, row, versions | {one.id: one})
        await self._replicas.tell(session, [order])
        return row

    async def unlink(self, session: AsyncSession, name: str, text: str, who: Principal) -> Application:
        """End a version's replicas, and forget it. The others run on. Idempotent.

        Raises Conflict for the version that is current, or is about to be.
        """
        version = "/".join(application_fields.version(text))
        row = await locked(session, name)
        one = next((one for one in (await linked_versions.of(session, row)).values() if one.version == version), None)
        if one is None:
            return row
        if one.id == row.current:
            raise Conflict(f"{version} is the current version of '{name}'; make another one current first")
        if one.id == row.switching_to:
            raise Conflict(f"'{name}' switches to {version} once it is ready; make another one current first")
        one.unlinked_at = now()
        self._audit.record(session, who, "application.unlink", name, version)
        await self._replicas.tell(session, [await self._replicas.stop(session, row, one, who)])
        return row

    async def set_version(
        self, session: AsyncSession, name: str, text: str, who: Principal, statuses: Statuses
    ) -> Application:
        """Make a linked version current: at once if it is ready, else when it is, and the one before answers till
        then. One that is stopped is started.

        Args:
            statuses: what deployers say of the linked versions. One that lost all its replicas since it was ready is
                starting; while no deployer answers, nothing is known of that.

        Raises Unprocessable when it is not linked.
        """
        row = await locked(session, name)
        versions = await linked_versions.of(session, row)
        one = linked_versions.named(row, versions, text)
        orders = []
        said = one.version
        status = (statuses or {}).get(one.id)
        if one.state is LinkState.READY and status is not None and status.ready == 0:
            one.state = LinkState.STARTING
        if one.id == row.current:
            row.switching_to = None
        elif one.state is LinkState.READY:
            row.current, row.switching_to = one.id, None
        else:
            said += ", once it is ready"
            row.switching_to = one.id
        if one.state is LinkState.STOPPED:
            orders.append(await self._replicas.start(session, row, one, who))
        row.updated_at = now()
        self._audit.record(session, who, "application.set_version", name, said)
        await self._tell(session, row, versions)
        await self._replicas.tell(session, orders)
        return row

    async def set_replicas(
        self, session: AsyncSession, name: str, text: str, replicas: int, who: Principal
    ) -> Application:
        """Give a linked version so many replicas. One that is stopped is started.

        Raises Unprocessable when it is not linked, or for a number that cannot be.
        """
        count = application_fields.replicas(replicas)
        row = await locked(session, name)
        one = linked_versions.named(row, await linked_versions.of(session, row), text)
        if one.replicas != count or one.state is LinkState.STOPPED:
            one.replicas = count
            self._audit.record(session, who, "application.set_replicas", name, f"{one.version} x{count}")
            await self._replicas.tell(session, [await self._replicas.start(session, row, one, who)])
        return row

    async def stop_inactive(self, session: AsyncSession, name: str, who: Principal) -> Application:
        """End the replicas of all versions but the current one, and of the one that is about to be. They stay linked,
        and start again when they are made current."""
        row = await locked(session, name)
        ended = [
            one
            for one in (await linked_versions.of(session, row)).values()
            if one.state is not LinkState.STOPPED and one.id not in (row.current, row.switching_to)
        ]
        orders = [await self._replicas.stop(session, row, one, who) for one in ended]
        said = ", ".join(one.version for one in ended)
        self._audit.record(session, who, "application.stop_inactive", name, said or "nothing ran")
        await self._replicas.tell(session, orders)
        return row

    async def settle(self, session: AsyncSession, application_id: UUID, ready: Mapping[UUID, UUID]) -> None:
        """Carry out the switch that waited for what is ready, and note what has become so.

        Args:
            ready: by linked version, the deployment that brought all its replicas up.
        """
        row = await session.get(Application, application_id, with_for_update=True, populate_existing=True)
        if row is None or row.removed_at is not None:
            return
        versions = await linked_versions.of(session, row)
        target = versions.get(row.switching_to) if row.switching_to is not None else None
        if target is not None and target.state is LinkState.READY:
            row.current, row.switching_to, row.updated_at = target.id, None, now()
            log.info("application_switched", application=row.name, version=target.version)
            await self._tell(session, row, versions)
        for one in versions.values():
            if one.state is LinkState.STARTING and ready.get(one.id) == one.deployment_id:
                one.state = LinkState.READY

    async def _tell(self, session: AsyncSession, row: Application, versions: Mapping[UUID, LinkedVersion]) -> None:
        """Publish what answers for the application. Locks the feed; only orders follow."""
        await session.flush()
        one = versions[row.current] if row.current is not None else None
        said = contract.Application(
            name=row.name,
            default_answer=row.default_answer,
            latency_goal_ms=row.latency_goal_ms,
            current=None if one is None else _current(row, one),
        )
        key = f"{APPLICATION_PREFIX}{row.name}"
        await self._publisher.publish(session, APPLICATIONS_FEED, key, said.model_dump(mode="json"))


async def get(session: AsyncSession, name: str) -> Application:
    """Raises NotFound."""
    return _present(await _named(session, name), name)


async def locked(session: AsyncSession, name: str) -> Application:
    """Its row, locked until the transaction ends. Raises NotFound."""
    return _present(await _named(session, name, lock=True), name)


async def page(session: AsyncSession, paging: Paging, *, search: str | None) -> Page[Application]:
    """By name; those that have a text in name or description."""
    query = select(Application).where(Application.removed_at.is_(None))
    if search:
        wanted = func.lower(search)
        found = (func.strpos(func.lower(text), wanted) > 0 for text in (Application.name, Application.description))
        query = query.where(or_(*found))
    place = tuple_(func.lower(Application.name), Application.id)
    if paging.after is not None:
        name, key = paging.after
        query = query.where(place > tuple_(func.lower(name), key))
    query = query.order_by(func.lower(Application.name), Application.id).limit(paging.limit + 1)
    return paging.page((await session.execute(query)).scalars().all(), lambda one: (one.name, one.id))


async def _check_free(session: AsyncSession, name: str) -> None:
    """Raises Conflict when something else answers to the application's reference."""
    owner, reference = contract.ADDRESS, contract.reference(name)
    if await store.exists_ignoring_case(session, owner, name):
        raise Conflict(f"'{reference}' is the name of an algorithm, which it would hide; choose another name")
    if await satellites.is_vanity(session, owner, name):
        raise Conflict(f"'{reference}' is the vanity URL of a satellite, which it would hide; choose another name")


async def _named(session: AsyncSession, name: str, *, lock: bool = False) -> Application | None:
    query = select(Application).where(Application.name == name, Application.removed_at.is_(None))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return (await session.execute(query)).scalar_one_or_none()


def _present(row: Application | None, name: str) -> Application:
    if row is None:
        raise NotFound(f"there is no application '{name[:90]}'")
    return row


def _current(row: Application, one: LinkedVersion) -> CurrentVersion:
    return CurrentVersion(
        owner=one.owner,
        name=one.name,
        commit=one.commit,
        algorithm_id=one.algorithm_id,
        revision_id=one.revision_id,
        route=linked_versions.route(row, one),
    )
