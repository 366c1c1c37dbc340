"""The replicas of each revision, and the calls that wait for one.

A revision's queue is bounded and first come, first served. A replica is sent no more calls at a time than it runs (or
a few more if it is very fast, see `router.py`), so that a call which has to wait waits here, where it can still go to
any replica, or be given up.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from libs.common import logs
from libs.common.contracts.replicas import Route
from libs.common.problems import TooMany, Unavailable
from services.gateway.answers import StartFailed
from services.gateway.clock import Clock
from services.gateway.replica import Replica, ReplicaConnection, is_reachable
from services.gateway.router import choose, choose_ahead, has_room_ahead

if TYPE_CHECKING:
    from services.gateway.call import Call

log = logs.get(__name__)

MAX_SENDINGS = 5
"""How often a call that no replica has begun is sent to another one."""
UNREACHABLE = (
    "its replicas listen on their own host only, and this gateway runs on another one; "
    "set CONSTELLATION_ADVERTISE_HOST of their workers"
)


class Pool:
    """One revision, or one entry of a launch: its replicas, and the calls that wait for them."""

    def __init__(self, pools: Pools, revision_id: UUID) -> None:
        self._pools = pools
        self.revision_id = revision_id
        self.algorithm_id: UUID | None = None
        """None while the catalog does not have the revision, and for a launch: its replicas are not on demand."""
        self.is_launched = False
        self.replicas: list[Replica] = []
        self.waiting: OrderedDict[Call, None] = OrderedDict()
        self.is_routed = False
        """The deployer has a word on it."""
        self.failure: str | None = None
        """Why no replica is there."""
        self.active = 0
        """Calls that wait or run."""
        self.peak = 0
        """Most of them at one moment since the last report of demand."""
        self.noticed = False
        """The deployer knows, or is being told, that calls wait."""
        self.successor: Callable[[Call], None] | None = None
        """Takes the calls that would wait here, where an application has moved on to another version."""

    def submit(self, call: Call) -> None:
        """Give the call to a replica, or let it wait for one. Raises TooMany when too many wait."""
        replica = None if self.waiting else self._choose()
        if replica is None and len(self.waiting) >= self._pools.queue_limit:
            raise TooMany(f"{len(self.waiting)} calls of this algorithm wait already; try again later")
        self.active += 1
        if self.active > self.peak:
            if not self.peak:
                self._pools.called.add(self)
            self.peak = self.active
        if replica is not None:
            self._assign(replica, call)
        else:
            self._wait(call)

    def leave(self, call: Call) -> None:
        """The call is over, whether it waited or ran."""
        self.active -= 1
        self.waiting.pop(call, None)

    def free(self, connection: ReplicaConnection, *, keep: bool) -> None:
        """A replica has answered: the next call is its own at once."""
        replica = connection.replica
        replica.outstanding -= 1
        if not keep:
            connection.close()
        elif self.waiting and not replica.gone and has_room_ahead(replica, self._pools.clock.now):
            call, _ = self.waiting.popitem(last=False)
            replica.outstanding += 1
            call.send(connection)
            return
        elif replica.gone:
            connection.close()
        else:
            replica.idle.append(connection)
        if self.waiting:
            self.dispatch()

    def lost(self, replica: Replica) -> None:
        """A connection with a call on it ended."""
        replica.outstanding -= 1
        replica.trip(self._pools.clock.now)

    def unstarted(self, replica: Replica, call: Call) -> None:
        """The replica did not begin the call: it is the next one to be sent elsewhere."""
        self.lost(replica)
        call.returned()
        if call.done:
            pass
        elif call.sendings < MAX_SENDINGS:
            self._wait(call, first=True)
        else:
            call.fail(Unavailable("the algorithm's replicas are being replaced; try again"))
        self.dispatch()

    def dispatch(self) -> None:
        """Send what waits, as far as there is room."""
        while self.waiting:
            replica = self._choose()
            if replica is None:
                return
            call, _ = self.waiting.popitem(last=False)
            self._assign(replica, call)

    def apply(self, route: Route | None) -> None:
        """The deployer's newest word on the revision's replicas."""
        known = {replica.id: replica for replica in self.replicas}
        self.replicas = []
        named = route.replicas if route is not None else ()
        for one in named:
            replica = known.get(one.id)
            if replica is not None and replica.address == one.address:
                del known[one.id]
                replica.concurrency = one.concurrency
            elif is_reachable(one.address):
                replica = Replica(self, one)
            else:
                continue
            self.replicas.append(replica)
        for replica in known.values():
            replica.retire()
        self.is_routed = route is not None
        self.failure = route.failure if route is not None else None
        if named and not self.replicas:
            self.failure = UNREACHABLE
        if self.failure and not self.replicas:
            for call in tuple(self.waiting):
                call.fail(StartFailed(self.failure))
        self.dispatch()

    def sweep(self, now: float) -> None:
        """Calls that wait where nothing starts are told why; replicas that were left alone are tried again."""
        if self.failure and not self.replicas:
            for call in tuple(self.waiting):
                if call.queued + self._pools.start_patience > now:
                    break
                call.fail(StartFailed(self.failure))
        self.dispatch()

    def _choose(self) -> Replica | None:
        now = self._pools.clock.now
        return choose(self.replicas, now, random.random) or choose_ahead(self.replicas, now, random.random)

    def _wait(self, call: Call, *, first: bool = False) -> None:
        if self.successor is not None:
            self.successor(call)
            return
        call.queued = self._pools.clock.now
        self.waiting[call] = None
        if first:
            self.waiting.move_to_end(call, last=False)
        self._pools.crowded.add(self)
        if not self.noticed:
            self.noticed = True
            self._pools.notice()

    def _assign(self, replica: Replica, call: Call) -> None:
        replica.outstanding += 1
        while replica.idle:
            connection = replica.idle.pop()
            if connection.is_open:
                call.send(connection)
                return
        self._pools.spawn(self._connect(replica, call))

    async def _connect(self, replica: Replica, call: Call) -> None:
        try:
            async with asyncio.timeout(self._pools.connect_seconds):
                connection = await replica.connect()
        except OSError as error:  # TimeoutError is one
            self.lost(replica)
            log.warning("replica_unreachable", replica=str(replica.id), reason=type(error).__name__)
            if not call.done:
                self._wait(call, first=True)
            self.dispatch()
            return
        if call.done:
            self.free(connection, keep=True)
        else:
            call.send(connection)


class Pools:
    """All revisions. `apply` is given to the follower of the routes.

    Args:
        spawn: runs a coroutine in the background.
        notice: told when a call finds no room.
        queue_limit, connect_seconds, start_patience: as in the gateway's settings.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        spawn: Callable[[Any], None],
        notice: Callable[[], None],
        queue_limit: int,
        connect_seconds: float,
        start_patience: float,
    ) -> None:
        self.clock = clock
        self.spawn = spawn
        self.notice = notice
        self.queue_limit = queue_limit
        self.connect_seconds = connect_seconds
        self.start_patience = start_patience
        self._pools: dict[UUID, Pool] = {}
        self.called: set[Pool] = set()
        """Those with calls since the last report of demand."""
        self.crowded: set[Pool] = set()
        """Those in which calls wait, and some in which none does any more."""

    def of(self, revision_id: UUID, algorithm_id: UUID) -> Pool:
        pool = self._of(revision_id)
        pool.algorithm_id = algorithm_id
        return pool

    def launched(self, route: UUID) -> Pool:
        """The replicas of one entry of a launch."""
        pool = self._of(route)
        pool.is_launched = True
        return pool

    def forget_launched(self, route: UUID) -> None:
        """No launch has the entry any more. Its replicas stay for as long as their route does."""
        pool = self._of(route)
        pool.is_launched = False
        self._drop_unused(pool)

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        """Raises ValueError for a route that is none; the one before stays."""
        route = Route.model_validate(body) if body is not None else None
        pool = self._of(UUID(key))
        pool.apply(route)
        self._drop_unused(pool)

    def forget(self, revision_id: UUID) -> None:
        """The catalog has the revision no more. Its replicas stay for as long as their route does."""
        pool = self._of(revision_id)
        pool.algorithm_id = None
        self._drop_unused(pool)

    def sweep(self, now: float) -> None:
        for pool in tuple(self.crowded):
            pool.sweep(now)
            if not pool.waiting:
                self.crowded.discard(pool)

    def close(self) -> None:
        for pool in self._pools.values():
            for replica in pool.replicas:
                replica.retire()

    def _drop_unused(self, pool: Pool) -> None:
        if pool.algorithm_id is None and not (pool.is_launched or pool.is_routed or pool.active):
            self._pools.pop(pool.revision_id, None)

    def _of(self, revision_id: UUID) -> Pool:
        pool = self._pools.get(revision_id)
        if pool is None:
            pool = self._pools[revision_id] = Pool(self, revision_id)
        return pool
