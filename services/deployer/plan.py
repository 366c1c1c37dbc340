"""What is to be done so that what runs becomes what is wanted. Pure: the same view gives the same plan.

* As many replicas as calls need, at once; fewer only when the rest was idle for long enough.
* A replica that is not what it should be is replaced: the new one is ready before the old one drains. At most one
  more than wanted runs meanwhile.
* A worker whose lease lapsed has lost its replicas, provided that somebody was there to hear it, and that some other
  worker is heard. If none is, the fault is more likely on our side, and there is no other place anyway.
* Likewise no replica has been too long in a state before somebody was there to hear of the next one.
* A deployment whose attempts fail waits longer each time, and then tries with one replica.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from libs.common.contracts.replicas import ReplicaState
from services.deployer.placement import Fleet
from services.deployer.states import STABLE_SECONDS, overdue
from services.deployer.view import Decision, DeploymentView, Drain, Failure, Plan, ReplicaView, Start, View, Wish

SWEEP = timedelta(seconds=10)
"""Whatever runs is looked at this often, whether or not there is news."""
RETRY_PLACE = timedelta(seconds=1)
REPLACE_PATIENCE = timedelta(seconds=10)
"""How long an outdated replica is kept for want of room for its successor."""
FORGIVE = timedelta(seconds=60)
"""Failures are forgotten this long after the pause that they caused."""


def plan(view: View) -> Plan:
    """See the module's documentation."""
    fleet = Fleet(view.workers, view.now)
    drafts = [_Draft(view, fleet, one) for one in sorted(view.deployments, key=lambda d: d.id)]
    for draft in drafts:
        draft.drain_what_is_too_much()
    attempts = [(draft.running + nth, draft) for draft in drafts for nth in range(draft.startable())]
    for _, draft in sorted(attempts, key=lambda attempt: (attempt[0], attempt[1].deployment.id)):
        draft.place_one()
    for draft in drafts:
        draft.make_room_for_successors()
    starved = [draft for draft in drafts if draft.starved]
    return Plan(
        starts=tuple(start for draft in drafts for start in draft.starts),
        drains=tuple(drain for draft in drafts for drain in draft.drains) + _give_way(view, fleet, starved),
        failures=tuple(failure for draft in drafts for failure in draft.failures),
        decisions=tuple(draft.decision() for draft in drafts),
        starved=bool(starved),
    )


def needed(wish: Wish | None, in_flight: int) -> int:
    """Replicas that so many calls at once need."""
    if wish is None:
        return 0
    return min(max(math.ceil(in_flight / wish.concurrency), wish.min_replicas), wish.max_replicas)


class _Draft:
    """The plan of one deployment in the making."""

    def __init__(self, view: View, fleet: Fleet, deployment: DeploymentView) -> None:
        self._now = view.now
        self._fleet = fleet
        self.deployment = deployment
        self.starts: list[Start] = []
        self.drains: list[Drain] = []
        self.failures: list[Failure] = []
        self._fresh: list[ReplicaView] = []
        self._old: list[ReplicaView] = []
        self._leaving: list[ReplicaView] = []
        self._pending: str | None = None
        for replica in sorted(deployment.replicas, key=lambda r: (r.created_at, r.id)):
            self._sort_in(view, replica)
        self.need = deployment.need if deployment.unheard else needed(deployment.wish, deployment.in_flight)
        kept, self._last_needed = self._hold()
        self.wanted = max(self.need, min(kept, self.running))

    @property
    def running(self) -> int:
        """Replicas that serve or will."""
        return len(self._fresh) + len(self._old)

    @property
    def starved(self) -> bool:
        """It has none, and finds no place for one, nor will soon."""
        wish = self.deployment.wish
        return bool(
            wish and self._pending and not (self.running or self.starts) and not self._fleet.room_is_coming(wish)
        )

    def drain_what_is_too_much(self) -> None:
        """Drain what is not needed, never leaving fewer ready ones than are wanted."""
        if self.deployment.paused or self.deployment.unheard:
            return
        for replica in _unready(self._old):
            self._drain(replica, self._why_replaced(replica))
        for replica in reversed(list(self._old)):
            if self._ready() > self.wanted:
                self._drain(replica, self._why_replaced(replica))
        surplus = len(self._fresh) - self.wanted
        for replica in (_unready(self._fresh)[::-1] + _ready(self._fresh)[::-1])[: max(surplus, 0)]:
            self._drain(replica, "it is not needed any more")

    def startable(self) -> int:
        """How many replicas may be started now."""
        one = self.deployment
        pausing = one.retry_at is not None and self._now < one.retry_at
        if one.wish is None or one.paused or pausing or any(failure.counts for failure in self.failures):
            return 0
        surge = 1 if self._old else 0
        count = min(self.wanted - len(self._fresh), self.wanted + surge - self.running)
        if one.failures and not self._ready():
            count = min(count, 1 - self.running)
        return max(count, 0)

    def place_one(self) -> None:
        """Find a worker for one more replica."""
        one = self.deployment
        assert one.wish is not None  # noqa: S101 - what is gone starts nothing
        beside = [r.worker_id for r in self._fresh + self._old] + [s.worker_id for s in self.starts]
        worker = self._fleet.place(one.wish, beside=beside, avoid=one.failed_on)
        if worker is None:
            self._pending = self._fleet.obstacle(one.wish)
        else:
            self.starts.append(Start(one.id, worker))

    def make_room_for_successors(self) -> None:
        """A replica whose successor finds no place ends first after all: at once where an administrator wants the
        node empty, else after some patience, one at a time, if that helps."""
        wish, since = self.deployment.wish, self.deployment.pending_since
        if self._pending is None or wish is None:
            return
        for replica in list(self._old):
            if self._fleet.draining(replica.worker_id):
                self._drain(replica, self._why_replaced(replica))
        if self.deployment.launched and self._ready() <= 1:
            return  # the last one that serves stays until its successor does
        if self._leaving or since is None or self._now - since < REPLACE_PATIENCE:
            return
        for replica in reversed(self._old):
            if self._fleet.fits_instead(wish, replica.worker_id, replica.room):
                self._drain(replica, self._why_replaced(replica))
                return

    def decision(self) -> Decision:
        over = self._failures_are_over()
        settled = over and not (self.need or self.running or self._leaving)
        return Decision(
            deployment_id=self.deployment.id,
            need=self.need,
            wanted=self.wanted,
            last_needed=self._last_needed,
            pending=self._pending,
            forgive=over and (settled or self._stable()),
            look_at=self.deployment.demand_until if settled else self._look_at(),
        )

    def _sort_in(self, view: View, replica: ReplicaView) -> None:
        late = overdue(replica.state, replica.since, self._now) if self._watched(view) else None
        if self._lost(view, replica.worker_id):
            self.failures.append(Failure(replica.id, "its worker is lost: it stopped reporting", counts=False))
        elif late is not None:
            counts = replica.state is not ReplicaState.DRAINING
            self.failures.append(Failure(replica.id, late, counts=counts))
        elif replica.draining:
            self._leaving.append(replica)
        elif self._is_right(replica):
            self._fresh.append(replica)
        else:
            self._old.append(replica)

    def _is_right(self, replica: ReplicaView) -> bool:
        """It is what it should be, where it may be."""
        exists = self.deployment.wish is not None
        return exists and replica.current and not self._fleet.draining(replica.worker_id)

    def _lost(self, view: View, worker_id: str) -> bool:
        return worker_id not in self._fleet.alive and bool(self._fleet.alive) and self._watched(view)

    def _watched(self, view: View) -> bool:
        """Whatever a worker has to say has been heard by now."""
        return self._now - view.watching_since >= view.lease

    def _hold(self) -> tuple[int, datetime | None]:
        """How many replicas to keep, and since when fewer than that are needed."""
        one = self.deployment
        if one.wish is None:
            return one.wanted if one.unheard else 0, one.last_needed
        kept = min(one.wanted, one.wish.max_replicas)
        if self.need >= kept or one.need >= kept or one.last_needed is None:
            return max(self.need, kept), self._now
        if self._now - one.last_needed >= timedelta(seconds=one.wish.idle_seconds):
            return self.need, self._now
        return kept, one.last_needed

    def _drain(self, replica: ReplicaView, reason: str) -> None:
        (self._fresh if replica in self._fresh else self._old).remove(replica)
        self._leaving.append(replica)
        self.drains.append(Drain(replica.id, reason))

    def _ready(self) -> int:
        return len(_ready(self._fresh + self._old))

    def _why_replaced(self, replica: ReplicaView) -> str:
        if self.deployment.wish is None:
            return "its revision no longer exists"
        if self._fleet.draining(replica.worker_id):
            return "its worker is being drained"
        return "its version, settings or secrets changed"

    def _failures_are_over(self) -> bool:
        retry_at = self.deployment.retry_at
        return not self.deployment.failures or retry_at is None or self._now - retry_at >= FORGIVE

    def _stable(self) -> bool:
        stable = timedelta(seconds=STABLE_SECONDS)
        return any(self._now - replica.since >= stable for replica in _ready(self._fresh + self._old))

    def _look_at(self) -> datetime:
        one = self.deployment
        times = [self._now + SWEEP]
        if self._pending is not None:
            times.append(self._now + RETRY_PLACE)
        if one.retry_at is not None:
            times.append(one.retry_at)
        if one.demand_until is not None:
            times.append(one.demand_until)
        if one.wish is not None and self._last_needed is not None and self.wanted > self.need:
            times.append(self._last_needed + timedelta(seconds=one.wish.idle_seconds))
        return min(time for time in times if time > self._now)


def _give_way(view: View, fleet: Fleet, starved: list[_Draft]) -> tuple[Drain, ...]:
    """Idle replicas of others that end so that those who have none get a place."""
    taken: dict[str, Drain] = {}
    for draft in starved:
        wish = draft.deployment.wish
        assert wish is not None  # noqa: S101 - what is gone needs no place
        for one in fleet.victims(wish, view.idle, [drain.replica_id for drain in taken.values()]):
            taken[str(one.id)] = Drain(one.id, "it is idle, and another algorithm needs its room")
    return tuple(taken.values())


def _ready(replicas: list[ReplicaView]) -> list[ReplicaView]:
    return [replica for replica in replicas if replica.state is ReplicaState.READY]


def _unready(replicas: list[ReplicaView]) -> list[ReplicaView]:
    return [replica for replica in replicas if replica.state is not ReplicaState.READY]
