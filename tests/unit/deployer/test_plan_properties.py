"""What holds for every plan, whatever the view; and where repeated planning leads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState
from services.deployer.plan import needed, plan
from services.deployer.states import LIVE
from services.deployer.view import DeploymentView, IdleReplica, Plan, ReplicaView, Room, View, Wish, WorkerView
from tests.unit.deployer.views import LEASE, NOW, ago, key

WORKERS = ("a", "b", "c")


def labels() -> st.SearchStrategy[frozenset[tuple[str, str]]]:
    return st.frozensets(st.sampled_from([("region", "eu"), ("disk", "ssd")]))


def taken() -> st.SearchStrategy[Room]:
    """What a replica that was placed earlier takes up."""
    return st.builds(
        Room,
        slots=st.just(1),
        memory_mib=st.just(100),
        millicpus=st.sampled_from([0, 500]),
        gpus=st.sampled_from([0, 1]),
    )


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    return Wish(
        language=draw(st.sampled_from([Language.PYTHON, Language.JAVASCRIPT])),
        room=Room(
            slots=1,
            memory_mib=draw(st.sampled_from([64, 100, 400])),
            millicpus=draw(st.sampled_from([0, 100, 1500])),
            gpus=draw(st.sampled_from([0, 0, 1, 2])),
        ),
        labels=draw(labels()),
        concurrency=draw(st.integers(1, 3)),
        min_replicas=draw(st.integers(0, 2)),
        max_replicas=draw(st.integers(1, 4)),
        idle_seconds=draw(st.sampled_from([1.0, 300.0])),
    )


@st.composite
def deployments(draw: st.DrawFn, number: int) -> DeploymentView:
    replicas = tuple(
        ReplicaView(
            id=key(number * 100 + nth),
            worker_id=draw(st.sampled_from(WORKERS)),
            state=draw(st.sampled_from(sorted(LIVE))),
            draining=draw(st.booleans()),
            current=draw(st.booleans()),
            room=draw(taken()),
            created_at=ago(draw(st.integers(0, 5))),
            since=ago(draw(st.sampled_from([0, 20, 31, 70, 4000]))),
        )
        for nth in range(draw(st.integers(0, 5)))
    )
    return DeploymentView(
        id=key(number),
        wish=draw(st.none() | wishes()),
        in_flight=draw(st.integers(0, 6)),
        need=draw(st.integers(0, 4)),
        wanted=draw(st.integers(0, 5)),
        last_needed=draw(st.none() | st.sampled_from([ago(0), ago(200), ago(400)])),
        failures=draw(st.integers(0, 3)),
        retry_at=draw(st.none() | st.sampled_from([ago(1), ago(100), NOW + timedelta(seconds=3)])),
        pending_since=draw(st.none() | st.sampled_from([ago(1), ago(60)])),
        failed_on=frozenset(draw(st.sets(st.sampled_from(WORKERS)))),
        replicas=tuple(replace(r, draining=r.draining or r.state is ReplicaState.DRAINING) for r in replicas),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    found = tuple(draw(deployments(number)) for number in range(1, draw(st.integers(1, 4)) + 1))
    used, leaving = on_workers(found), on_workers(found, leaving=True)
    workers = tuple(
        WorkerView(
            id=name,
            lease_until=draw(st.sampled_from([ago(1), NOW + LEASE])),
            draining=draw(st.booleans()),
            languages=frozenset(draw(st.sets(st.sampled_from([Language.PYTHON, Language.JAVASCRIPT])))),
            capacity=Room(
                slots=draw(st.integers(0, 8)),
                memory_mib=draw(st.sampled_from([300, 600, 2000])),
                millicpus=draw(st.sampled_from([500, 4000])),
                gpus=draw(st.sampled_from([0, 1, 4])),
            ),
            used=used[name],
            leaving=leaving[name],
            labels=draw(labels()),
        )
        for name in WORKERS
        if draw(st.booleans())
    )
    idle = tuple(
        IdleReplica(key(9000 + nth), key(9), draw(st.sampled_from(WORKERS)), draw(taken()), ago(nth))
        for nth in range(draw(st.integers(0, 3)))
    )
    watching = draw(st.sampled_from([ago(0), ago(600)]))
    return View(NOW, watching, LEASE, workers, found, idle)


def on_workers(deployments: Iterable[DeploymentView], *, leaving: bool = False) -> defaultdict[str, Room]:
    """What replicas take up, by worker: all of them, or those that leave."""
    sums: defaultdict[str, Room] = defaultdict(Room)
    for replica in (r for one in deployments for r in one.replicas if r.draining or not leaving):
        sums[replica.worker_id] += replica.room
    return sums


def staying(one: DeploymentView, made: Plan) -> list[ReplicaView]:
    """Replicas that the plan neither drains nor gives up."""
    over = {drain.replica_id for drain in made.drains} | {failure.replica_id for failure in made.failures}
    return [r for r in one.replicas if not r.draining and r.id not in over]


def ready(replicas: list[ReplicaView]) -> int:
    return sum(r.state is ReplicaState.READY for r in replicas)


@given(views())
def test_the_same_view_gives_the_same_plan_in_whatever_order_it_is(view: View) -> None:
    shuffled = replace(
        view,
        deployments=tuple(replace(one, replicas=tuple(reversed(one.replicas))) for one in reversed(view.deployments)),
        workers=tuple(reversed(view.workers)),
        idle=tuple(reversed(view.idle)),
    )
    assert plan(view) == plan(shuffled)


@given(views())
def test_every_start_is_on_a_live_worker_that_suits_it_and_has_room(view: View) -> None:
    wish_of = {one.id: one.wish for one in view.deployments}
    workers = {one.id: one for one in view.workers}
    used = {one.id: one.used for one in view.workers}
    for start in plan(view).starts:
        wish, worker = wish_of[start.deployment_id], workers[start.worker_id]
        assert wish is not None
        assert worker.lease_until >= view.now
        assert not worker.draining
        assert wish.language in worker.languages
        assert wish.labels <= worker.labels
        used[worker.id] += wish.room
        assert used[worker.id].slots <= worker.capacity.slots
        assert used[worker.id].memory_mib <= worker.capacity.memory_mib
        assert wish.room.millicpus == 0 or used[worker.id].millicpus <= worker.capacity.millicpus
        assert wish.room.gpus == 0 or used[worker.id].gpus <= worker.capacity.gpus


@given(views())
def test_there_is_never_more_than_the_limit_and_one_more_only_to_replace(view: View) -> None:
    made = plan(view)
    for one in view.deployments:
        starts = sum(start.deployment_id == one.id for start in made.starts)
        kept = staying(one, made)
        if starts:
            assert one.wish is not None
            outdated = any(
                not r.current or any(w.id == r.worker_id and w.draining for w in view.workers) for r in kept
            )
            assert len(kept) + starts <= one.wish.max_replicas + (1 if outdated else 0)


@given(views())
def test_ready_replicas_are_never_drained_below_the_need_unless_their_place_is_taken_away(view: View) -> None:
    made = plan(view)
    decided = {decision.deployment_id: decision for decision in made.decisions}
    for one in view.deployments:
        if decided[one.id].pending is not None:
            continue
        lost = {failure.replica_id for failure in made.failures}
        before = ready([r for r in one.replicas if not r.draining and r.id not in lost])
        assert ready(staying(one, made)) >= min(before, needed(one.wish, one.in_flight))


@given(views())
def test_a_replica_is_mentioned_once_and_only_if_it_has_not_been_told_to_end(view: View) -> None:
    made = plan(view)
    drains = [drain.replica_id for drain in made.drains]
    failures = [failure.replica_id for failure in made.failures]
    assert len(set(drains + failures)) == len(drains) + len(failures)
    draining = {r.id for one in view.deployments for r in one.replicas if r.draining}
    assert not draining & set(drains)
    assert len(made.decisions) == len(view.deployments)


@given(views())
def test_whatever_runs_or_is_needed_is_looked_at_again(view: View) -> None:
    made = plan(view)
    for one, decision in zip(sorted(view.deployments, key=lambda d: d.id), made.decisions, strict=True):
        if one.replicas or decision.need:
            gone = {failure.replica_id for failure in made.failures}
            if decision.need or any(r.id not in gone for r in one.replicas):
                assert decision.look_at is not None
        if decision.look_at is not None:
            assert view.now < decision.look_at <= view.now + timedelta(seconds=10)


def obey(view: View, made: Plan, serial: int) -> View:
    """The world after a plan, and after the workers did at once what it says."""
    over = {drain.replica_id for drain in made.drains} | {failure.replica_id for failure in made.failures}
    decided = {decision.deployment_id: decision for decision in made.decisions}
    after = []
    for one in view.deployments:
        kept = [replace(r, state=ReplicaState.READY) for r in one.replicas if r.id not in over and not r.draining]
        for start in made.starts:
            if start.deployment_id == one.id and one.wish is not None:
                serial += 1
                kept.append(
                    ReplicaView(
                        key(serial),
                        start.worker_id,
                        ReplicaState.READY,
                        draining=False,
                        current=True,
                        room=one.wish.room,
                        created_at=view.now,
                        since=view.now,
                    )
                )
        decision = decided[one.id]
        after.append(
            replace(
                one,
                need=decision.need,
                wanted=decision.wanted,
                last_needed=decision.last_needed,
                pending_since=None if decision.pending is None else ago(60),
                failures=0,
                retry_at=None,
                replicas=tuple(kept),
            )
        )
    idle = tuple(one for one in view.idle if one.id not in over)
    used = on_workers(after)
    workers = tuple(replace(w, used=used[w.id], leaving=Room()) for w in view.workers)
    return replace(view, deployments=tuple(after), workers=workers, idle=idle)


@settings(max_examples=150)
@given(views())
def test_planning_and_obeying_settles(view: View) -> None:
    """Workers obey at once, and what has no place has long had none: after a bounded number of plans nothing is left
    to do, and each deployment has what it needs, or a reason why not."""
    view = obey(view, plan(view), 10_000)
    for step in range(1, 60):
        made = plan(view)
        if not (made.starts or made.drains or made.failures):
            break
        view = obey(view, made, 10_000 + 100 * step)
    else:
        raise AssertionError(f"still changing: {made}")
    alive = {worker.id for worker in view.workers if worker.lease_until >= view.now}
    for one, decision in zip(sorted(view.deployments, key=lambda d: d.id), made.decisions, strict=True):
        need = needed(one.wish, one.in_flight)
        assert decision.pending is not None or len(one.replicas) == decision.wanted >= need
        if one.wish is None and alive:
            assert not one.replicas
