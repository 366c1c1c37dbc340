"""Reports on disk."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.common.contracts.satellites import SatelliteReport
from services.gateway.satellite import spool as spools
from services.gateway.satellite.reports import Draft
from services.gateway.satellite.spool import Spool, SpoolTaken
from tests.unit.gateway.satellite.test_reports import NOON, head, record, used

EARLY, LATE = "0000000000001-aa", "0000000000002-bb"
Opened = Callable[..., Spool]


def document(sequence: int, *, run: str = EARLY, records: int = 0) -> bytes:
    draft = Draft(sequence, NOON)
    draft.count(used())
    draft.take(deque(record(number, error="e" * 100) for number in range(records)))
    return draft.document(head(run=run))


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def make(limit: int = 1 << 20) -> Spool:
        spool = Spool(tmp_path / "reports", limit)
        spool.open()
        return spool

    return make


def sequences(spool: Spool) -> list[tuple[str, int]]:
    """All that wait, as they would be sent."""
    found: list[tuple[str, int]] = []
    while True:
        chosen, documents = spool.oldest(2, 1 << 20)
        if not chosen:
            return found
        assert [SatelliteReport.model_validate_json(one).sequence for one in documents] == [
            o.sequence for o in chosen
        ]
        assert len({one.run for one in chosen}) == 1
        found += [(one.run, one.sequence) for one in chosen]
        spool.remove(chosen[-1].run, chosen[-1].sequence)


def test_reports_are_sent_oldest_first_and_one_run_at_a_time(opened: Opened) -> None:
    spool = opened()
    for run, sequence in ((LATE, 1), (EARLY, 2), (EARLY, 1), (EARLY, 3)):
        spool.seal(run, sequence, document(sequence, run=run))
    assert spool.waiting == 4
    assert sequences(spool) == [(EARLY, 1), (EARLY, 2), (EARLY, 3), (LATE, 1)]
    assert (spool.waiting, spool.oldest(1, 1)) == (0, ([], []))


def test_a_request_is_bounded_but_never_empty(opened: Opened) -> None:
    spool = opened()
    for sequence in (1, 2):
        spool.seal(EARLY, sequence, document(sequence))
    assert [one.sequence for one in spool.oldest(9, 1)[0]] == [1]
    spool.remove(EARLY, 2)
    assert spool.waiting == 0


def test_one_that_somebody_took_away_is_passed_over(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    for sequence in (1, 2):
        spool.seal(EARLY, sequence, document(sequence))
    (tmp_path / "reports" / f"{EARLY}.000000001").unlink()
    assert [one.sequence for one in spool.oldest(9, 1 << 20)[0]] == [2]
    assert spool.waiting == 1


def test_what_a_killed_run_left_is_found(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    first.seal(EARLY, 1, document(1))
    first.keep_open(EARLY, 2, document(2))
    first.keep_open(EARLY, 2, document(2, records=1))
    files = [path for path in (tmp_path / "reports").iterdir() if path.name != "lock"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    (tmp_path / "reports" / f"{EARLY}.000000003.part").write_bytes(b"{half")
    first.close()
    second = opened()
    assert sequences(second) == [(EARLY, 1), (EARLY, 2)]
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["lock"]


def test_what_was_sealed_is_not_counted_twice(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    first.keep_open(EARLY, 1, document(1))
    first.seal(EARLY, 1, document(1))
    (tmp_path / "reports" / f"{EARLY}.000000001.open").write_bytes(document(1))
    (tmp_path / "reports" / "nonsense.open").write_bytes(b"")
    first.close()
    assert sequences(opened()) == [(EARLY, 1)]


def test_two_gateways_do_not_share_a_folder(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    with pytest.raises(SpoolTaken, match="give each its own folder"):
        opened()
    first.close()
    first.close()
    opened()


def test_without_room_the_oldest_records_go_and_what_was_called_stays(opened: Opened, tmp_path: Path) -> None:
    size = len(document(1, records=20))
    spool = opened(3 * size)
    for sequence in range(1, 7):
        spool.seal(EARLY, sequence, document(sequence, records=20))
    assert sum(path.stat().st_size for path in (tmp_path / "reports").iterdir()) <= 3 * size
    _, documents = spool.oldest(10, 1 << 30)
    found = [SatelliteReport.model_validate_json(one) for one in documents]
    assert [one.sequence for one in found] == [1, 2, 3, 4, 5, 6]
    assert sum(one.calls for report in found for one in report.usage) == 6
    assert [(len(one.records), one.dropped) for one in found[:3]] == [(0, 20)] * 3
    assert (len(found[-1].records), found[-1].dropped) == (20, 0)
    spool.close()
    assert sequences(opened(3 * size)) == [(EARLY, number) for number in range(1, 7)]


def test_one_report_can_give_up_its_records(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    for sequence, content in ((1, document(1, records=3)), (2, document(2, records=3)), (3, b"{broken")):
        spool.seal(EARLY, sequence, content)
    [first, second, broken], _ = spool.oldest(3, 1 << 20)
    assert spool.give_up_records(first)
    assert spool.give_up_records(first), "it is another one by now"
    [thin, *_], [content, *_] = spool.oldest(3, 1 << 20)
    found = SatelliteReport.model_validate_json(content)
    assert (found.records, found.dropped, found.usage) == ((), 3, tuple(used().values()))
    assert not spool.give_up_records(thin)
    assert not spool.give_up_records(broken)
    (tmp_path / "reports" / second.name).unlink()
    with pytest.raises(FileNotFoundError):
        spool.give_up_records(second)
    spool.close()
    assert [one.thin for one in opened().oldest(3, 1 << 20)[0]] == [True, False]


def test_without_any_room_the_oldest_reports_go(opened: Opened, tmp_path: Path) -> None:
    size = len(document(1))
    spool = opened(3 * size)
    spool.seal(EARLY, 1, document(1))
    (tmp_path / "reports" / f"{EARLY}.000000001").write_bytes(json.dumps({"broken": "x" * size}).encode()[:size])
    for sequence in (2, 3, 4, 5):
        spool.seal(EARLY, sequence, document(sequence))
    kept = sequences(spool)
    assert kept[-1] == (EARLY, 5)
    assert 1 <= len(kept) <= 3


def test_there_is_room_for_so_many(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "MOST_REPORTS", 2)
    spool = opened()
    spool.seal(EARLY, 1, document(1))
    assert spool.has_room
    spool.seal(EARLY, 2, document(2))
    assert not spool.has_room
