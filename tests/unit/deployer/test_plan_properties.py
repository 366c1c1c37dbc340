"""What holds for every plan, whatever the view; and where repeated planning leads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState
from services.deployer.plan import needed, plan
from services.deployer.states import LIVE
from services.deployer.view import DeploymentView, IdleReplica, Plan, ReplicaView, View, Wish, WorkerView
from tests.unit.deployer.views import LEASE, NOW, ago, key

WORKERS = ("a", "b", "c")


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    return Wish(
        language=draw(st.sampled_from([Language.PYTHON, Language.JAVASCRIPT])),
        memory_mib=draw(st.sampled_from([64, 100, 400])),
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
            memory_mib=100,
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
    used = Counter(r.worker_id for one in found for r in one.replicas)
    leaving = Counter(r.worker_id for one in found for r in one.replicas if r.draining)
    workers = tuple(
        WorkerView(
            id=name,
            lease_until=draw(st.sampled_from([ago(1), NOW + LEASE])),
            draining=draw(st.booleans()),
            languages=frozenset(draw(st.sets(st.sampled_from([Language.PYTHON, Language.JAVASCRIPT])))),
            memory_mib=draw(st.sampled_from([300, 600, 2000])),
            slots=draw(st.integers(0, 8)),
            used_mib=100 * used[name],
            used_slots=used[name],
            leaving_mib=100 * leaving[name],
            leaving_slots=leaving[name],
        )
        for name in WORKERS
        if draw(st.booleans())
    )
    idle = tuple(
        IdleReplica(key(9000 + nth), key(9), draw(st.sampled_from(WORKERS)), 100, ago(nth))
        for nth in range(draw(st.integers(0, 3)))
    )
    watching = draw(st.sampled_from([ago(0), ago(600)]))
    return View(NOW, watching, LEASE, workers, found, idle)


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
def test_every_start_is_on_a_live_worker_that_speaks_its_language_and_has_room(view: View) -> None:
    wish_of = {one.id: one.wish for one in view.deployments}
    workers = {one.id: one for one in view.workers}
    memory = Counter({one.id: one.used_mib for one in view.workers})
    slots = Counter({one.id: one.used_slots for one in view.workers})
    for start in plan(view).starts:
        wish, worker = wish_of[start.deployment_id], workers[start.worker_id]
        assert wish is not None
        assert worker.lease_until >= view.now
        assert not worker.draining
        assert wish.language in worker.languages
        memory[worker.id] += wish.memory_mib
        slots[worker.id] += 1
        assert memory[worker.id] <= worker.memory_mib
        assert slots[worker.id] <= worker.slots


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
                        memory_mib=one.wish.memory_mib,
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
    mib = Counter[str]()
    slots = Counter[str]()
    for replica in (r for one in after for r in one.replicas):
        mib[replica.worker_id] += replica.memory_mib
        slots[replica.worker_id] += 1
    workers = tuple(
        replace(w, used_mib=mib[w.id], used_slots=slots[w.id], leaving_mib=0, leaving_slots=0) for w in view.workers
    )
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
