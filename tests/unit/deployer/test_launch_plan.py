"""What becomes of a launch's deployment."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.common.contracts.launches import (
    LAUNCH_TRANSITIONS,
    BundleTarget,
    KubernetesTarget,
    Launched,
    LaunchEntry,
    LaunchOrder,
    LaunchState,
    OrderAction,
    Target,
    WorkersTarget,
    entry_id,
)
from services.deployer.launch_plan import LaunchView, advance, is_news, launched, newer, plain_addresses

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LAUNCH, SATELLITE, ALGORITHM = UUID(int=1), UUID(int=2), UUID(int=3)
WAIT = timedelta(seconds=60)


def order(
    number: int,
    *vanities: str,
    action: OrderAction = OrderAction.DEPLOY,
    paused: bool = False,
    revision: int = 0,
) -> LaunchOrder:
    return LaunchOrder(
        deployment_id=UUID(int=100 + number),
        launch_id=LAUNCH,
        number=number,
        revision=revision,
        action=action,
        satellite_id=SATELLITE,
        satellite="edge",
        satellite_version=number,
        name="dev",
        entries=tuple(
            LaunchEntry(
                vanity_url=vanity,
                owner="joe",
                name="echo",
                commit="a" * 40,
                algorithm_id=ALGORITHM,
                revision_id=UUID(int=1000 + number),
                replicas=2,
            )
            for vanity in vanities or ("a/b",)
        ),
        keys=f"k{number}",
        target=WorkersTarget(deadline_seconds=60),
        paused=paused,
        by="root",
        at=NOW,
    )


ONE, TWO = order(1), order(2)


def test_an_entry_names_its_algorithm_as_satellites_do() -> None:
    assert ONE.entries[0].algorithm == f"joe/echo/{'a' * 40}"


DEPLOYING = LaunchView(
    newest=TWO, order=TWO, state=LaunchState.DEPLOYING, aim=TWO, proven=ONE, deadline_at=NOW + WAIT, running=True
)


def test_a_new_order_is_aimed_at_and_what_served_before_is_kept() -> None:
    step = advance(LaunchView(newest=ONE), NOW)
    assert step is not None
    assert (step.state, step.aim, step.proven, step.deadline_at) == (LaunchState.DEPLOYING, ONE, None, NOW + WAIT)
    view = LaunchView(newest=TWO, order=ONE, state=LaunchState.DEPLOYED, aim=ONE, proven=ONE, ready=True)
    step = advance(view, NOW)
    assert step is not None
    assert (step.state, step.aim, step.proven, step.retire) == (LaunchState.DEPLOYING, TWO, ONE, False)


def test_it_is_deployed_when_all_is_ready_and_only_then_does_the_rest_end() -> None:
    assert advance(DEPLOYING, NOW) is None
    step = advance(dataclasses.replace(DEPLOYING, ready=True), NOW + WAIT * 2)
    assert step is not None
    assert (step.state, step.aim, step.proven, step.retire) == (LaunchState.DEPLOYED, TWO, TWO, True)


def test_after_the_deadline_the_version_before_comes_back_with_the_reason() -> None:
    late = dataclasses.replace(DEPLOYING, obstacle="a/b: 0 of 2 are ready (load() failed)")
    step = advance(late, NOW + WAIT)
    assert step is not None
    assert (step.state, step.aim, step.retire) == (LaunchState.ROLLING_BACK, ONE, False)
    assert step.reason == "it was not ready within 60 s: a/b: 0 of 2 are ready (load() failed)"
    back = LaunchView(
        newest=TWO, order=TWO, state=step.state, aim=step.aim, proven=step.proven, ready=True, reason=step.reason
    )
    done = advance(back, NOW + WAIT)
    assert done is not None
    assert (done.state, done.aim, done.reason, done.retire) == (LaunchState.ROLLED_BACK, ONE, step.reason, True)
    assert advance(dataclasses.replace(back, ready=False), NOW + WAIT) is None
    assert advance(dataclasses.replace(back, state=LaunchState.ROLLED_BACK), NOW + WAIT) is None


def test_nobody_gives_up_before_what_is_ready_would_have_been_heard_of() -> None:
    assert advance(dataclasses.replace(DEPLOYING, watched=False), NOW + WAIT) is None


def test_the_first_version_has_nothing_to_go_back_to_and_is_tried_further() -> None:
    first = dataclasses.replace(DEPLOYING, proven=None)
    step = advance(first, NOW + WAIT)
    assert step is not None
    assert (step.state, step.aim, step.reason) == (LaunchState.FAILED, TWO, "it was not ready within 60 s: no reason")
    failed = dataclasses.replace(first, state=LaunchState.FAILED, deadline_at=None)
    assert advance(failed, NOW + WAIT) is None
    step = advance(dataclasses.replace(failed, ready=True), NOW + WAIT)
    assert step is not None
    assert step.state is LaunchState.DEPLOYED


def test_stopping_ends_all() -> None:
    stop = order(3, action=OrderAction.STOP)
    step = advance(dataclasses.replace(DEPLOYING, newest=stop), NOW)
    assert step is not None
    assert (step.state, step.aim, step.proven, step.retire) == (LaunchState.STOPPING, None, None, True)
    stopping = LaunchView(newest=stop, order=stop, state=LaunchState.STOPPING, running=True)
    assert advance(stopping, NOW) is None
    step = advance(dataclasses.replace(stopping, running=False), NOW)
    assert step is not None
    assert step.state is LaunchState.STOPPED


def test_a_pause_stops_the_clock() -> None:
    paused = order(2, paused=True)
    step = advance(dataclasses.replace(DEPLOYING, newest=paused), NOW)
    assert step is not None
    assert step.aim is not None
    assert (step.state, step.aim.paused, step.deadline_at) == (LaunchState.DEPLOYING, True, NOW + WAIT)
    waiting = dataclasses.replace(DEPLOYING, newest=paused, order=paused, aim=paused)
    assert advance(waiting, NOW + WAIT * 5) is None
    step = advance(dataclasses.replace(waiting, newest=TWO), NOW + WAIT * 5)
    assert step is not None
    assert step.deadline_at == NOW + WAIT * 6
    at_rest = LaunchView(newest=paused, order=TWO, state=LaunchState.STOPPED)
    step = advance(at_rest, NOW)
    assert step is not None
    assert (step.aim, step.deadline_at) == (None, None)


@pytest.mark.parametrize(
    ("heard", "known", "news"),
    [
        (TWO, ONE, True),
        (ONE, TWO, False),
        (order(1, paused=True), TWO, False),
        (order(1, paused=True, revision=1), ONE, True),
        (order(1, revision=2), order(1, paused=True, revision=1), True),
        (order(1, revision=2), order(1, revision=0), True),
        (ONE, order(1, paused=True, revision=1), False),
        (order(1, paused=True, revision=7), TWO, False),
        (order(1, paused=True), ONE, True),
        (ONE, ONE, False),
    ],
)
def test_what_is_older_than_what_is_known_is_no_news(heard: LaunchOrder, known: LaunchOrder, news: bool) -> None:
    assert is_news(heard, known) is news
    if not news:
        assert newer(heard, known) == known
    view = LaunchView(newest=heard, order=known, state=LaunchState.DEPLOYED, aim=known, proven=known, ready=True)
    assert (advance(view, NOW) is not None) is news


def test_the_order_that_counts_is_the_one_that_is_known_of() -> None:
    assert (newer(None, ONE), newer(ONE, None), newer(None, None), newer(TWO, ONE)) == (ONE, ONE, None, TWO)


@pytest.mark.parametrize(
    ("before", "target", "kept"),
    [
        (WorkersTarget(), WorkersTarget(labels={"a": "b"}), True),
        (WorkersTarget(), KubernetesTarget(namespace="one"), False),
        (KubernetesTarget(namespace="one"), WorkersTarget(), False),
        (KubernetesTarget(namespace="one"), KubernetesTarget(namespace="one", fqdn="f"), True),
        (KubernetesTarget(namespace="one"), KubernetesTarget(namespace="two"), False),
        (KubernetesTarget(namespace="one"), KubernetesTarget(namespace="one", cluster="c"), False),
    ],
)
def test_what_ran_elsewhere_cannot_be_gone_back_to(before: Target, target: Target, kept: bool) -> None:
    proven = ONE.model_copy(update={"target": before})
    view = LaunchView(TWO.model_copy(update={"target": target}), order=ONE, state=LaunchState.STOPPING, proven=proven)
    step = advance(view, NOW)
    assert step is not None
    assert step.proven == (proven if kept else None)


def test_a_target_without_a_deadline_has_none() -> None:
    bundle = TWO.model_copy(update={"target": BundleTarget()})
    step = advance(LaunchView(newest=bundle), NOW)
    assert step is not None
    assert step.deadline_at == NOW


@pytest.mark.parametrize("state", list(LaunchState))
def test_every_step_is_one_of_the_table(state: LaunchState) -> None:
    for ready in (True, False):
        for proven in (ONE, None):
            view = dataclasses.replace(DEPLOYING, state=state, ready=ready, proven=proven, running=ready)
            step = advance(view, NOW + WAIT)
            assert step is None or step.state in LAUNCH_TRANSITIONS[state]


class TestWhatAnswers:
    def test_while_a_version_is_brought_up_the_one_before_answers_with_its_keys(self) -> None:
        old, new = order(1, "a/b", "old/one"), order(2, "a/b", "new/one")
        said = launched(LAUNCH, LaunchState.DEPLOYING, new, old)
        assert said is not None
        assert (said.satellite_version, said.keys) == (1, "k1")
        assert [one.vanity_url for one in said.entries] == ["a/b", "new/one", "old/one"]
        assert said.entries[0].route == entry_id(LAUNCH, "A/B")
        for state in (LaunchState.DEPLOYED, LaunchState.ROLLED_BACK):
            done = launched(LAUNCH, state, new, old)
            assert done is not None
            assert (done.satellite_version, [one.vanity_url for one in done.entries]) == (2, ["a/b", "new/one"])
        first = launched(LAUNCH, LaunchState.DEPLOYING, new, None)
        assert first is not None
        assert first.satellite_version == 2

    def test_what_has_no_address_runs_without_one(self) -> None:
        hidden = ONE.model_copy(update={"is_addressed": False})
        assert launched(LAUNCH, LaunchState.DEPLOYED, hidden, hidden) is None

    def test_a_launch_in_a_cluster_answers_its_calls_itself(self) -> None:
        there = ONE.model_copy(update={"target": KubernetesTarget(namespace="one")})
        assert launched(LAUNCH, LaunchState.DEPLOYED, there, there) is None

    def test_what_is_stopped_answers_nothing(self) -> None:
        assert launched(LAUNCH, LaunchState.STOPPING, ONE, ONE) is None
        assert launched(LAUNCH, LaunchState.STOPPED, None, None) is None

    def test_the_oldest_launch_has_the_plain_address(self) -> None:
        def one(key: int, *vanities: str) -> Launched:
            said = launched(UUID(int=key), LaunchState.DEPLOYED, order(1, *vanities), None)
            assert said is not None
            return said

        later = NOW + WAIT
        found = plain_addresses([(later, one(1, "A/b", "c/d")), (NOW, one(2, "a/b")), (later, one(3, "c/d"))])
        assert found == {UUID(int=1): ("c/d",), UUID(int=2): ("a/b",), UUID(int=3): ()}
