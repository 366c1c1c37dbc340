"""Records of calls and administrative acts, and the lists of errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select

from libs.common.contracts.events import AUDIT_TOPIC, CALLS_TOPIC, AuditRecorded, CallRecord, CallsRecorded
from libs.common.db import now
from services.registry import calls
from services.registry.models import AuditEntry, Call
from tests.service.registry.conftest import Platform, Starter
from tests.support.eventually import eventually


def record(number: int = 0, **members: Any) -> CallRecord:
    values: dict[str, Any] = {
        "request_id": f"req-{uuid4()}",
        "at": now() - timedelta(seconds=number),
        "account": "ann",
        "reference": "joe/hello",
        "duration_seconds": 0.5,
        "status": 200,
    }
    return CallRecord.model_validate({**values, **members})


async def announce(platform: Platform, *records: CallRecord) -> None:
    """Have a gateway announce calls, and wait until they are kept."""
    before = await count(platform)
    await platform.bus.announce(CALLS_TOPIC, CallsRecorded(gateway="g1", records=records))

    async def kept() -> bool:
        return await count(platform) >= before + len(records)

    await eventually(kept)


async def count(platform: Platform, table: type[Call] | type[AuditEntry] = Call) -> int:
    async with platform.registry.database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(table))).scalar_one()


class TestErrors:
    async def test_an_algorithms_errors_newest_first(self, platform: Platform) -> None:
        created = await platform.create()
        spec = await platform.built()
        await platform.publish()
        mine = {"algorithm_id": created["id"], "revision_id": spec.id}
        failed = record(1, **mine, error="boom", error_type="ValueError", input_head='{"a": 1}')
        await announce(
            platform,
            record(2, **mine, error="older \0"),
            failed,
            record(0, **mine),
            record(0, algorithm_id=uuid4(), error="another's"),
        )
        found = await platform.ok("GET", f"/v1/algorithms/{created['id']}/errors")
        assert [one["error"] for one in found] == ["boom", "older \ufffd"]
        assert found == await platform.ok("GET", "/v1/algorithms/joe/hello/errors")
        assert found[0] == {
            "created_at": int(failed.at.timestamp() * 1000),
            "request_id": failed.request_id,
            "username": "joe",
            "algoname": "hello",
            "algoversion": "0.1.0",
            "input": '{"a": 1}',
            "error": "boom",
            "error_type": "ValueError",
            "billable_to": "ann",
            "worker": "g1",
        }

    async def test_errors_of_the_calls_that_it_made_bubble_up(self, platform: Platform) -> None:
        top, middle, below = [(await platform.create(name))["id"] for name in ("top", "middle", "below")]
        first = record(algorithm_id=top)
        second = record(algorithm_id=middle, parent=first.request_id, error="middle failed")
        third = record(1, algorithm_id=below, parent=second.request_id, error="below failed")
        other = record(algorithm_id=below, parent="req-unknown", error="elsewhere")
        await announce(platform, third, second, first, other)

        async def errors(algorithm_id: str) -> list[str]:
            return [one["error"] for one in await platform.ok("GET", f"/v1/algorithms/{algorithm_id}/errors")]

        assert await errors(top) == ["middle failed", "below failed"]
        assert await errors(middle) == ["middle failed", "below failed"]
        assert sorted(await errors(below)) == ["below failed", "elsewhere"]

    async def test_at_most_two_hundred(self, platform: Platform) -> None:
        created = await platform.create()
        new = [record(n, algorithm_id=created["id"], error=f"e{n}") for n in range(250)]
        await announce(platform, *new)
        found = await platform.ok("GET", f"/v1/algorithms/{created['id']}/errors")
        assert [one["error"] for one in found] == [f"e{n}" for n in range(200)]

    async def test_only_of_the_last_days(self, start: Starter) -> None:
        async with start(keep_calls_days=30) as platform:
            created = await platform.create()
            mine = {"algorithm_id": created["id"], "error": "e"}
            await announce(platform, record(8 * 86_400, **mine), record(6 * 86_400, **mine))
            assert len(await platform.ok("GET", f"/v1/algorithms/{created['id']}/errors")) == 1

    async def test_of_users_and_organizations(self, platform: Platform) -> None:
        acme = await platform.create("hello", "acme")
        joe = await platform.create("hello", "joe")
        await announce(
            platform,
            record(0, account="ann", algorithm_id=acme["id"], error="of acme's"),
            record(1, account="joe", algorithm_id=uuid4(), error="called by joe"),
            record(2, account="ann", algorithm_id=joe["id"], error="of joe's"),
        )

        async def errors(path: str, who: str) -> list[str]:
            return [one["error"] for one in await platform.ok("GET", f"/v1/{path}/errors", who)]

        assert await errors("organizations/acme", "eve") == ["of acme's"]
        assert await errors("users/joe", "joe") == ["called by joe", "of joe's"]
        assert await errors(f"users/{platform.fakts.accounts['joe'].id}", "root") == ["called by joe", "of joe's"]
        assert await errors("users/ann", "ann") == ["of acme's", "of joe's"]
        for path, who, expected in (
            ("users/joe", "ann", (404, 3000)),
            ("users/nobody", "root", (404, 3000)),
            ("users/acme", "root", (404, 3000)),
            ("organizations/acme", "ann", (404, 3100)),
            ("organizations/nobody", "root", (404, 3100)),
        ):
            assert await platform.refused("GET", f"/v1/{path}/errors", who) == expected

    async def test_a_new_organization_has_none(self, platform: Platform) -> None:
        platform.fakts.add_organization("brandnew")
        assert await platform.ok("GET", "/v1/organizations/brandnew/errors", "root") == []

    async def test_of_an_unknown_algorithm(self, platform: Platform) -> None:
        answer = await platform.ask("GET", f"/v1/algorithms/{uuid4()}/errors")
        assert (answer.status_code, answer.json()["error"]["message"]) == (404, "No such algorithm")
        await platform.create()
        answer = await platform.ask("GET", "/v1/algorithms/joe/hello/errors", "ann")
        assert (answer.status_code, answer.json()["error"]["message"]) == (404, "No such algorithm")


class TestCalls:
    async def test_administrators_read_them_in_pages(self, platform: Platform) -> None:
        algorithm_id = uuid4()
        records = [record(n) for n in range(3)]
        records.append(record(3, account="joe", algorithm_id=algorithm_id, error="e", status=500))
        await announce(platform, *records)
        page = await platform.ok("GET", "/admin/v1/calls?limit=3", "root")
        rest = await platform.ok("GET", f"/admin/v1/calls?limit=3&cursor={page['cursor']}", "root")
        found = [one["request_id"] for one in (*page["items"], *rest["items"])]
        assert (found, rest["cursor"]) == ([one.request_id for one in records], None)
        since = records[1].at.isoformat().replace("+00:00", "Z")
        for query, expected in (
            ("account=joe", records[3:]),
            (f"algorithm_id={algorithm_id}", records[3:]),
            ("errors=true", records[3:]),
            (f"since={since}", records[:2]),
        ):
            listed = (await platform.ok("GET", f"/admin/v1/calls?{query}", "root"))["items"]
            assert [one["request_id"] for one in listed] == [one.request_id for one in expected], query
        for query in ("since=yesterday", "algorithm_id=x", "errors=perhaps", "cursor=WzFd", "account=%00"):
            assert (await platform.refused("GET", f"/admin/v1/calls?{query}", "root"))[0] == 400

    async def test_a_message_that_comes_again_is_kept_once(self, platform: Platform) -> None:
        news = CallsRecorded(gateway="g1", records=(record(), record()))
        for _ in range(2):
            await platform.registry.calls.hear(news)
        assert await count(platform) == 2

    async def test_more_than_a_statement_can_hold_are_kept(self, platform: Platform) -> None:
        await announce(platform, *(record(n) for n in range(2500)))
        assert await count(platform) == 2500

    async def test_old_ones_are_forgotten(self, platform: Platform) -> None:
        await announce(platform, record(), record(2 * 86_400), record(4 * 86_400))
        await platform.registry.calls.purge(3)
        assert await count(platform) == 2

    async def test_a_long_chain_ends(self, platform: Platform) -> None:
        """Request ids are what gateways say: a circle of them must not hang the query."""
        created = await platform.create()
        circle = [
            record(algorithm_id=created["id"], request_id=f"r{n}", parent=f"r{(n + 1) % 5}", error="e")
            for n in range(5)
        ]
        await announce(platform, *circle)
        async with platform.registry.database.transaction() as session:
            assert len(await calls.errors_of_algorithm(session, UUID(created["id"]))) == 5


class TestAudit:
    async def test_own_acts_are_kept_and_announced(self, platform: Platform) -> None:
        heard: list[AuditRecorded] = []

        async def hear(act: AuditRecorded) -> None:
            heard.append(act)

        async with platform.bus.listen("tests", [AUDIT_TOPIC], hear, accepts=[AuditRecorded]):
            created = await platform.create()
            await platform.built()
            await platform.publish()
            await platform.ok("PUT", "/v1/algorithms/joe/hello", json={"details": {"tagline": "t"}})
            await platform.ok(
                "POST",
                "/v1/algorithms/joe/hello/secrets",
                json={"short_name": "s", "secret_key": "S", "secret_value": "v"},
            )
            await platform.ask("DELETE", f"/v1/algorithms/{created['id']}")
            actions = [
                *("algorithm.create", "version.publish", "algorithm.update", "secret.create", "algorithm.delete")
            ]
            await eventually(lambda: [act.action for act in heard] == actions)
        found = (await platform.ok("GET", "/admin/v1/audit", "root"))["items"]
        assert [one["action"] for one in found] == actions[::-1], "each once"
        assert {(one["service"], one["actor"], one["outcome"]) for one in found} == {("registry", "joe", "done")}
        assert found[-1]["subject"] == "joe/hello"

    async def test_a_refused_act_leaves_none(self, platform: Platform) -> None:
        await platform.create()
        await platform.refused("POST", "/v1/algorithms/joe/hello/versions", json={})
        await platform.refused("DELETE", "/v1/algorithms/joe/hello", "ann")
        assert await count(platform, AuditEntry) == 1

    async def test_acts_of_other_services_are_kept(self, platform: Platform) -> None:
        act = AuditRecorded(at=now(), service="fakts", actor="root", action="key.create", subject="joe", detail="\0")
        for _ in range(3):
            await platform.bus.announce(AUDIT_TOPIC, act)

        async def kept() -> bool:
            return await count(platform, AuditEntry) == 3

        await eventually(kept)
        page = await platform.ok("GET", "/admin/v1/audit?limit=2&actor=root&action=key.create&subject=joe", "root")
        rest = await platform.ok("GET", f"/admin/v1/audit?limit=2&cursor={page['cursor']}", "root")
        assert (len(page["items"]), len(rest["items"]), rest["cursor"]) == (2, 1, None)
        assert (await platform.ok("GET", "/admin/v1/audit?actor=joe", "root"))["items"] == []

    async def test_old_ones_are_forgotten(self, platform: Platform) -> None:
        act = AuditRecorded(at=now() - timedelta(days=4), service="fakts", actor="root", action="a", subject="s")
        await platform.bus.announce(AUDIT_TOPIC, act)

        async def kept() -> bool:
            return await count(platform, AuditEntry) == 1

        await eventually(kept)
        await platform.registry.audit.purge(3)
        assert await count(platform, AuditEntry) == 0
