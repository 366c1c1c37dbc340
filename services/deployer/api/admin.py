"""Routes for administrators: what runs where, what should, and why it does not."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, idempotency
from libs.common.auth import Caller, admin_only
from libs.common.bus import Bus
from libs.common.clients.worker import WorkerClient
from libs.common.contracts.events import AUDIT_TOPIC, AuditRecorded
from libs.common.contracts.identity import Principal
from libs.common.contracts.replicas import ReplicaLog, ReplicaState
from libs.common.db import Database, Session, after_commit
from libs.common.openapi import also
from libs.common.problems import Conflict, NotFound, Unavailable
from services.deployer import launch_listings, listings, workers
from services.deployer.api.documents import (
    DeploymentDetail,
    DeploymentDocument,
    EventDocument,
    LaunchDeploymentDetail,
    LaunchDeploymentDocument,
    LaunchLog,
    Listing,
    ReplicaDocument,
    WorkerDocument,
    deployment_document,
    event_document,
    launch_deployment_document,
    replica_document,
    worker_document,
)
from services.deployer.arrivals import Arrivals
from services.deployer.catalog import Catalog
from services.deployer.clusters import Clusters, Place
from services.deployer.kubernetes.problems import ClusterError
from services.deployer.kubernetes.satellite import Unfit
from services.deployer.loops import Reconciler
from services.deployer.view import Room

routes = idempotency.router(admin_only, prefix="/admin/v1")

Limit = Annotated[int, Query(ge=1, le=500, description="Entries of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="The `cursor` of the page before.")]


@routes.get("/workers")
async def list_workers(session: Session, limit: Limit = 100, cursor: Cursor = None) -> Listing[WorkerDocument]:
    page = await listings.workers(session, limit=limit, cursor=cursor)
    usage = await listings.worker_usage(session, [row.id for row in page.entries])
    now = await db.moment(session)
    items = [worker_document(row, usage.get(row.id, Room()), now) for row in page.entries]
    return Listing(items=items, cursor=page.marker)


@routes.get("/workers/{worker_id}")
async def show_worker(worker_id: str, session: Session) -> WorkerDocument:
    row = await workers.find(session, worker_id)
    usage = await listings.worker_usage(session, [row.id])
    return worker_document(row, usage.get(row.id, Room()), await db.moment(session))


@routes.post("/workers/{worker_id}/drain")
async def drain_worker(request: Request, worker_id: str, session: Session, caller: Caller) -> WorkerDocument:
    """Empty a node: its replicas are replaced elsewhere, then end when their calls have. It gets no new ones."""
    return await _set_draining(request, worker_id, session, caller, draining=True)


@routes.delete("/workers/{worker_id}/drain")
async def undrain_worker(request: Request, worker_id: str, session: Session, caller: Caller) -> WorkerDocument:
    """Let a node take replicas again."""
    return await _set_draining(request, worker_id, session, caller, draining=False)


@routes.get("/deployments")
async def list_deployments(
    request: Request,
    session: Session,
    limit: Limit = 100,
    cursor: Cursor = None,
    algorithm_id: UUID | None = None,
    active: bool | None = None,
    launch_id: UUID | None = None,
) -> Listing[DeploymentDocument]:
    """What should have replicas: revisions on demand, and entries of launches."""
    page = await listings.deployments(
        session, limit=limit, cursor=cursor, algorithm_id=algorithm_id, active=active, launch_id=launch_id
    )
    replicas = await listings.live_replicas(session, [row.id for row in page.entries])
    items = [deployment_document(row, _catalog(request), replicas[row.id]) for row in page.entries]
    return Listing(items=items, cursor=page.marker)


@routes.get("/deployments/launches")
async def list_launch_deployments(
    session: Session, limit: Limit = 100, cursor: Cursor = None, launch_id: UUID | None = None
) -> Listing[LaunchDeploymentDocument]:
    """Orders of launches and what became of them, newest first."""
    page = await launch_listings.deployments(session, limit=limit, cursor=cursor, launch_id=launch_id)
    launches = await launch_listings.launches(session, {row.launch_id for row in page.entries})
    items = [launch_deployment_document(row, launches[row.launch_id]) for row in page.entries]
    return Listing(items=items, cursor=page.marker)


@routes.get("/deployments/{deployment_id}")
async def show_deployment(request: Request, deployment_id: UUID) -> LaunchDeploymentDetail | DeploymentDetail:
    """A launch's deployment with all its replicas, or what one revision or entry has."""
    database, arrivals = _database(request), _arrivals(request)
    try:
        async with database.transaction() as session:
            return await _deployment(request, session, deployment_id)
    except NotFound:
        await arrivals()
    async with database.transaction() as session:
        return await _deployment(request, session, deployment_id)


async def _deployment(
    request: Request, session: AsyncSession, deployment_id: UUID
) -> LaunchDeploymentDetail | DeploymentDetail:
    """Raises NotFound."""
    found = await launch_listings.deployment(session, deployment_id)
    if found is not None:
        row_of_launch, launch = found
        document_of_launch = launch_deployment_document(row_of_launch, launch)
        return LaunchDeploymentDetail(
            **document_of_launch.model_dump(),
            entries=list((await launch_listings.statuses(session, [launch.id]))[0].entries),
            replicas=[replica_document(one) for one in await launch_listings.replicas(session, launch.id)],
        )
    row = await listings.deployment(session, deployment_id)
    replicas = await listings.newest_replicas(session, deployment_id)
    document = deployment_document(row, _catalog(request), replicas)
    return DeploymentDetail(**document.model_dump(), replicas=[replica_document(one) for one in replicas])


@routes.get("/deployments/{deployment_id}/events")
async def list_events(
    deployment_id: UUID, session: Session, limit: Limit = 100, cursor: Cursor = None
) -> Listing[EventDocument]:
    if await launch_listings.deployment(session, deployment_id) is None:
        await listings.deployment(session, deployment_id)
    page = await listings.events(session, deployment_id, limit=limit, cursor=cursor)
    return Listing(items=[event_document(row) for row in page.entries], cursor=page.marker)


@routes.get("/deployments/{deployment_id}/log")
async def launch_log(
    request: Request,
    deployment_id: UUID,
    vanity_url: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1 << 20, description="Bytes, of the end.")] = 1 << 16,
) -> LaunchLog:
    """What the pods of a launch in a cluster printed, of one entry or of all and its gateways."""
    async with _database(request).transaction() as session:
        found = await launch_listings.deployment(session, deployment_id)
    if found is None:
        raise NotFound(f"there is no deployment {deployment_id} of a launch")
    _, launch = found
    if not launch.places:
        raise Conflict("nothing of this launch runs in a cluster; ask for the log of one of its replicas")
    places = [Place.model_validate(one) for one in launch.places]
    known: Clusters = request.app.state.clusters
    try:
        async with known.manager(places[-1]) as manager:
            text = await manager.logs(launch.id, limit, vanity_url=vanity_url)
    except (ClusterError, Unfit) as error:
        raise Unavailable(str(error)) from error
    return LaunchLog(text=text.decode("utf-8", "replace"))


@routes.get("/replicas")
async def list_replicas(
    session: Session,
    limit: Limit = 100,
    cursor: Cursor = None,
    deployment_id: UUID | None = None,
    worker_id: str | None = None,
    state: ReplicaState | None = None,
) -> Listing[ReplicaDocument]:
    page = await listings.replicas(
        session, limit=limit, cursor=cursor, deployment_id=deployment_id, worker_id=worker_id, state=state
    )
    return Listing(items=[replica_document(row) for row in page.entries], cursor=page.marker)


@routes.get("/replicas/{replica_id}")
async def show_replica(replica_id: UUID, session: Session) -> ReplicaDocument:
    return replica_document(await listings.replica(session, replica_id))


@routes.get("/replicas/{replica_id}/log", responses=also(503))
async def replica_log(
    request: Request, replica_id: UUID, offset: Annotated[int, Query(ge=0, lt=1 << 62)] = 0
) -> ReplicaLog:
    """What a replica printed from byte `offset` on, as the worker that runs or ran it has it; for a while also of
    one that ended. Ask again from `next_offset` until `ended`."""
    async with _database(request).transaction() as session:
        row = await listings.replica(session, replica_id)
    worker: WorkerClient = request.app.state.worker(row.worker_id)
    try:
        return await worker.replica_log(replica_id, offset)
    except Unavailable as error:
        raise Unavailable(f"worker {row.worker_id}, which has the log, cannot be asked: {error.detail}") from error


async def _set_draining(
    request: Request, worker_id: str, session: Session, caller: Principal, *, draining: bool
) -> WorkerDocument:
    row, changed = await workers.set_draining(session, worker_id, draining, await db.moment(session))
    if changed:
        bus: Bus = request.app.state.bus
        reconciler: Reconciler = request.app.state.reconciler
        act = AuditRecorded(
            at=db.now(),
            service="deployer",
            actor=caller.name,
            action="worker.drain" if draining else "worker.undrain",
            subject=f"worker:{worker_id}",
        )
        after_commit(session, reconciler.loop.wake)
        after_commit(session, lambda: bus.announce(AUDIT_TOPIC, act))
    usage = await listings.worker_usage(session, [row.id])
    return worker_document(row, usage.get(row.id, Room()), await db.moment(session))


def _database(request: Request) -> Database:
    """For routes that ask others, too: no connection is held meanwhile."""
    database: Database = request.app.state.database
    return database


def _arrivals(request: Request) -> Arrivals:
    arrivals: Arrivals = request.app.state.arrivals
    return arrivals


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog
