"""The routing table: which replicas of a revision take calls, published as the feed `routes`.

A route is published in the transaction that changes it, and last in it, since publishing locks the feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.replicas import ROUTES_FEED, Address, ReplicaState, Route, RouteReplica
from libs.common.feed import FeedPublisher
from services.deployer.models import Deployment, Replica

_ON_THE_WAY = frozenset({ReplicaState.WANTED, ReplicaState.STARTING})


class Routes:
    """Publishes routes.

    Args:
        grace: how long a deployment's replica may lack a place before waiting calls are told.
    """

    def __init__(self, feeds: FeedPublisher, *, grace: timedelta) -> None:
        self._feeds = feeds
        self._grace = grace

    async def publish(
        self,
        session: AsyncSession,
        deployments: Iterable[Deployment],
        replicas: Mapping[UUID, Iterable[Replica]],
        now: datetime,
    ) -> None:
        """Publish what changed. The deployments' rows are locked; `replicas` has all their live ones."""
        for deployment in sorted(deployments, key=lambda one: one.id):
            found = route(deployment, replicas.get(deployment.id, ()), now=now, grace=self._grace)
            body = found.model_dump(mode="json", exclude_none=True) if found is not None else None
            if body != deployment.route:
                deployment.route = body
                await session.flush()
                await self._feeds.publish(session, ROUTES_FEED, str(deployment.id), body)


def route(deployment: Deployment, replicas: Iterable[Replica], *, now: datetime, grace: timedelta) -> Route | None:
    """The deployment's route, or None when it takes no calls and there is nothing to say about it."""
    staying = [replica for replica in replicas if not replica.drain_requested]
    ready = tuple(
        RouteReplica(
            id=replica.id,
            address=Address.model_validate(replica.address),
            concurrency=int(replica.spec.get("concurrency", 1)),
        )
        for replica in sorted(staying, key=lambda one: one.id)
        if replica.state is ReplicaState.READY and replica.address is not None
    )
    if ready:
        return Route(revision_id=deployment.revision_id, replicas=ready)
    if any(replica.state in _ON_THE_WAY for replica in staying):
        return None
    failure = _failure(deployment, now, grace)
    return Route(revision_id=deployment.revision_id, failure=failure) if failure is not None else None


def _failure(deployment: Deployment, now: datetime, grace: timedelta) -> str | None:
    """What calls that wait are told while no replica is ready or on its way."""
    if deployment.retry_at is not None and now < deployment.retry_at:
        return deployment.last_failure
    if deployment.pending_since is not None and now - deployment.pending_since >= grace:
        return deployment.pending_reason
    return None
