"""Since when workers could have been heard."""

from __future__ import annotations

from services.registry.work import Watch


def test_a_gap_begins_the_watch_anew() -> None:
    watch = Watch(gap=5)
    assert [watch.look(moment) for moment in (100, 104, 109)] == [0, 4, 9]
    assert [watch.look(moment) for moment in (115, 120, 125)] == [0, 5, 10], "nothing was heard from 109 to 115"
