"""Asking to be let in, and deciding: by a person or by a rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from libs.common import db
from libs.common.contracts.joining import Manifest
from libs.common.problems import Conflict, Invalid, NotFound
from services.fakts.identity import accounts
from services.fakts.models import Approval, Client
from services.fakts.preflight import approvals
from services.fakts.preflight.approvals import Asked, Standing, Started
from services.fakts.preflight.strategies.interface import Needs, Via
from services.fakts.where import Where
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCAL = Where("127.0.0.1", "fakts.test:8001")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts")) as started:
        service = {"service": "org.example.probe", "instance": "p", "aliases": [{"id": "a", "host": "127.0.0.1"}]}
        await started.ask("POST", "/admin/v1/services", 201, json=service)
        await started.user("anne")
        await started.organization("lab")
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
        return await approvals.ask(session, fakts.context, asked)


async def decide(
    fakts: RunningFakts, code: str, by: str = "admin", *, approve: bool = True, **more: Any
) -> tuple[Approval, Client]:
    async with fakts.context.database.transaction() as session:
        user = await accounts.get(session, by)
        approval = await approvals.find(session, code)
        if approve:
            await approvals.approve(session, fakts.context, approval, by=user, **more)
        else:
            await approvals.deny(session, fakts.context, approval, by=user, **more)
        return approval, await approvals.client_of(session, approval)


async def polled(fakts: RunningFakts, started: Started, via: Via = Via.DEVICE) -> Approval:
    async with fakts.context.database.transaction() as session:
        found = await approvals.of_secret(session, started.secret, via)
    assert found is not None
    return found


async def rules(fakts: RunningFakts, *given: dict[str, Any], status: int = 200) -> Any:
    return await fakts.ask("PUT", "/admin/v1/rules", status, json=list(given))


async def test_a_person_approves_what_they_saw_and_the_code_is_good_once(fakts: RunningFakts) -> None:
    started = await ask(fakts, wants=manifest("probe", extra="probe", absent="absent"))
    assert len(started.code) == 9
    assert started.secret != started.code
    async with fakts.context.database.transaction() as session:
        for typed in (started.code, started.code.lower(), started.code.replace("-", ""), f" {started.code} "):
            assert (await approvals.find(session, typed)).id == started.approval.id
        seen = await approvals.view(session, fakts.context, started.approval)
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
    with pytest.raises(Conflict, match=r"This deployment offers no org\.example\.absent\."):
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
