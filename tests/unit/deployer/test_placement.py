from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.contracts.catalog import Language
from services.deployer.placement import Fleet
from services.deployer.view import IdleReplica, WorkerView
from tests.unit.deployer.views import NOW, ago, key, wish, worker

JAVASCRIPT = frozenset({Language.JAVASCRIPT})


def place(*workers: WorkerView, beside: tuple[str, ...] = (), avoid: tuple[str, ...] = ()) -> str | None:
    return Fleet(workers, NOW).place(wish(), beside=beside, avoid=avoid)


def test_the_least_loaded_worker_takes_it() -> None:
    assert place(worker("a", used_mib=500), worker("b", used_mib=400)) == "b"
    assert place(worker("a", used_slots=3), worker("b", used_slots=4)) == "a"


def test_load_is_the_fuller_of_memory_and_slots() -> None:
    assert place(worker("a", used_mib=100, used_slots=9), worker("b", used_mib=500, used_slots=1)) == "b"


def test_a_worker_without_another_replica_of_the_same_kind_comes_before_a_less_loaded_one() -> None:
    assert place(worker("a", used_mib=100), worker("b", used_mib=500), beside=("a",)) == "b"


def test_a_worker_on_which_it_failed_comes_last() -> None:
    assert place(worker("a"), worker("b", used_mib=900), avoid=("a",)) == "b"
    assert place(worker("a"), avoid=("a",)) == "a"


def test_equal_workers_are_taken_in_the_order_of_their_ids() -> None:
    assert place(worker("b"), worker("a")) == "a"


def test_what_is_placed_takes_its_room() -> None:
    fleet = Fleet([worker("a", memory_mib=250)], NOW)
    assert [fleet.place(wish(), beside=(), avoid=()) for _ in range(3)] == ["a", "a", None]
    fleet = Fleet([worker("a", slots=1)], NOW)
    assert [fleet.place(wish(), beside=(), avoid=()) for _ in range(2)] == ["a", None]


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ((), "no worker is connected"),
        ((worker("a", alive=False),), "no worker is connected"),
        ((worker("a", draining=True), worker("b", alive=False)), "all connected workers are being drained"),
        ((worker("a", languages=JAVASCRIPT),), "no worker runs python3"),
        (
            (worker("a", memory_mib=99),),
            "no worker is large enough: a replica needs 100 MiB of memory",
        ),
        ((worker("a", used_slots=10),), "no worker takes another replica: all have as many as they may"),
        ((worker("a", slots=0),), "no worker takes another replica: all have as many as they may"),
        ((worker("a", used_mib=901), worker("b", used_slots=10)), "no worker has 100 MiB of memory free"),
    ],
)
def test_the_obstacle_is_said(workers: tuple[WorkerView, ...], reason: str) -> None:
    fleet = Fleet(workers, NOW)
    assert fleet.place(wish(), beside=(), avoid=()) is None
    assert fleet.obstacle(wish()) == reason


def test_a_successor_fits_in_the_place_of_what_ends_there() -> None:
    full = worker("a", used_mib=1000, used_slots=10)
    fleet = Fleet([full, worker("js", languages=JAVASCRIPT), worker("gone", draining=True)], NOW)
    assert fleet.fits_instead(wish(), "a", 100)
    assert not fleet.fits_instead(wish(), "a", 99)
    assert not fleet.fits_instead(wish(), "js", 1000)
    assert not fleet.fits_instead(wish(), "gone", 1000)
    assert not fleet.fits_instead(wish(), "nowhere", 1000)


def test_room_is_coming_where_enough_drains() -> None:
    full = worker("a", used_mib=1000, used_slots=10)
    assert not Fleet([full], NOW).room_is_coming(wish())
    assert not Fleet([replace(full, leaving_mib=100)], NOW).room_is_coming(wish())
    assert Fleet([replace(full, leaving_mib=100, leaving_slots=1)], NOW).room_is_coming(wish())


def idle(number: int, on: str, since: float, memory_mib: int = 100) -> IdleReplica:
    return IdleReplica(key(number), key(1), on, memory_mib, ago(since))


def victims(workers: list[WorkerView], replicas: list[IdleReplica], taken: tuple[int, ...] = ()) -> list[int]:
    chosen = Fleet(workers, NOW).victims(wish(), replicas, [key(number) for number in taken])
    return [one.id.int for one in chosen]


def test_the_longest_idle_replica_gives_way() -> None:
    full = [worker("a", used_mib=1000)]
    assert victims(full, [idle(1, "a", 10), idle(2, "a", 20), idle(3, "a", 5)]) == [2]
    assert victims(full, [idle(1, "a", 10), idle(2, "a", 20)], taken=(2,)) == [1]


def test_few_give_way_rather_than_many() -> None:
    full = [worker("a", used_mib=1000), worker("b", used_mib=1000)]
    replicas = [idle(1, "a", 90, 50), idle(2, "a", 80, 50), idle(3, "b", 5, 100)]
    assert victims(full, replicas) == [3]


def test_nobody_gives_way_in_vain() -> None:
    assert victims([worker("a", used_mib=1000)], [idle(1, "a", 10, 60)]) == []
    assert victims([worker("a", used_mib=1000)], [idle(1, "b", 10)]) == []
    assert victims([worker("a", used_mib=1000, languages=JAVASCRIPT)], [idle(1, "a", 10)]) == []
