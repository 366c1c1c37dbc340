"""What fakts does by itself: keep its own lease, care for signing keys, forget what is over."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from libs.common import db, idempotency
from libs.common.contracts.joining import Alias, InstanceOffer
from libs.common.loops import Loop
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.identity import api_keys, browser_sessions, invitations
from services.fakts.models import Answered
from services.fakts.oauth import clients, logins
from services.fakts.oauth.headless import OWN_SERVICE
from services.fakts.preflight import approvals, instances

_KEYS_EVERY, _PURGE_EVERY = 30.0, 60.0


class OwnInstance:
    """Fakts among the instances, so that the others find all of it."""

    def __init__(self, context: Context, instance_id: UUID) -> None:
        self._context = context
        self._id = instance_id
        self.loop = Loop("own_lease", self.offer, every=context.settings.lease_seconds / 3)

    async def offer(self) -> None:
        settings = self._context.settings
        alias = Alias(id=f"fakts-{self._id}", host=settings.advertised, port=settings.port)
        offered = InstanceOffer(service=OWN_SERVICE, version=self._context.version, aliases=(alias,))
        async with self._context.database.transaction() as session:
            await instances.offer(session, self._id, offered, seconds=settings.lease_seconds)

    async def leave(self) -> None:
        async with self._context.database.transaction() as session:
            await instances.end(session, self._id)


def signing_keys(context: Context) -> Loop:
    return Loop("signing_keys", context.keys.maintain, every=_KEYS_EVERY)


def purge(context: Context) -> Loop:
    return Loop("purge", partial(forget, context), every=_PURGE_EVERY)


async def forget(context: Context) -> None:
    """Forget what is over: keys, invitations, sessions, logins, approvals, instances, lost services. Idempotent."""
    async with context.database.transaction() as session:
        await locks.take(session, locks.IDENTITY)
        await api_keys.end_expired(session, context.feed)
        await context.feed.take_out_ended(session, db.now())
    async with context.database.transaction() as session:
        now = db.now()
        await instances.purge(session, now)
        await clients.purge(session, now)
        await approvals.purge(session, now)
        await logins.purge(session, now)
        await browser_sessions.purge(session, now)
        await invitations.purge(session, now)
        await idempotency.purge(session, Answered, now)
