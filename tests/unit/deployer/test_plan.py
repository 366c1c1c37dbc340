"""What the planner decides, case by case. `test_plan_properties.py` has what holds in all cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState
from services.deployer.plan import needed, plan
from services.deployer.view import Decision, Drain, Failure, IdleReplica, Plan, Room, Start
from tests.unit.deployer.views import LEASE, MODEST, NOW, ago, deployment, key, replica, view, wish, worker

STARTING = ReplicaState.STARTING
WANTED = ReplicaState.WANTED
DRAINING = ReplicaState.DRAINING


def decision(made: Plan) -> Decision:
    (only,) = made.decisions
    return only


def drained(made: Plan) -> set[int]:
    return {drain.replica_id.int for drain in made.drains}


def placed(made: Plan) -> list[str]:
    return sorted(start.worker_id for start in made.starts)


@pytest.mark.parametrize(
    ("calls", "concurrency", "least", "most", "replicas"),
    [(0, 1, 0, 4, 0), (1, 1, 0, 4, 1), (3, 2, 0, 4, 2), (9, 1, 0, 4, 4), (0, 1, 2, 4, 2), (0, 1, 5, 4, 4)],
)
def test_need_is_calls_by_concurrency_within_the_limits(
    calls: int, concurrency: int, least: int, most: int, replicas: int
) -> None:
    asked = wish(concurrency=concurrency, min_replicas=least, max_replicas=most)
    assert needed(asked, calls) == replicas


def test_a_call_starts_a_replica_at_once() -> None:
    made = plan(view(deployment(in_flight=1)))
    assert made.starts == (Start(key(1000), "a"),)
    assert decision(made).need == decision(made).wanted == 1


def test_several_calls_start_several_replicas_spread_over_the_workers() -> None:
    assert placed(plan(view(deployment(in_flight=4)))) == ["a", "a", "b", "b"]


def test_replicas_that_are_on_their_way_count() -> None:
    one = deployment(in_flight=2, need=2, wanted=2, replicas=(replica(1, state=WANTED), replica(2, state=STARTING)))
    made = plan(view(one))
    assert not made.starts
    assert not made.drains


def test_a_replica_is_kept_until_it_was_idle_for_long_enough() -> None:
    one = deployment(need=0, wanted=1, last_needed=ago(299), replicas=(replica(1),))
    made = plan(view(one))
    assert not made.drains
    assert decision(made).wanted == 1
    assert decision(made).look_at == NOW + timedelta(seconds=1)


def test_an_idle_replica_is_drained_after_its_time() -> None:
    made = plan(view(deployment(need=0, wanted=1, last_needed=ago(300), replicas=(replica(1),))))
    assert made.drains == (Drain(key(1), "it is not needed any more"),)


def test_idleness_is_counted_from_when_the_need_ended_and_not_from_an_earlier_look() -> None:
    made = plan(view(deployment(need=1, wanted=1, last_needed=ago(400), replicas=(replica(1),))))
    assert not made.drains
    assert decision(made).last_needed == NOW


def test_the_youngest_idle_replicas_are_drained_first_and_those_not_ready_before_them() -> None:
    replicas = (replica(1), replica(2), replica(3), replica(4, state=STARTING))
    one = deployment(in_flight=1, need=1, wanted=4, last_needed=ago(301), replicas=replicas)
    assert drained(plan(view(one))) == {2, 3, 4}


def test_less_than_before_is_kept_when_the_limit_falls() -> None:
    one = deployment(
        wish=wish(max_replicas=1), in_flight=3, need=3, wanted=3, replicas=(replica(1), replica(2), replica(3))
    )
    made = plan(view(one))
    assert drained(made) == {2, 3}
    assert decision(made).wanted == 1


def test_a_warm_revision_has_its_replicas_without_a_call() -> None:
    assert placed(plan(view(deployment(wish=wish(min_replicas=2))))) == ["a", "b"]


def test_what_is_idle_and_crashes_is_not_started_again() -> None:
    made = plan(view(deployment(need=0, wanted=2, last_needed=ago(10), replicas=(replica(1),))))
    assert not made.starts
    assert decision(made).wanted == 1


def test_a_deployment_that_is_gone_from_the_catalog_is_drained_whole() -> None:
    one = deployment(wish=None, in_flight=2, need=2, wanted=2, replicas=(replica(1), replica(2, state=STARTING)))
    made = plan(view(one))
    assert {drain.reason for drain in made.drains} == {"its revision no longer exists"}
    assert drained(made) == {1, 2}
    assert not made.starts
    assert decision(made).wanted == 0


# Workers


def test_a_lapsed_worker_loses_its_replicas_and_they_start_elsewhere() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a"),))
    made = plan(view(one, workers=(worker("a", alive=False), worker("b"))))
    assert made.failures == (Failure(key(1), "its worker is lost: it stopped reporting", counts=False),)
    assert placed(made) == ["b"]


def test_a_worker_that_nobody_knows_any_more_is_lost_too() -> None:
    made = plan(view(deployment(replicas=(replica(1, on="z"),))))
    assert [failure.replica_id for failure in made.failures] == [key(1)]


def test_a_lapsed_worker_loses_nothing_before_somebody_listened_for_a_lease() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a"),))
    workers = (worker("a", alive=False), worker("b"))
    made = plan(view(one, workers=workers, watching_since=NOW - LEASE + timedelta(seconds=1)))
    assert not made.failures
    assert not made.starts


def test_nothing_is_lost_while_no_worker_at_all_is_heard() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a"),))
    made = plan(view(one, workers=(worker("a", alive=False), worker("b", alive=False))))
    assert not made.failures
    assert not made.drains


def test_a_replica_is_not_placed_where_it_cannot_run() -> None:
    workers = (
        worker("dead", alive=False),
        worker("draining", draining=True),
        worker("deaf", languages=frozenset({Language.JAVASCRIPT})),
        worker("full", used=Room(0, 950)),
        worker("crowded", used=Room(10)),
        worker("good", used=Room(8, 800)),
    )
    assert placed(plan(view(deployment(in_flight=1), workers=workers))) == ["good"]


def test_a_drained_worker_keeps_its_replica_until_the_successor_is_ready() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a"),))
    workers = (worker("a", draining=True), worker("b"))
    made = plan(view(one, workers=workers))
    assert placed(made) == ["b"]
    assert not made.drains

    starting = replace(one, replicas=(*one.replicas, replica(2, on="b", state=STARTING)))
    made = plan(view(starting, workers=workers))
    assert not made.starts
    assert not made.drains

    ready = replace(one, replicas=(*one.replicas, replica(2, on="b")))
    assert plan(view(ready, workers=workers)).drains == (Drain(key(1), "its worker is being drained"),)


def test_a_drained_worker_is_emptied_even_if_there_is_no_other_place() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a"),))
    made = plan(view(one, workers=(worker("a", draining=True),)))
    assert drained(made) == {1}
    assert decision(made).pending == "all connected workers are being drained"


def test_a_replica_on_a_drained_worker_that_is_not_ready_ends_at_once() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, on="a", state=STARTING),))
    made = plan(view(one, workers=(worker("a", draining=True), worker("b"))))
    assert drained(made) == {1}
    assert placed(made) == ["b"]


# Replacement


def test_an_outdated_replica_is_replaced_one_at_a_time() -> None:
    old = (replica(1, current=False), replica(2, current=False))
    one = deployment(in_flight=2, need=2, wanted=2, replicas=old)
    made = plan(view(one))
    assert len(made.starts) == 1
    assert not made.drains

    made = plan(view(replace(one, replicas=(*old, replica(3, on="b")))))
    assert made.drains == (Drain(key(2), "its version, settings or secrets changed"),)
    assert len(made.starts) == 1


def test_an_idle_outdated_replica_is_replaced_too() -> None:
    one = deployment(need=0, wanted=1, last_needed=ago(10), replicas=(replica(1, current=False),))
    assert len(plan(view(one)).starts) == 1


def test_without_room_for_a_successor_an_outdated_replica_ends_first_after_some_patience() -> None:
    full = (worker("a", used=Room(0, 1000)),)
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, current=False),))
    assert not plan(view(one, workers=full)).drains
    assert not plan(view(replace(one, pending_since=ago(9)), workers=full)).drains
    assert drained(plan(view(replace(one, pending_since=ago(10)), workers=full))) == {1}


def test_the_last_replica_of_a_launch_stays_until_its_successor_is_there_and_others_make_room() -> None:
    full = (worker("a", used=Room(0, 1000)),)
    fixed = wish(min_replicas=1, max_replicas=1)
    one = deployment(
        wish=fixed, launched=True, wanted=1, pending_since=ago(60), replicas=(replica(1, current=False),)
    )
    assert not plan(view(one, workers=full)).drains
    two = replace(
        one,
        wish=replace(fixed, min_replicas=2, max_replicas=2),
        wanted=2,
        replicas=(replica(1, current=False), replica(2, current=False)),
    )
    assert len(plan(view(two, workers=full)).drains) == 1


def test_what_the_catalog_has_not_told_of_yet_stays_as_it_is() -> None:
    one = deployment(
        wish=None,
        unheard=True,
        need=2,
        wanted=3,
        replicas=tuple(replica(nth, current=False) for nth in (1, 2, 3)),
    )
    made = plan(view(one))
    assert (made.starts, made.drains) == ((), ())
    assert (decision(made).need, decision(made).wanted) == (2, 3)
    assert decision(made).look_at is not None


def test_what_is_paused_starts_and_ends_nothing() -> None:
    one = deployment(wish=wish(min_replicas=3, max_replicas=3), launched=True, paused=True, wanted=3)
    held = replace(one, replicas=(replica(1), replica(2, current=False, state=ReplicaState.STARTING)))
    assert plan(view(one)).starts == ()
    assert (plan(view(held)).starts, plan(view(held)).drains) == ((), ())


def test_an_outdated_replica_does_not_end_for_a_successor_that_would_not_fit_in_its_place() -> None:
    one = deployment(
        wish=wish(room=Room(1, 2000)), in_flight=1, pending_since=ago(60), replicas=(replica(1, current=False),)
    )
    made = plan(view(one, workers=(worker("a", used=Room(0, 100)),)))
    assert not made.drains
    assert decision(made).pending == "no worker is large enough: a replica needs 2000 MiB of memory"


def test_outdated_replicas_without_room_end_one_after_the_other() -> None:
    old = (replica(1, current=False), replica(2, current=False, state=DRAINING))
    one = deployment(in_flight=2, need=2, wanted=2, pending_since=ago(60), replicas=old)
    assert not plan(view(one, workers=(worker("a", used=Room(0, 1000)),))).drains


# Failures


def test_nothing_is_started_before_the_pause_is_over() -> None:
    one = deployment(in_flight=1, failures=3, retry_at=NOW + timedelta(seconds=2))
    made = plan(view(one))
    assert not made.starts
    assert decision(made).look_at == NOW + timedelta(seconds=2)


def test_after_failures_one_replica_is_tried_first() -> None:
    one = deployment(in_flight=4, failures=2, retry_at=ago(1))
    assert len(plan(view(one)).starts) == 1
    trying = replace(one, replicas=(replica(1, state=STARTING),))
    assert not plan(view(trying)).starts
    works = replace(one, replicas=(replica(1),))
    assert len(plan(view(works)).starts) == 3


def test_a_start_that_failed_is_tried_on_another_worker() -> None:
    one = deployment(in_flight=1, failures=1, retry_at=ago(1), failed_on=frozenset({"a"}))
    assert placed(plan(view(one))) == ["b"]


def test_a_stuck_start_fails_and_counts() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1, state=WANTED, since=ago(30)),))
    made = plan(view(one))
    assert [(failure.replica_id, failure.counts) for failure in made.failures] == [(key(1), True)]
    assert not made.starts


def test_nothing_is_stuck_before_somebody_could_have_heard_of_it() -> None:
    one = deployment(in_flight=1, replicas=(replica(1, state=WANTED, since=ago(31)),))
    assert not plan(view(one, watching_since=NOW - LEASE + timedelta(seconds=1))).failures


def test_a_stuck_drain_fails_and_does_not_count() -> None:
    made = plan(view(deployment(in_flight=1, replicas=(replica(1, state=DRAINING, since=ago(3900)),))))
    assert [failure.counts for failure in made.failures] == [False]
    assert len(made.starts) == 1


def test_failures_are_forgotten_a_minute_after_the_last_pause_or_when_a_replica_is_stable() -> None:
    one = deployment(failures=2, retry_at=ago(59))
    assert not decision(plan(view(one))).forgive
    assert decision(plan(view(replace(one, retry_at=ago(60))))).forgive
    called = deployment(in_flight=1, failures=1)
    assert not decision(plan(view(replace(called, replicas=(replica(1, since=ago(59)),))))).forgive
    assert decision(plan(view(replace(called, replicas=(replica(1, since=ago(60)),))))).forgive


def test_failures_are_not_forgotten_for_one_stable_replica_while_others_fail() -> None:
    one = deployment(in_flight=2, failures=2, retry_at=ago(59), replicas=(replica(1, since=ago(600)),))
    assert not decision(plan(view(one))).forgive


# No place


def test_no_place_is_said_and_looked_for_again_soon() -> None:
    made = plan(view(deployment(in_flight=1), workers=()))
    assert decision(made).pending == "no worker is connected"
    assert decision(made).look_at == NOW + timedelta(seconds=1)
    assert made.starved


def test_one_that_has_a_replica_is_not_starved() -> None:
    made = plan(view(deployment(in_flight=2, replicas=(replica(1),)), workers=(worker("a", used=Room(0, 1000)),)))
    assert decision(made).pending is not None
    assert not made.starved


def test_one_for_whom_room_is_coming_is_not_starved() -> None:
    made = plan(view(deployment(in_flight=1), workers=(worker("a", used=Room(0, 1000), leaving=Room(0, 100)),)))
    assert decision(made).pending is not None
    assert not made.starved


def test_idle_replicas_of_others_give_way_to_one_that_has_none() -> None:
    idle = (
        IdleReplica(key(1), key(2000), "a", MODEST, ago(60)),
        IdleReplica(key(2), key(2000), "a", MODEST, ago(100)),
        IdleReplica(key(3), key(3000), "a", MODEST, ago(20)),
    )
    starving = (deployment(1000, in_flight=1), deployment(1001, in_flight=1))
    made = plan(view(*starving, workers=(worker("a", used=Room(0, 1000)),), idle=idle))
    assert drained(made) == {1, 2}


def test_those_that_have_fewest_replicas_get_the_last_places() -> None:
    rich = deployment(1, in_flight=3, need=1, wanted=1, replicas=(replica(1),))
    poor = deployment(2, in_flight=3)
    made = plan(view(rich, poor, workers=(worker("a", used=Room(0, 700)),)))
    assert [start.deployment_id.int for start in made.starts] == [1, 2, 2]


# When to look again


def test_what_needs_nothing_is_not_looked_at_again() -> None:
    assert decision(plan(view(deployment(need=1, wanted=1)))).look_at is None


def test_what_runs_is_looked_at_now_and_then_and_when_its_demand_lapses() -> None:
    one = deployment(in_flight=1, need=1, wanted=1, replicas=(replica(1),))
    assert decision(plan(view(one))).look_at == NOW + timedelta(seconds=10)
    lapsing = replace(one, demand_until=NOW + timedelta(seconds=4))
    assert decision(plan(view(lapsing))).look_at == NOW + timedelta(seconds=4)


def test_what_drains_is_looked_at_until_it_ended() -> None:
    assert decision(plan(view(deployment(replicas=(replica(1, state=DRAINING),))))).look_at is not None


def test_demand_for_something_that_does_not_exist_is_looked_at_when_it_lapses() -> None:
    until = NOW + timedelta(seconds=4)
    assert decision(plan(view(deployment(wish=None, in_flight=1, demand_until=until)))).look_at == until
