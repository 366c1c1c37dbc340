"""Many apps and people at once: everybody gets what is theirs, and gets it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from libs.common.problems import NotFound
from services.fakts.models import Login, Membership, Organization, OrganizationType, RefreshToken, User
from services.fakts.preflight import approvals, decisions
from tests.service.fakts.logging_in import claims_of, logged_in, poll, refreshed, refusal, start
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

CROWD, RIVALS, SERVICES = 200, 20, 7
_UNDER_WAY = 50
"""Requests at the same time: who waits for one of the few connections to the database is refused in the end."""


@dataclass(frozen=True)
class Person:
    """Somebody with an organization of their own, and what their app needs."""

    user: UUID
    name: str
    organization: str
    organization_id: UUID
    wants: tuple[int, int]
    """Two services; the app is not given the second."""

    @property
    def requirements(self) -> list[dict[str, Any]]:
        first, second = (f"org.example.service{number}" for number in self.wants)
        return [{"key": "first", "service": first}, {"key": "second", "service": second, "optional": True}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    many: dict[str, Any] = dict.fromkeys(("token_requests_per_minute", "starts_per_minute"), 100_000)
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **many) as started:
        for number in range(SERVICES):
            offered = {"service": f"org.example.service{number}", "instance": f"instance-{number}"}
            aliases = [{"id": "a", "host": f"host-{number}"}]
            await started.ask("POST", "/admin/v1/services", 201, json={**offered, "aliases": aliases})
        yield started


async def people(fakts: RunningFakts) -> list[Person]:
    found = []
    async with fakts.context.database.transaction() as session:
        kind = (await session.scalars(select(OrganizationType).limit(1))).one()
        for number in range(CROWD):
            user, organization = (
                User(id=uuid4(), name=f"person{number}"),
                Organization(id=uuid4(), name=f"org{number}"),
            )
            organization.type_id, organization.label = kind.id, "L"
            session.add_all((user, organization))
            wants = number % SERVICES, (number + 1 + number // SERVICES) % SERVICES
            found.append(Person(user.id, user.name, organization.name, organization.id, wants))
        await session.flush()
        session.add_all(
            Membership(organization_id=one.organization_id, user_id=one.user, role="member") for one in found
        )
    return found


async def at_once(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """What they return, in their order."""
    free = asyncio.Semaphore(_UNDER_WAY)

    async def one(call: Awaitable[Any]) -> Any:
        async with free:
            return await call

    return await asyncio.gather(*map(one, calls))


async def approve(fakts: RunningFakts, started: dict[str, Any], person: Person) -> str | None:
    """Who let the app in; None where somebody else did before."""
    try:
        async with fakts.context.database.transaction() as session:
            approval = await approvals.find(session, started["user_code"])
            by, organization = await session.get_one(User, person.user), person.organization
            await decisions.approve(
                session, fakts.context, approval, by=by, organization=organization, declined=["second"]
            )
            return person.name
    except NotFound:
        return None


async def test_a_crowd_logs_in_and_everybody_gets_their_own_login_once(fakts: RunningFakts) -> None:
    crowd = await people(fakts)
    started = await at_once(start(fakts, requirements=one.requirements, device_id=one.name) for one in crowd)
    for member in ("client_id", "device_code", "user_code"):
        assert len({one[member] for one in started}) == CROWD
    contested = [*zip(started, crowd, strict=True), *zip(started[:RIVALS], reversed(crowd), strict=False)]
    deciding = await at_once(approve(fakts, code, person) for code, person in contested)
    rivals = deciding[CROWD:]
    assert all((mine is None) != (other is None) for mine, other in zip(deciding, rivals, strict=False))
    assert None not in deciding[RIVALS:CROWD]

    polled = await at_once(poll(fakts, one) for one in [*started, *started[:RIVALS]])
    for mine, again in zip(polled, polled[CROWD:], strict=False):
        assert sorted((mine.status_code, again.status_code)) == [200, 400]
        refusal(mine if mine.status_code == 400 else again, "invalid_grant", "used before")
    granted = {one.json()["client_id"]: one.json() for one in polled if one.status_code == 200}
    assert set(granted) == {one["client_id"] for one in started}
    by_name = {one.name: one for one in crowd}
    for at, asked in enumerate(started):
        answer = granted[asked["client_id"]]
        said, decided_by = claims_of(answer["access_token"]), deciding[at] or rivals[at]
        person, wanted = by_name[decided_by], crowd[at].wants
        assert (said["sub"], said["preferred_username"]) == (str(person.user), person.name)
        assert (said["active_org"], said["org"]) == (person.organization, str(person.organization_id))
        assert (said["client_id"], said["client_device"]) == (asked["client_id"], crowd[at].name)
        assert answer["statuses"] == {"first": "granted", "second": "denied"}
        assert {key: one["identifier"] for key, one in answer["instances"].items()} == {
            "first": f"instance-{wanted[0]}"
        }
        assert said["aud"] == ["constellation", f"instance-{wanted[0]}"]
    for secret in ("access_token", "refresh_token"):
        assert len({one[secret] for one in granted.values()}) == CROWD
    async with fakts.context.database.transaction() as session:
        clients = [UUID(one["client_id"]) for one in started]
        logins = (await session.scalars(select(Login).where(Login.client_id.in_(clients)))).all()
        links = select(func.count()).where(RefreshToken.login_id.in_([one.id for one in logins]))
        assert sorted(one.client_id for one in logins) == sorted(clients)
        assert await session.scalar(links) == CROWD


async def test_processes_that_share_a_login_refresh_at_the_same_time_and_all_go_on(fakts: RunningFakts) -> None:
    """Two processes for each login: both begin with the token that they share, and go on with what they get."""
    logins = await at_once(logged_in(fakts, device_id=f"shared{number}") for number in range(8))
    processes = logins + logins
    seen = {one["refresh_token"] for one in logins}
    for _ in range(3):
        answers = await at_once(refreshed(fakts, one) for one in processes)
        assert {one.status_code for one in answers} == {200}
        for before, answer in zip(processes, answers, strict=True):
            was, now = claims_of(before["access_token"]), claims_of(answer.json()["access_token"])
            assert {name: was[name] for name in ("sid", "sub", "client_id", "org")} == {
                name: now[name] for name in ("sid", "sub", "client_id", "org")
            }
        processes = [one.json() for one in answers]
        fresh = {one["refresh_token"] for one in processes}
        assert len(fresh) == len(processes)
        assert not fresh & seen
        seen |= fresh
