"""Asking to be let in, and deciding: by a person or by a rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import select

from libs.common import db
from libs.common.contracts.joining import Manifest
from libs.common.problems import Forbidden, Invalid, NotFound
from services.fakts.identity import accounts
from services.fakts.models import Approval, AuditEntry, Client, User
from services.fakts.preflight import approvals, codes, decisions, starts, views
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.starts import Asked, Started
from services.fakts.preflight.strategies.interface import Needs, Via
from services.fakts.where import Where
from tests.service.fakts.running import RunningFakts, others_wait, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCAL = Where("127.0.0.1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts")) as started:
        service = {"service": "org.example.probe", "instance": "p", "aliases": [{"id": "a", "host": "127.0.0.1"}]}
        await started.ask("POST", "/admin/v1/services", 201, json=service)
        await started.user("anne")
        await started.user("ben")
        for name in ("lab", "club"):
            await started.organization(name)
            await started.ask("PUT", f"/v1/organizations/{name}/members/anne", 201)
        yield started


def manifest(*required: str, device: str | None = None, **optional: str) -> Manifest:
    needs: list[dict[str, Any]] = [{"key": service, "service": f"org.example.{service}"} for service in required]
    needs += [{"key": key, "service": f"org.example.{name}", "optional": True} for key, name in optional.items()]
    return Manifest.model_validate(
        {"identifier": "org.example.app", "version": "1.0", "requirements": needs, "device_id": device}
    )


async def ask(fakts: RunningFakts, via: Via = Via.DEVICE, wants: Manifest | None = None, **more: Any) -> Started:
    asked = Asked(via=via, manifest=wants or manifest(), where=LOCAL, seconds=300, scope="openid", **more)
    async with fakts.context.database.transaction() as session:
        return await starts.ask(session, fakts.context, asked)


async def decide(
    fakts: RunningFakts, code: str, by: str = "admin", *, approve: bool = True, **more: Any
) -> tuple[Approval, Client]:
    async with fakts.context.database.transaction() as session:
        user = await accounts.get(session, by)
        approval = await approvals.find(session, code)
        if approve:
            await decisions.approve(session, fakts.context, approval, by=user, **more)
        else:
            await decisions.deny(session, fakts.context, approval, by=user, **more)
        return approval, await approvals.client_of(session, approval)


async def polled(fakts: RunningFakts, started: Started, via: Via = Via.DEVICE) -> Approval:
    async with fakts.context.database.transaction() as session:
        found = await approvals.of_secret(session, started.secret, via)
    assert found is not None
    return found


@asynccontextmanager
async def ruled(fakts: RunningFakts, *rules: dict[str, Any]) -> AsyncIterator[None]:
    """While these rules hold."""
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": rules})
    try:
        yield
    finally:
        await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": []})


async def test_a_person_approves_what_they_saw_and_the_code_is_good_once(fakts: RunningFakts) -> None:
    started = await ask(fakts, wants=manifest("probe", extra="probe", absent="absent"))
    assert len(started.code) == 9
    assert started.secret != started.code
    async with fakts.context.database.transaction() as session:
        for typed in (started.code, started.code.lower(), started.code.replace("-", ""), f" {started.code} "):
            assert (await approvals.find(session, typed)).id == started.approval.id
        seen = await views.of_approval(session, started.approval)
        assert [(need.key, need.optional, need.offered) for need in seen.requirements] == [
            ("probe", False, True),
            ("extra", True, True),
            ("absent", True, False),
        ]
        assert (seen.needs, seen.organizations, seen.missing, seen.scope) == (Needs.USER, None, (), ("openid",))
        assert await approvals.of_secret(session, started.code, Via.DEVICE) is None
        assert await approvals.of_secret(session, started.secret, Via.CHALLENGE) is None
    assert (await polled(fakts, started)).state == Standing.PENDING
    for declined in (["probe"], ["unheard-of"]):
        with pytest.raises(Invalid, match="app"):
            await decide(fakts, started.code, declined=declined)
    approval, client = await decide(fakts, started.code, "anne", declined=["extra"])
    assert approvals.standing(approval, db.now()) is Standing.APPROVED
    assert approvals.standing(approval, db.now() + timedelta(hours=1)) is Standing.EXPIRED
    assert (client.declined, client.account_id) == (["extra"], approval.decided_by)
    assert client.approved_at is not None
    for code in (started.code, "ZZZZ-ZZZZ", "", "\x00"):
        with pytest.raises(NotFound) as refused:
            await decide(fakts, code)
        assert refused.value.detail == approvals.NO_SUCH_CODE


async def test_a_denial_and_a_service_that_is_not_offered_end_the_attempt_in_words(fakts: RunningFakts) -> None:
    started = await ask(fakts)
    await decide(fakts, started.code, approve=False)
    denied = await polled(fakts, started)
    assert (denied.state, denied.reason) == (Standing.DENIED, "The user declined.")
    started = await ask(fakts, Via.CHALLENGE, manifest("absent"))
    assert (len(started.code), started.secret) == (19, started.code)
    await decide(fakts, started.code)
    ended = await polled(fakts, started, Via.CHALLENGE)
    assert (ended.state, ended.reason) == (Standing.DENIED, "This deployment offers no org.example.absent.")
    with pytest.raises(NotFound):
        await decide(fakts, started.code)


async def test_the_same_app_of_the_same_user_on_the_same_device_is_there_once(fakts: RunningFakts) -> None:
    clients = []
    for by, device in (
        ("anne", "mac"),
        ("anne", "mac"),
        ("admin", "mac"),
        ("anne", "pc"),
        ("anne", None),
        ("anne", None),
    ):
        started = await ask(fakts, wants=manifest(device=device))
        clients.append((await decide(fakts, started.code, by))[1].id)
    async with fakts.context.database.transaction() as session:
        found = [await session.get_one(Client, client) for client in clients]
    assert [client.ended_at is not None for client in found] == [True, False, False, False, False, False]


async def test_whoever_lets_the_same_app_in_on_the_same_machine_waits_and_nobody_else(fakts: RunningFakts) -> None:
    async with ruled(fakts, {"name": "known", "strategy": "approve", "account": "anne"}):
        async with fakts.context.database.transaction() as session:
            wanted = manifest(device="shared")
            asked = Asked(via=Via.DEVICE, manifest=wanted, where=LOCAL, seconds=300, scope="openid")
            first = await starts.ask(session, fakts.context, asked)
            for device in (None, "another"):
                await ask(fakts, wants=manifest(device=device))
            same = asyncio.create_task(ask(fakts, wants=wanted))
            await others_wait(session)
            assert not same.done()
        second = await same
    async with fakts.context.database.transaction() as session:
        ended = [(await session.get_one(Client, one.client.id)).ended_at is not None for one in (first, second)]
    assert ended == [True, False]


async def test_a_poll_that_waits_for_the_decision_sees_all_of_it(fakts: RunningFakts) -> None:
    started = await ask(fakts, wants=manifest("probe", extra="probe"))

    async def poll() -> tuple[Approval, Client, User | None]:
        async with fakts.context.database.transaction() as session:
            held = await approvals.hold(session, started.secret, Via.DEVICE)
            assert held is not None
            return held

    async with fakts.context.database.transaction() as session:
        anne = await accounts.get(session, "anne")
        approval = await approvals.find(session, started.code)
        await decisions.approve(session, fakts.context, approval, by=anne, declined=["extra"])
        await session.flush()
        polling = asyncio.create_task(poll())
        await others_wait(session)
        assert not polling.done()
    approval, client, _ = await polling
    assert (approval.state, approval.decided_by) == (Standing.APPROVED, anne.id)
    assert (client.account_id, client.declined) == (anne.id, ["extra"])
    assert client.approved_at is not None


@pytest.mark.parametrize("via", [Via.DEVICE, Via.CHALLENGE])
async def test_a_code_that_is_taken_is_drawn_anew_and_all_else_is_written_once(
    fakts: RunningFakts, monkeypatch: pytest.MonkeyPatch, via: Via
) -> None:
    async with ruled(fakts, {"name": "known", "strategy": "approve", "account": "anne"}):
        first = await ask(fakts, via)
        drawn = [first.code, first.code, "BCDF-GHJK" if via is Via.DEVICE else "BCDF-GHJK-LMNP-QRST"]
        fresh = drawn[-1]
        monkeypatch.setattr(codes, "new", lambda _: drawn.pop(0))
        second = await ask(fakts, via)
    assert (second.code, drawn) == (fresh, [])
    found = await polled(fakts, second, via)
    assert (found.id, found.client_id, found.state) == (second.approval.id, second.client.id, Standing.APPROVED)
    async with fakts.context.database.transaction() as session:
        told = (await session.scalars(select(AuditEntry))).all()
    assert [str(second.client.id) in str(one.message) for one in told].count(True) == 1


async def test_rules_are_replaced_as_a_whole_and_only_by_good_ones(fakts: RunningFakts) -> None:
    default = await fakts.ask("GET", "/admin/v1/rules", 200)
    assert [rule["strategy"] for rule in default["rules"]] == ["signed-in"]
    assert {"approve", "members", "refuse", "signed-in", "staff"} <= set(default["strategies"])
    for bad, words in [
        ([{"name": "a", "strategy": "unheard-of"}], "no strategy 'unheard-of'"),
        ([{"name": "a", "strategy": "refuse"}], "'reason' is required"),
        ([{"name": "a", "strategy": "staff", "when": {"network": "mars"}}], "network"),
        ([{"name": "a", "strategy": "staff", "when": {"colour": "red"}}], "colour"),
        ([{"name": "a", "strategy": "staff"}] * 2, "two rules are named 'a'"),
        ([{"name": "a", "strategy": "refuse", "reason": "\x00"}], "NUL"),
        ([{"strategy": "staff"}], "name"),
        ("staff", "rules"),
    ]:
        problem = await fakts.ask("PUT", "/admin/v1/rules", 400, json={"rules": bad})
        assert words in problem["detail"], problem
    rules = [
        {"name": "first", "strategy": "refuse", "reason": "No.", "when": {"identifier": ["a.*"]}},
        {"name": "second", "strategy": "staff", "when": {}},
    ]
    async with ruled(fakts, *rules):
        assert (await fakts.ask("GET", "/admin/v1/rules", 200))["rules"] == rules
    assert await fakts.ask("GET", "/admin/v1/rules", 200) == default


async def test_rules_that_are_replaced_by_many_at_once_are_those_of_one_of_them(fakts: RunningFakts) -> None:
    lists = [[{"name": f"rule{n}", "strategy": "staff", "when": {}} for n in range(many)] for many in range(1, 9)]
    async with ruled(fakts):
        await asyncio.gather(*(fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": one}) for one in lists))
        assert (await fakts.ask("GET", "/admin/v1/rules", 200))["rules"] in lists


async def test_a_rule_says_who_may_approve(fakts: RunningFakts) -> None:
    async with ruled(fakts, {"name": "s", "strategy": "staff"}):
        started = await ask(fakts)
        for approve in (True, False):
            with pytest.raises(Forbidden, match="administrator"):
                await decide(fakts, started.code, "anne", approve=approve)
        await decide(fakts, started.code, "admin")
    members = {"name": "m", "strategy": "members", "organizations": ["lab", "club"], "roles": ["member"]}
    async with ruled(fakts, members):
        started = await ask(fakts)
        with pytest.raises(Forbidden, match="no member"):
            await decide(fakts, started.code, "ben", organization="lab")
        with pytest.raises(Forbidden, match="no member"):
            await decide(fakts, started.code, "anne", organization="nowhere")
        with pytest.raises(Forbidden, match="only who is member"):
            await decide(fakts, started.code, "admin", organization="lab")
        with pytest.raises(Forbidden, match="only those who may approve"):
            await decide(fakts, started.code, "ben", approve=False)
        with pytest.raises(Invalid, match="pick an organization for this app: lab, club"):
            await decide(fakts, started.code, "anne")
        approval, client = await decide(fakts, started.code, "anne", organization="club")
        assert approval.organization_id == client.organization_id is not None
        started = await ask(fakts)
        await decide(fakts, started.code, "anne", approve=False)
        started = await ask(fakts, organization="lab")
        with pytest.raises(Forbidden, match="may act in lab"):
            await decide(fakts, started.code, "anne", organization="club")
        lab = (await decide(fakts, started.code, "anne"))[0].organization_id
        assert lab not in (None, client.organization_id)
        with pytest.raises(Forbidden, match="organization 'other'"):
            await ask(fakts, organization="other")
    started = await ask(fakts)
    with pytest.raises(Forbidden, match="no member"):
        await decide(fakts, started.code, "ben", organization="lab")
    assert (await decide(fakts, started.code, "anne", organization="lab"))[0].organization_id == lab


async def test_a_rule_decides_at_once_or_says_why_it_cannot(fakts: RunningFakts) -> None:
    async with ruled(fakts, {"name": "known", "strategy": "approve", "account": "anne", "organization": "lab"}):
        started = await ask(fakts, wants=manifest("probe"))
        assert started.approval.state == Standing.APPROVED
        assert started.client.approved_at is not None
        assert started.client.account_id == started.approval.decided_by
        assert started.client.organization_id is not None
        with pytest.raises(NotFound):
            await decide(fakts, started.code)
        assert started.approval.rule == "known"
        started = await ask(fakts, Via.CHALLENGE, manifest("absent"))
        assert (started.approval.state, started.client.approved_at) == (Standing.DENIED, None)
        assert started.approval.reason == "This deployment offers no org.example.absent."
    for who in ({"account": "nobody"}, {"account": "ben", "organization": "lab"}):
        async with ruled(fakts, {"name": "known", "strategy": "approve", **who}):
            started = await ask(fakts)
            assert started.approval.state == Standing.DENIED
            assert "'known'" in started.approval.reason
    async with ruled(fakts, {"name": "no", "strategy": "refuse", "reason": "Ask the lab first."}):
        with pytest.raises(Forbidden, match="Ask the lab first"):
            await ask(fakts)
        body = {"manifest": {"identifier": "org.example.app", "version": "1"}}
        for path, error in (("/o/app-authorization/", "access_denied"), ("/lok/f/start/", "Ask the lab first.")):
            answer = (await fakts.http.post(path, json=body)).json()
            assert (answer["status"], answer["error"]) == ("error", error)
            assert "Ask the lab first." in (answer.get("message"), answer.get("error_description"))


async def test_two_who_decide_at_the_same_time_decide_once(fakts: RunningFakts) -> None:
    started = await ask(fakts)
    deciding = [decide(fakts, started.code, "anne"), decide(fakts, started.code, "admin", approve=False)]
    found = await asyncio.gather(*deciding, return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["NotFound", "tuple"]


async def test_administrators_see_what_waits_and_decide_by_code_or_id(fakts: RunningFakts) -> None:
    started = await ask(fakts, wants=manifest("probe", extra="absent"))
    other = await ask(fakts)
    items = (await fakts.ask("GET", "/admin/v1/codes?limit=1000", 200))["items"]
    [found] = [item for item in items if item["id"] == str(started.approval.id)]
    assert (found["identifier"], found["via"], found["needs"]) == ("org.example.app", "device", "user")
    assert found["address"] == "127.0.0.1"
    assert [(need["key"], need["offered"]) for need in found["requirements"]] == [("probe", True), ("extra", False)]
    assert started.code not in str(items)
    assert started.secret not in str(items)
    path = f"/admin/v1/codes/{found['id']}"
    for declined in (["probe"], ["unheard-of"]):
        problem = await fakts.ask("POST", f"{path}/approve", 400, json={"declined": declined})
        assert declined[0] in problem["detail"]
    decided = await fakts.ask("POST", f"{path}/approve", 200, json={"declined": ["extra"]})
    assert (decided["state"], decided["client_id"]) == ("approved", str(started.client.id))
    assert (await fakts.ask("POST", f"/admin/v1/codes/{other.code}/deny", 200))["state"] == "denied"
    problems = [
        await fakts.ask("POST", f"/admin/v1/codes/{code}/{what}", 404)
        for code in (found["id"], other.code, "BCDF-BCDF", str(uuid4()))
        for what in ("approve", "deny")
    ]
    assert {problem["detail"] for problem in problems} == {approvals.NO_SUCH_CODE}


async def test_an_app_whose_client_was_removed_waits_no_more(fakts: RunningFakts) -> None:
    body = {"name": "Notebook", "redirect_uris": [], "confidential": False}
    made = await fakts.ask("POST", "/admin/v1/clients", 201, json=body)
    form = {"client_id": made["client_id"]}
    started = await fakts.ask("POST", "/o/app-authorization/", 200, data=form, headers={})
    other = await ask(fakts)

    async def waiting() -> list[str]:
        return [one["id"] for one in (await fakts.ask("GET", "/admin/v1/codes?limit=1000", 200))["items"]]

    assert len(before := await waiting()) >= 2
    await fakts.ask("DELETE", f"/admin/v1/clients/{made['client_id']}", 204)
    assert (found := await waiting()) == [one for one in before if one in found]
    assert len(found) == len(before) - 1
    assert str(other.approval.id) in found
    await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 404, json={})


async def test_who_signs_in_with_a_browser_decides_there_and_alone(fakts: RunningFakts) -> None:
    started = await ask(fakts, Via.REDIRECT, redirect={"redirect_uri": "https://host/back"})
    listed = (await fakts.ask("GET", "/admin/v1/codes?limit=1000", 200))["items"]
    assert str(started.approval.id) not in {item["id"] for item in listed}
    for code in (started.code, str(started.approval.id)):
        for what in ("approve", "deny"):
            problem = await fakts.ask("POST", f"/admin/v1/codes/{code}/{what}", 409)
            assert "their own browser" in problem["detail"]
    await decide(fakts, started.code, "anne")


async def test_attempts_that_are_long_over_are_forgotten_with_the_clients_that_nobody_let_in(
    fakts: RunningFakts,
) -> None:
    approved, waiting = await ask(fakts), await ask(fakts)
    await decide(fakts, approved.code)
    mandate = await fakts.mandate()
    headless = (await fakts.login(mandate["key"], "org.example.headless")).json()["client_id"]
    async with fakts.context.database.transaction() as session:
        later = db.now() + timedelta(days=1)
        await approvals.purge(session, later)
        assert await session.get(Approval, approved.approval.id) is None
        assert await session.get(Client, approved.client.id) is not None
        assert await session.get(Client, waiting.client.id) is None
        assert await session.get(Client, headless) is not None
        await session.rollback()
