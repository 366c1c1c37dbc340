"""What holds wherever a replica is placed, whatever the workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.catalog import Language
from services.deployer.placement import Fleet
from services.deployer.view import IdleReplica, Room, Wish, WorkerView
from tests.unit.deployer.views import LEASE, NOW, ago, key, wish

NAMES = ("a", "b", "c", "d")
LABELS = st.frozensets(st.sampled_from([("region", "eu"), ("region", "us"), ("disk", "ssd")]))
ROOMS = st.builds(
    Room, st.just(1), st.sampled_from([50, 100, 400]), st.sampled_from([0, 500, 2000]), st.integers(0, 2)
)
WISHES = st.builds(
    lambda room, labels, language: wish(room=room, labels=labels, language=language),
    ROOMS,
    LABELS,
    st.sampled_from([Language.PYTHON, Language.JAVASCRIPT]),
)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[WorkerView, ...]:
    return tuple(
        WorkerView(
            id=name,
            lease_until=draw(st.sampled_from([ago(1), NOW, NOW + LEASE])),
            draining=draw(st.booleans()),
            languages=frozenset(draw(st.sets(st.sampled_from([Language.PYTHON, Language.JAVASCRIPT])))),
            capacity=Room(draw(st.integers(0, 3)), draw(st.sampled_from([100, 500])), 2000, draw(st.integers(0, 2))),
            used=draw(st.just(Room()) | ROOMS),
            labels=draw(LABELS),
        )
        for name in NAMES
    )


def takes(worker: WorkerView, one: Wish) -> bool:
    """Said once more, each thing by itself."""
    room, has, used = one.room, worker.capacity, worker.used
    return (
        worker.lease_until >= NOW
        and not worker.draining
        and one.language in worker.languages
        and all(label in worker.labels for label in one.labels)
        and used.slots + 1 <= has.slots
        and used.memory_mib + room.memory_mib <= has.memory_mib
        and (not room.millicpus or used.millicpus + room.millicpus <= has.millicpus)
        and (not room.gpus or used.gpus + room.gpus <= has.gpus)
    )


@given(fleets(), WISHES, st.lists(st.sampled_from(NAMES), max_size=6), st.sets(st.sampled_from(NAMES)))
def test_a_replica_goes_where_it_may_and_fewest_of_its_kind_are(
    workers: tuple[WorkerView, ...], one: Wish, beside: list[str], avoid: set[str]
) -> None:
    """The labels of a region keep it there; a worker that is drained or lost takes none; when none has room, a reason
    is said; else hosts without another replica of the same deployment come first."""
    able = {worker.id for worker in workers if takes(worker, one)}
    fleet = Fleet(workers, NOW)
    place = fleet.place(one, beside=beside, avoid=avoid)
    assert (place is None) == (not able)
    if place is None:
        assert fleet.obstacle(one).startswith(("no worker ", "all connected workers "))
        return
    assert place in able
    copies = Counter(beside)
    rivals = {name for name in able if (name in avoid) == (place in avoid)}
    assert copies[place] == min(copies[name] for name in rivals)
    assert place not in avoid or able <= avoid


@given(fleets(), WISHES, st.integers(1, 12))
def test_replicas_of_one_deployment_are_spread_as_evenly_as_room_allows(
    workers: tuple[WorkerView, ...], one: Wish, number: int
) -> None:
    fleet, beside = Fleet(workers, NOW), list[str]()
    for _ in range(number):
        if (place := fleet.place(one, beside=beside, avoid=())) is not None:
            beside.append(place)
    copies = Counter(beside)
    most = max(copies.values(), default=0)
    for worker in workers:
        if copies[worker.id] < most - 1:
            room = worker.used
            for _ in range(copies[worker.id]):
                room += one.room
            assert not takes(replace(worker, used=room), one), "it has fewer, and takes no more"


@given(fleets(), WISHES, st.lists(st.tuples(st.sampled_from(NAMES), ROOMS), max_size=6))
def test_who_gives_way_makes_room_and_nobody_does_in_vain(
    workers: tuple[WorkerView, ...], one: Wish, there: list[tuple[str, Room]]
) -> None:
    full = tuple(
        replace(worker, used=sum((room for name, room in there if name == worker.id), Room())) for worker in workers
    )
    idle = [IdleReplica(key(nth), key(900), name, room, ago(nth)) for nth, (name, room) in enumerate(there)]
    chosen = Fleet(full, NOW).victims(one, idle, ())
    if not chosen:
        return
    (name,) = {victim.worker_id for victim in chosen}
    (worker,) = [worker for worker in full if worker.id == name]
    freed = [victim.room for victim in chosen]
    assert takes(replace(worker, used=worker.used - sum(freed, Room())), one)
    assert not takes(replace(worker, used=worker.used - sum(freed[:-1], Room())), one) or len(freed) == 1
