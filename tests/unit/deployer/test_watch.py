from __future__ import annotations

from datetime import timedelta

from services.deployer.turn import Watch
from tests.unit.deployer.views import NOW


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_watching_goes_on_as_long_as_looks_are_close() -> None:
    watch = Watch(at(5))
    assert [watch.look(NOW + at(second)) for second in (0, 5, 9)] == [NOW] * 3


def test_a_gap_starts_it_anew() -> None:
    watch = Watch(at(5))
    watch.look(NOW)
    assert watch.look(NOW + at(6)) == NOW + at(6)
    assert watch.look(NOW + at(8)) == NOW + at(6)
