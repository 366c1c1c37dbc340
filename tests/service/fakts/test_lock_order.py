"""Rows are locked in one order (logins, their clients, what is published), so that nobody waits in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy import select

from libs.common import db
from libs.common.contracts.joining import Manifest
from services.fakts.identity import accounts, browser_sessions
from services.fakts.models import Client, Login
from services.fakts.oauth import console, logins, own
from services.fakts.preflight import admission
from tests.service.fakts.browser import Browser
from tests.service.fakts.running import RunningFakts, others_wait

Ending = Callable[[], Awaitable[object]]


async def opened(fakts: RunningFakts, *, clients: int, logins_each: int) -> tuple[list[UUID], list[UUID]]:
    """The administrator's app on one machine, so many times; returns the ids of clients and of their logins."""
    manifest = Manifest(identifier="org.example.app", version="1", device_id="mac")
    made: tuple[list[UUID], list[UUID]] = ([], [])
    async with fakts.context.database.transaction() as session:
        user = await accounts.get(session, "admin")
        for _ in range(clients):
            client = admission.new_client(manifest, "openid", "development")
            admission.let_in(client, user, None)
            session.add(client)
            await session.flush()
            made[0].append(client.id)
            for _ in range(logins_each):
                login, _ = await logins.open_login(
                    session, fakts.context, client, account=user, organization=None, scope="openid"
                )
                made[1].append(login.id)
    return made


async def check(fakts: RunningFakts, held: UUID, end: Ending) -> None:
    """Who ends logins does not wait for this one while it holds what another needs that ends it."""
    async with fakts.context.database.transaction() as session:
        login = await session.get_one(Login, held, with_for_update=True)
        ending = asyncio.ensure_future(end())
        await others_wait(session)
        await logins.end(session, fakts.context, login)
    await ending


async def test_a_person_ends_an_app_that_is_logged_in_more_than_once(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    for at in range(2):
        [client], found = await opened(fakts, clients=1, logins_each=2)
        async with fakts.context.database.transaction() as session:  # many people sign in to it
            (await session.get_one(Client, client)).account_id = (await accounts.get(session, "jane")).id

        async def end(client: UUID = client) -> None:
            async with fakts.context.database.transaction() as session:
                await own.revoke(session, fakts.context, await accounts.get(session, "admin"), client)

        await check(fakts, found[at], end)
        async with fakts.context.database.transaction() as session:
            left = select(Login.id).where(Login.client_id == client, Login.ended_at.is_(None))
            assert (await session.scalars(left)).all() == []


async def test_an_app_ends_those_that_were_on_its_machine_before(fakts: RunningFakts) -> None:
    for at in range(2):
        earlier, found = await opened(fakts, clients=2, logins_each=1)

        async def end() -> UUID:
            async with fakts.context.database.transaction() as session:
                manifest = Manifest(identifier="org.example.app", version="2", device_id="mac")
                client = admission.new_client(manifest, "openid", "development")
                admission.let_in(client, await accounts.get(session, "admin"), None)
                session.add(client)
                await admission.end_earlier(session, fakts.context, client)
                return client.id

        await check(fakts, found[at], end)
        async with fakts.context.database.transaction() as session:
            for one in earlier:
                ended = (await session.get_one(Client, one)).ended_at
                assert ended is not None
                assert ended <= db.now()


async def test_a_password_is_changed_while_the_same_person_signs_in(fakts: RunningFakts) -> None:
    name, password = fakts.credentials["username"], fakts.credentials["password"]
    browser, context = Browser(fakts), fakts.context
    await browser.sign_in(name, password)
    await browser.get("/signin/password")
    async with context.database.transaction() as session:
        user, client = await accounts.get(session, name), await session.get_one(Client, console.CLIENT_ID)
        await logins.open_login(
            session, context, client, account=user, organization=None, scope="openid", refreshes=False
        )
    async with context.database.transaction() as session:  # as a sign-in does, which ends a session before its own
        await console.end_logins(session, context, user)
        changing = asyncio.create_task(
            browser.post("/signin/password", current=password, new="a new password", again="a new password")
        )
        await others_wait(session)
        await browser_sessions.start(session, user, provider=None, address="", agent="")
    await changing
    assert "was changed" in browser.page
