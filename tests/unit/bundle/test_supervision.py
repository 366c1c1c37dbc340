"""Replicas that end are started anew: at once if they have shown that they can run, else after a pause that grows."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bundle.supervision import (
    LONGEST_PAUSE_SECONDS,
    PROVEN_SECONDS,
    Entry,
    Slot,
    Supervisor,
    advance,
    entries,
)
from libs.common.contracts.launches import EntryStatus
from libs.common.contracts.replicas import TERMINAL, Address, ReplicaOrder, ReplicaReport, ReplicaState
from services.gateway.satellite.routes import Routes
from tests.support.bundles import plan

ADDRESS = Address(host_id="h", unix="/s")


def report(replica: UUID, state: ReplicaState, reason: str | None = None) -> ReplicaReport:
    address = ADDRESS if state is ReplicaState.READY else None
    return ReplicaReport(id=replica, state=state, reason=reason, address=address, since=datetime.now(UTC))


@pytest.fixture
def slot() -> Slot:
    [entry] = entries(plan({"echo": "sha256:" + "0" * 64}))
    return entry.slots[0]


def of(slot: Slot) -> list[Entry]:
    [entry] = entries(plan({"echo": "sha256:" + "0" * 64}))
    return [Entry(entry.said, entry.route, [slot])]


def ends(slot: Slot, now: float) -> float:
    """Its replica has failed; how long the next one waits."""
    replica = slot.order.spec.id
    assert advance(of(slot), [report(replica, ReplicaState.FAILED, "no model")], now) == (
        [slot.order] if slot.starts_at <= now else []
    )
    assert slot.order.spec.id != replica, "a failed replica never runs again"
    return slot.starts_at - now


def test_pauses_grow_and_have_an_end(slot: Slot) -> None:
    pauses = []
    now = 0.0
    for _ in range(12):
        pauses.append(ends(slot, now))
        now += pauses[-1]
        assert [order.spec.id for order in advance(of(slot), [], now)] == [slot.order.spec.id]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert slot.reason == "no model"


def test_one_that_has_served_long_is_followed_at_once(slot: Slot) -> None:
    for _ in range(5):
        ends(slot, 0.0)
    advance(of(slot), [report(slot.order.spec.id, ReplicaState.READY)], 100.0)
    assert ends(slot, 100.0 + PROVEN_SECONDS) == 0.0
    advance(of(slot), [report(slot.order.spec.id, ReplicaState.READY)], 200.0)
    assert ends(slot, 201.0) > 0.0, "one that ends soon again is not"


@given(
    st.lists(
        st.tuples(st.sampled_from(list(ReplicaState)), st.floats(0, 100)),
        max_size=40,
    )
)
def test_there_is_never_more_than_one_for_a_place(events: list[tuple[ReplicaState, float]]) -> None:
    [entry] = entries(plan({"echo": "sha256:" + "0" * 64}))
    [slot] = entry.slots
    now, before = 0.0, slot.order.spec.id
    seen = {before}
    for state, passed in events:
        now += passed
        orders: list[ReplicaOrder] = advance([entry], [report(before, state)], now)
        after = slot.order.spec.id
        assert [one.spec.id for one in orders] == ([after] if slot.starts_at <= now else [])
        assert (after not in seen) is (state in TERMINAL), "a new one for one that ended, and for none else"
        assert slot.starts_at <= now + LONGEST_PAUSE_SECONDS
        before = after
        seen.add(after)


class Node:
    """Replicas that do as they are told."""

    def __init__(self) -> None:
        self.states: dict[UUID, ReplicaState] = {}
        self.reasons: dict[UUID, str] = {}

    def apply(self, orders: dict[UUID, ReplicaOrder]) -> None:
        self.states = {one: self.states.get(one, ReplicaState.STARTING) for one in orders}

    def reports(self) -> list[ReplicaReport]:
        return [report(one, state, self.reasons.get(one)) for one, state in self.states.items()]


async def test_gateways_hear_of_what_is_ready_and_why_nothing_is() -> None:
    found = plan({"echo": "sha256:" + "0" * 64, "tag": "sha256:" + "1" * 64})
    routes, node, told = Routes(), Node(), list[tuple[EntryStatus, ...]]()
    supervisor = Supervisor(found, routes, clock=lambda: 0.0, on_change=lambda now: told.append(tuple(now)))
    supervisor.attach(node)  # type: ignore[arg-type] # all of it that a supervisor uses
    await supervisor.once()
    echo, tag = supervisor.entries
    assert [one.ready for one in told[-1]] == [0, 0]
    first, second = echo.slots[0].order.spec.id, tag.slots[0].order.spec.id
    node.states[first] = ReplicaState.READY
    node.states[second], node.reasons[second] = ReplicaState.FAILED, "load() failed"
    await supervisor.once()
    of_echo, of_tag = routes.of(echo.route), routes.of(tag.route)
    assert of_echo is not None
    assert of_tag is not None
    assert [one.id for one in of_echo.replicas] == [first]
    assert (of_tag.replicas, of_tag.failure) == ((), "load() failed")
    assert [(one.ready, one.reason) for one in told[-1]] == [(1, None), (0, "load() failed")]
    count = len(told)
    await supervisor.once()
    assert len(told) == count, "nothing is told twice"
