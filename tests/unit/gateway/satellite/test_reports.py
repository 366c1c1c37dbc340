"""Counting calls, and putting reports together."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.events import CallRecord
from libs.common.contracts.launches import entry_id
from libs.common.contracts.replicas import Address, Route, RouteReplica
from libs.common.contracts.satellites import EntryUsage, SatelliteReport, SatelliteReports
from services.gateway.satellite import reports
from services.gateway.satellite.reports import MOST_BYTES, MOST_RECORDS, Counter, Draft, closing, due
from tests.support.satellites import PlanMaker

ORDER = PlanMaker("text/tag", "image/resize", keys=()).plan().order
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


def record(number: int = 0, *, error: str | None = None) -> CallRecord:
    return CallRecord(
        request_id=f"{number}",
        at=datetime.fromtimestamp(NOON, UTC),
        account="joe",
        reference="text/tag",
        duration_seconds=0.5,
        status=200,
        error=error,
    )


def used(calls: int = 1, errors: int = 0, seconds: float = 0.5) -> dict[str, EntryUsage]:
    return {"text/tag": EntryUsage(vanity_url="text/tag", calls=calls, errors=errors, seconds=seconds)}


def head(**members: Any) -> SatelliteReport:
    given: dict[str, Any] = {
        "launch_id": ORDER.launch_id,
        "deployment_id": ORDER.deployment_id,
        "satellite_version": 1,
        "instance": "one",
        "run": "r",
        "sequence": 1,
        "at": datetime.fromtimestamp(NOON, UTC),
    }
    return SatelliteReport(**given | members)


def written(draft: Draft) -> SatelliteReport:
    return SatelliteReport.model_validate_json(draft.document(head()))


def test_only_calls_of_entries_are_counted_each_once() -> None:
    counter = Counter()
    counter.know(["text/tag", "image/resize"])
    counter.count("text/tag", 0.5, failed=False)
    counter.count("text/tag", 1.0, failed=True)
    counter.count("joe/other", 1.0, failed=True)
    assert counter.take() == used(2, 1, 1.5)
    assert counter.take() == {}
    counter.count("text/tag", 0.5, failed=False)
    counter.know(["image/resize"])
    assert counter.take() == used(), "what was counted before a new plan is told as well"


@given(st.lists(st.tuples(st.sampled_from(["text/tag", "image/resize"]), st.booleans(), st.booleans())))
def test_whatever_is_counted_is_in_the_reports(calls: list[tuple[str, bool, bool]]) -> None:
    counter, drafts = Counter(), [Draft(1, NOON)]
    counter.know(["text/tag", "image/resize"])
    for reference, failed, next_report in calls:
        counter.count(reference, 0.25, failed=failed)
        drafts[-1].count(counter.take())
        if next_report:
            drafts.append(Draft(len(drafts) + 1, NOON))
    told = [one for draft in drafts for one in written(draft).usage]
    for vanity in ("text/tag", "image/resize"):
        mine = [failed for reference, failed, _ in calls if reference == vanity]
        assert sum(one.calls for one in told if one.vanity_url == vanity) == len(mine)
        assert sum(one.errors for one in told if one.vanity_url == vanity) == sum(mine)
        assert sum(one.seconds for one in told if one.vanity_url == vanity) == 0.25 * len(mine)


def test_a_report_is_what_the_contract_says() -> None:
    draft = Draft(7, NOON)
    assert draft.is_empty
    draft.count(used(), dropped=2)
    draft.take(deque([record(1, error="bad"), record(2)]))
    assert not draft.is_empty
    report = written(draft)
    assert (report.sequence, report.dropped, report.usage) == (7, 2, tuple(used().values()))
    assert report.records == (record(1, error="bad"), record(2))
    both = SatelliteReports.model_validate_json(
        reports.batch([draft.document(head()), Draft(8, NOON).document(head())])
    )
    assert [one.sequence for one in both.reports] == [7, 8]


def test_records_without_room_wait_or_push_the_oldest_out() -> None:
    draft = Draft(1, NOON)
    records = deque(record(number) for number in range(MOST_RECORDS + 2))
    draft.take(records)
    assert draft.is_full
    assert [one.request_id for one in records] == [f"{MOST_RECORDS}", f"{MOST_RECORDS + 1}"]
    draft.take_all(records)
    report = written(draft)
    assert not records
    assert report.dropped == 2
    assert [report.records[0].request_id, report.records[-1].request_id] == ["2", f"{MOST_RECORDS + 1}"]
    large = Draft(2, NOON)
    large.take(deque(record(number, error="x" * 100_000) for number in range(20)))
    assert len(written(large).records) == MOST_BYTES // 100_000 + 1


@pytest.mark.parametrize(
    ("seconds", "members", "expected"),
    [
        (5, {"changed": True}, False),
        (10, {"changed": True}, True),
        (10, {"changed": False}, False),
        (60, {"changed": False}, True),
        (60, {"changed": True, "waiting": 1}, False),
        (3600, {"changed": True, "waiting": 1}, True),
        (0, {"full": True}, True),
        (0, {"full": True, "waiting": 3}, True),
        (0, {"full": True, "room": False}, False),
        (3600, {"empty": True}, False),
    ],
)
def test_when_a_report_is_due(seconds: float, members: dict[str, Any], expected: bool) -> None:
    draft = Draft(1, NOON)
    if not members.get("empty"):
        draft.count(used())
    if members.get("full"):
        draft.take(deque(record(number) for number in range(MOST_RECORDS)))
    found = due(
        draft,
        NOON + seconds,
        changed=members.get("changed", False),
        waiting=members.get("waiting", 0),
        room=members.get("room", True),
        every=10,
        heartbeat=60,
    )
    assert found is expected


@given(opened=st.floats(0, 4e9), later=st.floats(-10, 1e6))
def test_a_report_tells_of_the_hour_that_it_counts(opened: float, later: float) -> None:
    draft = Draft(1, opened)
    at = closing(draft, opened + later)
    assert draft.is_of_hour(at.timestamp())
    assert at.timestamp() >= opened - 0.001


def test_how_entries_are_doing() -> None:
    replica = RouteReplica(id=uuid4(), address=Address(host_id="", host="h", port=1))
    route = entry_id(ORDER.launch_id, "text/tag")
    tag, resize = reports.statuses(
        ORDER, {"text/tag": Route(revision_id=route, replicas=(replica,)), "image/resize": None}, {}
    )
    assert (tag.desired, tag.ready, tag.reason) == (1, 1, None)
    assert (tag.algorithm, tag.vanity_url) == (ORDER.entries[0].algorithm, "text/tag")
    assert (resize.ready, resize.reason) == (0, "0 of 1 replicas were found")
    failed = {"text/tag": Route(revision_id=route, failure="no image")}
    assert [one.reason for one in reports.statuses(ORDER, failed, {"image/resize": "no address"})] == [
        "no image",
        "no address",
    ]
    [odd, _] = reports.statuses(ORDER, {}, {"text/tag": "a\0\ud800" * 1000})
    assert odd.reason == ("a\ufffd?" * 1000)[:500]


def test_a_report_can_give_up_its_records() -> None:
    draft = Draft(1, NOON)
    draft.count(used(), dropped=1)
    draft.take(deque([record(1), record(2)]))
    thin = SatelliteReport.model_validate_json(reports.without_records(draft.document(head())))
    assert (thin.records, thin.dropped, thin.usage) == ((), 3, tuple(used().values()))
    with pytest.raises(ValueError, match="Invalid JSON"):
        reports.without_records(b"{")
