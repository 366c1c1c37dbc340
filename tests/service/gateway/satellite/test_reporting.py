"""A satellite's gateway reports to the platform that made it, when that can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from starlette.responses import JSONResponse

from services.gateway.satellite.spool import Spool
from tests.service.gateway.client import Client
from tests.service.gateway.satellite.conftest import KEY, OTHER_KEY, PICTURE, TEXT, TOKEN_SECRET, Edge
from tests.service.gateway.satellite.mothership import MANDATE, MothershipDouble
from tests.support.eventually import eventually
from tests.support.ports import free_ports

SOON: dict[str, Any] = {"report_token": MANDATE, "report_seconds": 0.2, "report_heartbeat_seconds": 1.0}
REFUSED = JSONResponse({"detail": "no"}, 503)


@pytest.fixture
async def mothership(edge: Edge) -> AsyncIterator[MothershipDouble]:
    async with MothershipDouble().serve() as double:
        edge.maker.mothership = double.url
        yield double


async def served(edge: Edge) -> None:
    """With a replica for each entry."""
    await edge.replica(TEXT)
    await edge.replica(PICTURE)
    edge.write()


def spooled(edge: Edge) -> list[Path]:
    return [path for path in (edge.folder / "gateway" / "reports").iterdir() if path.name != "lock"]


async def test_health_version_usage_and_errors_are_reported(edge: Edge, mothership: MothershipDouble) -> None:
    await edge.replica(TEXT)
    plan = edge.write()
    await edge.start(**SOON)
    good = await edge.call(body="good")
    await edge.call(body=json.dumps({"raise": "no good"}), content_type="application/json", key=OTHER_KEY)
    await edge.call("no/such")
    await eventually(lambda: mothership.calls(TEXT) == 2 and len(records(mothership)) == 3)
    first, last = mothership.reports[0], mothership.reports[-1]
    assert (first.sequence, first.launch_id) == (1, plan.order.launch_id)
    assert (last.deployment_id, last.satellite_version) == (plan.order.deployment_id, 1)
    assert (last.instance, last.run) == (edge.source.records._gateway(), first.run)
    assert last.version
    states = {one.vanity_url: (one.desired, one.ready, one.reason is None) for one in last.entries}
    assert states == {TEXT: (1, 1, True), PICTURE: (1, 0, False)}
    used = [one for report in mothership.reports for one in report.usage]
    assert {one.vanity_url for one in used} == {TEXT}
    assert (sum(one.calls for one in used), sum(one.errors for one in used)) == (2, 1)
    assert sum(one.seconds for one in used) > 0
    by_id = {one.request_id: one for one in records(mothership)}
    assert by_id[good.json["request_id"]].account == "joe"
    assert sorted(str(one.error) for one in by_id.values())[1:] == [
        "algorithm algo://no/such not found; this satellite answers the vanity URLs of its own algorithms only",
        "no good",
    ]
    [manifest] = mothership.manifests
    assert (manifest["identifier"], manifest["scopes"]) == (f"satellite.{plan.order.launch_id}", ["satellite:report"])
    await eventually(lambda: not spooled(edge))


def records(mothership: MothershipDouble) -> list[Any]:
    return [one for report in mothership.reports for one in report.records]


async def test_without_anything_new_it_is_heard_of_from_time_to_time(
    edge: Edge, mothership: MothershipDouble
) -> None:
    edge.write()
    await edge.start(**SOON)
    await eventually(lambda: len(mothership.reports) >= 3)
    assert all(not one.usage and not one.records for one in mothership.reports)


async def test_a_plan_that_is_taken_is_reported_soon(edge: Edge, mothership: MothershipDouble) -> None:
    edge.write()
    await edge.start(**SOON | {"report_heartbeat_seconds": 3000.0})
    await eventually(lambda: mothership.reports)
    edge.maker.version = 2
    edge.write()
    await eventually(lambda: mothership.reports[-1].satellite_version == 2)


@pytest.mark.parametrize("trouble", [REFUSED, JSONResponse({}, 429), JSONResponse({"detail": "no launch"}, 404)])
async def test_while_it_is_not_heard_calls_go_on_and_nothing_is_lost(
    edge: Edge, mothership: MothershipDouble, trouble: JSONResponse
) -> None:
    await served(edge)
    mothership.trouble = trouble
    await edge.start(**SOON)
    for number in range(5):
        assert (await edge.call(body=f"{number}")).result == f"{number}"
    reporter = edge.source.reporter
    assert reporter is not None
    await eventually(lambda: reporter.sender.trouble)
    assert not mothership.reports
    assert b"constellation_reports_waiting 1.0" in (await edge.request("GET", "/metrics")).body
    mothership.trouble = None
    await eventually(lambda: mothership.calls(TEXT) == 5)
    await eventually(lambda: not spooled(edge))
    assert reporter.sender.trouble is None


async def test_an_answer_that_is_lost_makes_nothing_count_twice(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    mothership.lose_answers = True
    await edge.start(**SOON)
    for _ in range(3):
        await edge.call()
    await eventually(lambda: len(mothership.requests) >= 2)
    assert mothership.requests[0] == mothership.requests[1], "the same again"
    mothership.lose_answers = False
    await eventually(lambda: mothership.calls(TEXT) == 3 and not spooled(edge))


async def test_a_run_that_is_cut_off_leaves_its_reports_to_the_next(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    mothership.trouble = REFUSED
    async with edge.serving(**SOON):
        for _ in range(4):
            await edge.call()
        await edge.call(PICTURE)
        run = edge.source.reporter
        await eventually(lambda: any(".open" in path.name or path.stat().st_size > 900 for path in spooled(edge)))
        assert run is not None
    assert {path.stat().st_mode & 0o777 for path in spooled(edge)} == {0o600}
    assert not any(
        word in path.read_text() for path in spooled(edge) for word in (KEY, TOKEN_SECRET, edge.token(TEXT))
    )
    mothership.trouble = None
    async with edge.serving(**SOON):
        await edge.call()
        await eventually(lambda: mothership.calls(TEXT) == 5 and mothership.calls(PICTURE) == 1)
        await eventually(lambda: not spooled(edge))
    assert len({one.run for one in mothership.reports}) == 2
    assert len({one.instance for one in mothership.reports}) == 1


async def test_the_last_calls_are_reported_when_the_gateway_stops(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    async with edge.serving(**SOON | {"report_seconds": 3000.0}):
        for _ in range(3):
            await edge.call()
    assert mothership.calls(TEXT) == 3
    assert len(records(mothership)) == 3
    assert not spooled(edge)


async def test_more_records_than_one_report_holds_come_in_several(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    mothership.trouble = REFUSED
    await edge.start(**SOON)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(edge)) for _ in range(4)]
        await asyncio.gather(*(_many(client, 300) for client in clients))
    mothership.trouble = None
    await eventually(lambda: mothership.calls(TEXT) == 1200)
    await eventually(lambda: len(records(mothership)) == 1200)
    assert len({one.request_id for one in records(mothership)}) == 1200


def _client(edge: Edge) -> contextlib.AbstractAsyncContextManager[Any]:
    return Client.connect(edge.url)


async def _many(client: Any, count: int) -> None:
    for _ in range(count):
        assert (await client.call(TEXT, key=KEY)).status == 200


async def test_one_report_that_cannot_be_read_holds_up_no_other(edge: Edge, mothership: MothershipDouble) -> None:
    edge.write()
    left = Spool(edge.folder / "gateway" / "reports", 1 << 20)
    left.open()
    for sequence, content in ((1, _report(edge, 1)), (2, b"{broken"), (3, _report(edge, 3))):
        left.seal("0000000000000-aa", sequence, content)
    left.close()
    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON)
        await eventually(lambda: ("0000000000000-aa", 3) in mothership.taken)
    assert ("0000000000000-aa", 1) in mothership.taken
    refused = [one for one in logs if one["event"] == "report_refused"]
    assert [one["sequence"] for one in refused] == [2]


async def test_of_a_report_that_is_refused_what_was_called_is_told(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    mothership.unfit = b"unfit words"
    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON)
        await edge.call(body=json.dumps({"raise": "unfit words"}), content_type="application/json")
        await eventually(lambda: mothership.calls(TEXT) == 1)
    assert sum(one.dropped for one in mothership.reports) == 1
    assert not records(mothership)
    assert [one["event"] for one in logs if "refused" in one["event"]] == ["report_refused_with_records"]
    await eventually(lambda: not spooled(edge))


def _report(edge: Edge, sequence: int) -> bytes:
    members = {
        "launch_id": str(edge.maker.launch_id),
        "deployment_id": str(edge.maker.launch_id),
        "satellite_version": 1,
        "instance": "before",
        "run": "0000000000000-aa",
        "sequence": sequence,
        "at": "2026-01-01T00:00:00Z",
    }
    return json.dumps(members).encode()


async def test_a_revoked_app_reports_no_more_and_serves_on(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)
    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON)
        await eventually(lambda: mothership.reports)
        mothership.revoke_tokens()
        await edge.call()
        await eventually(lambda: mothership.calls(TEXT) == 1)
        assert len(mothership.manifests) == 2, "a token that is refused is asked for anew, once"
        mothership.key = "another"
        mothership.revoke_tokens()
        assert (await edge.call()).status == 200
        await eventually(lambda: [one for one in logs if one["event"] == "reports_wait"])
        assert (await edge.call()).status == 200
    [said] = [one for one in logs if one["event"] == "reports_wait"]
    assert "This key was revoked." in said["reason"]
    assert MANDATE not in str(logs)
    assert "token.0.x" not in str(logs)


async def test_a_key_from_a_file_is_read_when_it_is_needed(
    edge: Edge, mothership: MothershipDouble, tmp_path: Path
) -> None:
    edge.write()
    file = tmp_path / "key"
    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON | {"report_token": None, "report_token_file": file})
        await eventually(lambda: [one for one in logs if one["event"] == "reports_wait"])
        assert "cannot be read from" in next(one["reason"] for one in logs if one["event"] == "reports_wait")
        file.write_text(f"{MANDATE}\n")
        await eventually(lambda: mothership.reports)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"report_token": None}, "no key for them"),
        ({"mothership": "http://203.0.113.9"}, "is not encrypted: whoever is on the way could read the key"),
        ({"mothership": "nonsense"}, "is no address of a platform"),
    ],
)
async def test_where_nothing_can_be_reported_the_log_says_so_and_calls_go_on(
    edge: Edge, mothership: MothershipDouble, settings: dict[str, Any], words: str
) -> None:
    await served(edge)
    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON | settings)
    [said] = [one for one in logs if one["event"] == "no_reports"]
    assert words in said["reason"]
    assert (await edge.call()).status == 200
    assert not mothership.reports


async def test_tls_and_http_troubles_are_told_in_words(edge: Edge) -> None:
    await served(edge)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    port, dead = free_ports(2)
    server = await asyncio.start_server(hang_up, "127.0.0.1", port)
    async with server:
        for url, words in (
            (f"https://127.0.0.1:{port}", f"https://127.0.0.1:{port} cannot be reached"),
            (f"http://127.0.0.1:{dead}", "cannot be reached"),
        ):
            with structlog.testing.capture_logs() as logs:
                async with edge.serving(**SOON, mothership=url):
                    await eventually(lambda: [one for one in logs if one["event"] == "reports_wait"])
                    assert (await edge.call()).status == 200
            said = [one["reason"] for one in logs if one["event"] == "reports_wait"]
            assert words in said[0], said
            assert len(said) == len(set(said)), "the same is said once"


async def test_a_disk_without_room_keeps_calls_and_says_so(edge: Edge, mothership: MothershipDouble) -> None:
    await served(edge)

    def kept() -> bool:
        assert any(path.suffix == ".open" for path in spooled(edge)), (spooled(edge), logs)
        return True

    with structlog.testing.capture_logs() as logs:
        await edge.start(**SOON | {"report_seconds": 3000.0, "report_heartbeat_seconds": 3000.0})
        assert (await edge.call()).status == 200
        await eventually(kept)
        folder = edge.folder / "gateway" / "reports"
        aside = folder.rename(folder.with_name("aside"))
        assert (await edge.call()).status == 200
        await eventually(lambda: [one for one in logs if one["event"] == "reports_not_kept"])
        for path in aside.glob("*.open"):
            path.unlink()
        aside.rename(folder)
        await eventually(kept)
        assert (await edge.call()).status == 200
    assert len([one for one in logs if one["event"] == "reports_not_kept"]) == 1
