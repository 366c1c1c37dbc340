from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.contracts.catalog import Language
from services.deployer.placement import Fleet
from services.deployer.view import IdleReplica, Room, WorkerView
from tests.unit.deployer.views import NOW, ago, key, wish, worker

JAVASCRIPT = frozenset({Language.JAVASCRIPT})


def place(*workers: WorkerView, beside: tuple[str, ...] = (), avoid: tuple[str, ...] = ()) -> str | None:
    return Fleet(workers, NOW).place(wish(), beside=beside, avoid=avoid)


def test_the_least_loaded_worker_takes_it() -> None:
    assert place(worker("a", used=Room(0, 500)), worker("b", used=Room(0, 400))) == "b"
    assert place(worker("a", used=Room(3)), worker("b", used=Room(4))) == "a"


def test_load_is_the_fuller_of_memory_and_slots() -> None:
    assert place(worker("a", used=Room(9, 100)), worker("b", used=Room(1, 500))) == "b"


def test_a_worker_without_another_replica_of_the_same_kind_comes_before_a_less_loaded_one() -> None:
    assert place(worker("a", used=Room(0, 100)), worker("b", used=Room(0, 500)), beside=("a",)) == "b"


def test_a_worker_on_which_it_failed_comes_last() -> None:
    assert place(worker("a"), worker("b", used=Room(0, 900)), avoid=("a",)) == "b"
    assert place(worker("a"), avoid=("a",)) == "a"


def test_equal_workers_are_taken_in_the_order_of_their_ids() -> None:
    assert place(worker("b"), worker("a")) == "a"


def test_what_is_placed_takes_its_room() -> None:
    fleet = Fleet([worker("a", capacity=Room(10, 250))], NOW)
    assert [fleet.place(wish(), beside=(), avoid=()) for _ in range(3)] == ["a", "a", None]
    fleet = Fleet([worker("a", capacity=Room(1, 1000))], NOW)
    assert [fleet.place(wish(), beside=(), avoid=()) for _ in range(2)] == ["a", None]


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ((), "no worker is connected"),
        ((worker("a", alive=False),), "no worker is connected"),
        ((worker("a", draining=True), worker("b", alive=False)), "all connected workers are being drained"),
        ((worker("a", languages=JAVASCRIPT),), "no worker runs python3"),
        (
            (worker("a", capacity=Room(10, 99)),),
            "no worker is large enough: a replica needs 100 MiB of memory",
        ),
        ((worker("a", used=Room(10)),), "no worker takes another replica: all have as many as they may"),
        ((worker("a", capacity=Room(0, 1000)),), "no worker takes another replica: all have as many as they may"),
        ((worker("a", used=Room(0, 901)), worker("b", used=Room(10))), "no worker has 100 MiB of memory free"),
    ],
)
def test_the_obstacle_is_said(workers: tuple[WorkerView, ...], reason: str) -> None:
    fleet = Fleet(workers, NOW)
    assert fleet.place(wish(), beside=(), avoid=()) is None
    assert fleet.obstacle(wish()) == reason


def test_gpus_and_processors_are_counted_as_memory_is() -> None:
    two = worker("a", capacity=Room(10, 1000, 4000, 2), used=Room(1, 100, 1500, 1))
    fleet = Fleet([two, worker("none")], NOW)
    needs = wish(room=Room(1, 100, 0, 1))
    assert [fleet.place(needs, beside=(), avoid=()) for _ in range(2)] == ["a", None]
    assert fleet.obstacle(needs) == "no worker has 1 GPU free"
    assert fleet.fits_instead(needs, "a", Room(1, 100, 0, 1))
    assert not fleet.fits_instead(needs, "a", Room(1, 100))
    assert Fleet([two], NOW).place(wish(room=Room(1, 100, 2500)), beside=(), avoid=()) == "a"
    assert Fleet([two], NOW).place(wish(room=Room(1, 100, 2501)), beside=(), avoid=()) is None


def test_a_replica_that_keeps_no_processor_is_placed_where_all_are_kept() -> None:
    assert place(worker("a", capacity=Room(10, 1000, 1000), used=Room(2, 100, 1500))) == "a"


@pytest.mark.parametrize(
    ("workers", "room", "reason"),
    [
        ((worker("a"),), Room(1, 100, 0, 2), "no worker is large enough: a replica needs 2 GPUs"),
        (
            (worker("a", capacity=Room(10, 1000, 2000)),),
            Room(1, 2000, 2500),
            "no worker is large enough: a replica needs 2000 MiB of memory and 2.5 processors",
        ),
        (
            (worker("a", capacity=Room(10, 1000, 0, 1)), worker("b", capacity=Room(10, 4000))),
            Room(1, 2000, 0, 1),
            "no worker is large enough: a replica needs 2000 MiB of memory and 1 GPU",
        ),
        (
            (worker("a", capacity=Room(10, 1000, 1000, 2), used=Room(1, 950, 0, 1)),),
            Room(1, 100, 1000, 2),
            "no worker has 100 MiB of memory and 2 GPUs free",
        ),
        (
            (worker("a", capacity=Room(10, 1000, 1000), used=Room(1, 0, 1)),),
            Room(1, 1, 1000),
            "no worker has 1 processor free",
        ),
    ],
)
def test_the_obstacle_names_what_is_short(workers: tuple[WorkerView, ...], room: Room, reason: str) -> None:
    assert Fleet(workers, NOW).obstacle(wish(room=room)) == reason


def test_load_is_of_what_a_replica_takes_up() -> None:
    busy = worker("a", capacity=Room(10, 1000, 0, 2), used=Room(0, 0, 0, 1))
    idle_ones = worker("b", capacity=Room(10, 1000, 0, 2), used=Room(0, 100))
    assert place(busy, idle_ones) == "a", "its GPUs do not matter to a replica without one"
    assert Fleet([busy, idle_ones], NOW).place(wish(room=Room(1, 100, 0, 1)), beside=(), avoid=()) == "b"


def test_a_successor_fits_in_the_place_of_what_ends_there() -> None:
    full = worker("a", used=Room(10, 1000))
    fleet = Fleet([full, worker("js", languages=JAVASCRIPT), worker("gone", draining=True)], NOW)
    assert fleet.fits_instead(wish(), "a", Room(1, 100))
    assert not fleet.fits_instead(wish(), "a", Room(1, 99))
    assert not fleet.fits_instead(wish(), "js", Room(1, 1000))
    assert not fleet.fits_instead(wish(), "gone", Room(1, 1000))
    assert not fleet.fits_instead(wish(), "nowhere", Room(1, 1000))


def test_room_is_coming_where_enough_drains() -> None:
    full = worker("a", used=Room(10, 1000))
    assert not Fleet([full], NOW).room_is_coming(wish())
    assert not Fleet([replace(full, leaving=Room(0, 100))], NOW).room_is_coming(wish())
    assert Fleet([replace(full, leaving=Room(1, 100))], NOW).room_is_coming(wish())


def idle(number: int, on: str, since: float, memory_mib: int = 100) -> IdleReplica:
    return IdleReplica(key(number), key(1), on, Room(1, memory_mib), ago(since))


def victims(workers: list[WorkerView], replicas: list[IdleReplica], taken: tuple[int, ...] = ()) -> list[int]:
    chosen = Fleet(workers, NOW).victims(wish(), replicas, [key(number) for number in taken])
    return [one.id.int for one in chosen]


def test_the_longest_idle_replica_gives_way() -> None:
    full = [worker("a", used=Room(0, 1000))]
    assert victims(full, [idle(1, "a", 10), idle(2, "a", 20), idle(3, "a", 5)]) == [2]
    assert victims(full, [idle(1, "a", 10), idle(2, "a", 20)], taken=(2,)) == [1]


def test_few_give_way_rather_than_many() -> None:
    full = [worker("a", used=Room(0, 1000)), worker("b", used=Room(0, 1000))]
    replicas = [idle(1, "a", 90, 50), idle(2, "a", 80, 50), idle(3, "b", 5, 100)]
    assert victims(full, replicas) == [3]


def test_nobody_gives_way_in_vain() -> None:
    assert victims([worker("a", used=Room(0, 1000))], [idle(1, "a", 10, 60)]) == []
    assert victims([worker("a", used=Room(0, 1000))], [idle(1, "b", 10)]) == []
    assert victims([worker("a", used=Room(0, 1000), languages=JAVASCRIPT)], [idle(1, "a", 10)]) == []
