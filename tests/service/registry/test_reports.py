"""What satellites apart from the platform report, and what is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from libs.common.contracts.events import CallRecord
from libs.common.contracts.launches import EntryStatus
from libs.common.contracts.satellites import EntryUsage, SatelliteReport
from services.registry import reports
from services.registry.models import SatelliteRun, SatelliteUsage
from tests.service.registry.conftest import Platform
from tests.service.registry.test_satellites import LAUNCHES, launched, made


class Away:
    """A launch of joe/hello as `foo/bar` that runs apart from the platform, and its gateways."""

    def __init__(self, platform: Platform, launch: Any, algorithm_id: UUID) -> None:
        self.platform = platform
        self.id = UUID(launch["id"])
        self.satellite = launch["satellite_id"]
        self.algorithm_id = algorithm_id
        self.order: dict[str, Any] = {}

    async def deploy(self, **version: int) -> None:
        await self.platform.ok("POST", f"{LAUNCHES}/{self.id}/deploy", "root", json=version)
        self.order = (await self.platform.ok("GET", f"{LAUNCHES}/{self.id}", "root"))["desired"]

    def report(self, sequence: int, *, calls: int = 1, run: str = "r1", **members: Any) -> SatelliteReport:
        given: dict[str, Any] = {
            "launch_id": self.id,
            "deployment_id": self.order["deployment_id"],
            "satellite_version": self.order["satellite_version"],
            "instance": "gateway-one",
            "run": run,
            "sequence": sequence,
            "at": datetime.now(UTC),
            "version": "0.1.0",
            "entries": (
                EntryStatus(vanity_url="foo/bar", algorithm="joe/hello/c", desired=2, ready=1, reason="cold"),
            ),
            "usage": (EntryUsage(vanity_url="foo/bar", calls=calls, errors=1, seconds=0.5),),
        }
        return SatelliteReport(**given | members)

    def record(self, request_id: str, **members: Any) -> CallRecord:
        given: dict[str, Any] = {
            "request_id": request_id,
            "at": datetime.now(UTC),
            "account": "joe",
            "algorithm_id": self.algorithm_id,
            "reference": "foo/bar",
            "duration_seconds": 0.5,
            "status": 200,
        }
        return CallRecord(**given | members)

    async def send(self, *sent: SatelliteReport, token: str | None = None, launch: UUID | None = None) -> Any:
        token = token or self.platform.fakts.satellite_token(self.id)
        return await self.platform.ask(
            "POST",
            f"{LAUNCHES}/{launch or self.id}/reports",
            None,
            headers={"authorization": f"Bearer {token}"},
            json={"reports": [one.model_dump(mode="json") for one in sent]},
        )

    async def taken(self, *sent: SatelliteReport) -> tuple[str, int]:
        answer = await self.send(*sent)
        assert answer.status_code == 200, answer.text
        return answer.json()["run"], answer.json()["sequence"]

    async def gateways(self) -> Sequence[Any]:
        found: Sequence[Any] = (await self.platform.ok("GET", f"{LAUNCHES}/{self.id}", "root"))["satellites"]
        return found

    async def usage(self, query: str = "") -> Any:
        return await self.platform.ok("GET", f"{LAUNCHES}/{self.id}/usage{query}", "root")

    async def calls(self, query: str = "") -> list[Any]:
        path = f"/admin/v1/calls?launch_id={self.id}{query}"
        found: list[Any] = (await self.platform.ok("GET", path, "root"))["items"]
        return found


@pytest.fixture
async def away(platform: Platform) -> Away:
    algorithm = await platform.create()
    commit = (await platform.built()).commit
    satellite = await made(platform, commit)
    found = Away(platform, await launched(platform, satellite), UUID(algorithm["id"]))
    await found.deploy()
    return found


async def test_a_launch_shows_what_should_run_and_what_does(away: Away) -> None:
    assert await away.gateways() == []
    assert await away.taken(away.report(1)) == ("r1", 1)
    [gateway] = await away.gateways()
    assert (gateway["instance"], gateway["satellite_version"], gateway["constellation"]) == (
        "gateway-one",
        1,
        "0.1.0",
    )
    assert (gateway["desired"], gateway["ready"], gateway["stale"], gateway["up_to_date"]) == (2, 1, False, True)
    assert gateway["entries"][0]["reason"] == "cold"
    path = f"/admin/v1/satellites/{away.satellite}"
    await away.platform.ok("POST", f"{path}/versions", "root")
    await away.deploy(satellite_version=2)
    assert not (await away.gateways())[0]["up_to_date"]
    await away.taken(away.report(2))
    assert (await away.gateways())[0]["up_to_date"]
    await away.platform.ok("POST", f"{LAUNCHES}/{away.id}/stop", "root")
    assert not (await away.gateways())[0]["up_to_date"]
    acts = (await away.platform.ok("GET", "/admin/v1/audit?action=satellite.serve", "root"))["items"]
    assert {act["actor"] for act in acts} == {f"satellite.{away.id}"}
    assert [act["detail"] for act in acts] == [
        "gateway gateway-one (Constellation 0.1.0) serves version 2",
        "gateway gateway-one (Constellation 0.1.0) serves version 1",
    ]


async def test_a_report_counts_once_however_often_it_comes(away: Away) -> None:
    first, second = away.report(1, calls=2, records=(away.record("a"),)), away.report(2, calls=3)
    assert await away.taken(first) == ("r1", 1)
    assert await away.taken(first, second) == ("r1", 2)
    assert await away.taken(first) == ("r1", 2)
    both = [away.report(3, calls=4, records=(away.record("b"),))] * 2
    await asyncio.gather(*(away.taken(one) for one in both))
    assert await away.taken(away.report(7, calls=5)) == ("r1", 7), "some may have been lost"
    used = (await away.usage())["entries"]
    assert used == [{"vanity_url": "foo/bar", "calls": 14, "errors": 4, "seconds": 2.0}]
    assert {one["request_id"] for one in await away.calls()} == {"a", "b"}


async def test_gateways_runs_and_copies_report_side_by_side(away: Away) -> None:
    for instance, run in (("one", "r1"), ("two", "r1"), ("one", "r2")):
        await away.taken(away.report(1, instance=instance, run=run, calls=1))
    assert [(one["instance"], one["run"]) for one in await away.gateways()] == [
        ("one", "r2"),
        ("two", "r1"),
        ("one", "r1"),
    ]
    assert (await away.usage())["entries"][0]["calls"] == 3
    async with away.platform.registry.database.transaction() as session:
        silent = datetime.now(UTC) - timedelta(hours=1)
        await session.execute(update(SatelliteRun).values(heard_at=silent))
    shown = [(one["instance"], one["run"], one["stale"]) for one in await away.gateways()]
    assert shown == [("one", "r2", True), ("two", "r1", True)], "a run that was followed by another is over"


async def test_a_gateway_that_starts_again_and_again_hides_no_other(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST_RUNS", 3)
    for instance, run in (("steady", "r1"), *(("crashing", f"r{number}") for number in range(5))):
        await away.taken(away.report(1, instance=instance, run=run))
    shown = [(one["instance"], one["run"]) for one in await away.gateways()]
    assert shown == [("crashing", "r4"), ("crashing", "r3"), ("steady", "r1")]
    async with away.platform.registry.database.transaction() as session:
        await session.execute(update(SatelliteRun).values(heard_at=datetime.now(UTC) - timedelta(hours=1)))
    assert [one["instance"] for one in await away.gateways()] == ["crashing", "steady"]


async def test_a_bundle_that_was_carried_away_long_ago_is_believed(away: Away) -> None:
    await away.taken(away.report(1, calls=3))
    algorithm = (await away.platform.builds())[0]["commit_sha"]
    entries = [{"algorithm": f"joe/hello/{algorithm}", "vanity_url": "new/name", "replicas": 1}]
    await away.platform.ok("PUT", f"/admin/v1/satellites/{away.satellite}", "root", json={"algorithms": entries})
    for _ in range(reports._MOST_VERSIONS):
        await away.platform.ok("POST", f"/admin/v1/satellites/{away.satellite}/versions", "root")
    await away.taken(away.report(2, calls=5, records=(away.record("a"),)))
    await away.taken(away.report(3, satellite_version=2))
    assert [(one["vanity_url"], one["calls"]) for one in (await away.usage())["entries"]] == [("foo/bar", 9)]
    assert [one["request_id"] for one in await away.calls()] == ["a"]


async def test_calls_are_kept_with_the_mark_of_their_launch(away: Away) -> None:
    failed = away.record("bad", error="no good", error_type="InputError", input_head="x\N{SNOWMAN}")
    absent = away.record("absent", algorithm_id=None, reference="no/such", status=404, error="not found")
    await away.taken(away.report(1, records=(away.record("good"), failed, absent)))
    assert {one["request_id"] for one in await away.calls("&errors=true")} == {"bad", "absent"}
    [call] = [one for one in await away.calls() if one["request_id"] == "bad"]
    assert (call["launch_id"], call["gateway"], call["error"]) == (str(away.id), "gateway-one", "no good")
    errors = await away.platform.ok("GET", "/v1/algorithms/joe/hello/errors")
    assert [(one["error"], one["worker"], one["algoname"]) for one in errors] == [("no good", "gateway-one", "hello")]


async def test_a_satellite_is_believed_about_its_own_only(away: Away) -> None:
    foreign = (
        away.record("other-algorithm", algorithm_id=uuid4()),
        away.record("other-account", account="ann"),
        away.record("unset-clock", at=datetime(1970, 1, 1, tzinfo=UTC)),
    )
    usage = (EntryUsage(vanity_url="foo/bar", calls=1), EntryUsage(vanity_url="not/its", calls=9))
    await away.taken(away.report(1, records=foreign, usage=usage, dropped=2))
    assert await away.calls() == []
    assert [one["vanity_url"] for one in (await away.usage())["entries"]] == ["foo/bar"]
    assert (await away.gateways())[0]["records_dropped"] == 5


async def test_only_the_launch_itself_or_an_administrator_reports(away: Away) -> None:
    platform, report = away.platform, away.report(1)
    others = platform.fakts.satellite_token(uuid4())
    assert (await away.send(report, token=others)).status_code == 403
    assert (await away.send(report, token=platform.fakts.user_token("joe"))).status_code == 403
    assert (await away.send(report, token=platform.fakts.user_token("joe", "satellite:report"))).status_code == 403
    assert (await away.send(report, token=platform.fakts.service_token("worker"))).status_code == 403
    assert (await away.send(report, token=platform.keys["joe"])).status_code == 403
    assert (await away.send(report, token="no-such-key")).status_code == 401
    assert (await away.send(report, token=platform.keys["root"])).status_code == 200
    mine = platform.fakts.satellite_token(away.id)
    for path in (
        f"{LAUNCHES}/{away.id}",
        f"{LAUNCHES}/{away.id}/usage",
        "/v1/algorithms/joe/hello",
        "/admin/v1/calls",
    ):
        answer = await platform.ask("GET", path, None, headers={"authorization": f"Bearer {mine}"})
        assert answer.status_code == 403, path


async def test_reports_that_do_not_belong_together_are_refused(away: Away) -> None:
    for sent in (
        (away.report(1), away.report(2, run="r2")),
        (away.report(1), away.report(2, instance="other")),
        (away.report(1, launch_id=uuid4()),),
        (),
    ):
        answer = await away.send(*sent)
        assert answer.status_code == 400, answer.text
    unknown = uuid4()
    token = away.platform.fakts.satellite_token(unknown)
    sent = (away.report(1, launch_id=unknown),)
    assert (await away.send(*sent, token=token, launch=unknown)).status_code == 404
    path = f"{LAUNCHES}/{away.id}/reports"
    huge = {"reports": [away.report(1).model_dump(mode="json") | {"dropped": 10**30}]}
    assert (await away.platform.ask("POST", path, "root", json=huge)).status_code == 400
    assert await away.gateways() == []


async def test_usage_is_told_by_the_day_and_by_the_hour(away: Away) -> None:
    now = datetime.now(UTC)
    days = (
        now - timedelta(days=3),
        now - timedelta(days=3, hours=1),
        now + timedelta(days=30),
        now - timedelta(days=20),
    )
    for sequence, at in enumerate(days, 1):
        await away.taken(away.report(sequence, at=at, calls=sequence))
    week = await away.usage()
    assert week["entries"][0]["calls"] == 1 + 2 + 3, "a clock that is ahead counts as now"
    assert sum(one["calls"] for one in week["course"]) == 6
    hours = await away.usage("?by=hour&since=" + (now - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert [one["calls"] for one in hours["course"]] == [4, 2, 1, 3]
    assert all("hour" in one for one in hours["course"])
    for query in ("?by=week", "?since=yesterday", "?by=hour&since=2020-01-01T00:00:00Z"):
        assert (await away.platform.ask("GET", f"{LAUNCHES}/{away.id}/usage{query}", "root")).status_code == 400
    assert (await away.platform.ask("GET", f"{LAUNCHES}/{uuid4()}/usage", "root")).status_code == 404


async def test_nobody_orders_a_bundle_and_it_reports_all_the_same(platform: Platform) -> None:
    algorithm = await platform.create()
    satellite = await made(platform, (await platform.built()).commit)
    launch = await launched(platform, satellite, target={"kind": "bundle"})
    away = Away(platform, launch, UUID(algorithm["id"]))
    away.order = {"deployment_id": str(uuid4()), "satellite_version": 1}
    await away.taken(away.report(1, calls=2, records=(away.record("a"),)))
    assert (await away.gateways())[0]["up_to_date"]
    assert ((await away.usage())["entries"][0]["calls"], len(await away.calls())) == (2, 1)


async def test_a_launch_that_was_removed_reports_for_as_long_as_it_runs(away: Away) -> None:
    await away.platform.ok("DELETE", f"{LAUNCHES}/{away.id}", "root")
    assert await away.taken(away.report(1)) == ("r1", 1)
    assert (await away.usage())["entries"][0]["calls"] == 1


async def test_what_is_old_is_forgotten(away: Away) -> None:
    await away.taken(away.report(1))
    reports, database = away.platform.registry.reports, away.platform.registry.database
    await reports.purge(1)
    assert (await away.usage())["entries"]
    long_ago = datetime.now(UTC) - timedelta(days=3)
    async with database.transaction() as session:
        await session.execute(update(SatelliteRun).values(heard_at=long_ago))
        await session.execute(update(SatelliteUsage).values(hour=long_ago))
    await reports.purge(1)
    assert (await away.gateways(), (await away.usage())["entries"]) == ([], [])
