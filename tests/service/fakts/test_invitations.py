"""Invitations to organizations: made, listed, accepted once, taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from libs.common import db
from services.fakts import loops
from services.fakts.models import Invitation
from tests.service.fakts.running import RunningFakts
from tests.support.eventually import UNASKED, eventually

ALL = ("allow_algo", "allow_algo_management")


async def person(fakts: RunningFakts, name: str) -> dict[str, str]:
    """A new user; returns the headers of its requests."""
    await fakts.user(name)
    return {"authorization": await fakts.key(name, *ALL)}


async def test_who_has_an_invitation_becomes_a_member_once(fakts: RunningFakts) -> None:
    jane, joe, mia = [await person(fakts, name) for name in ("jane", "joe", "mia")]
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    await eventually_governs(fakts, jane)
    body = {"role": "executor", "note": "for joe"}
    made = await fakts.ask("POST", "/v1/organizations/lab/invites", 201, json=body, headers=jane)
    token = made.pop("token")
    assert (made["org_name"], made["role"], made["note"]) == ("lab", "executor", "for joe")
    for path, headers in (("/v1/organizations/lab/invites", jane), ("/v1/admin/invites", fakts.admin)):
        assert (await fakts.ask("GET", path, 200, headers=headers))["results"] == [made]
    async with fakts.context.database.transaction() as session:
        assert token not in repr(vars((await session.scalars(select(Invitation))).one()))

    assert await fakts.ask("GET", f"/v1/invites/{token}", 200, headers=joe) == made
    expected = {"org_name": "lab", "role": "executor"}
    assert await fakts.ask("POST", f"/v1/invites/{token}/accept", 200, headers=joe) == expected
    assert await fakts.ask("POST", f"/v1/invites/{token}/accept", 200, headers=joe) == expected
    member = await fakts.ask("GET", "/v1/organizations/lab/members/joe", 200)
    assert member["role"] == "executor"
    for request in (("GET", f"/v1/invites/{token}"), ("POST", f"/v1/invites/{token}/accept")):
        await fakts.ask(*request, 404, headers=mia)
    assert (await fakts.ask("GET", "/v1/admin/invites", 200))["results"] == []
    await fakts.ask("DELETE", "/v1/organizations/lab/members/joe", 204)
    await fakts.ask("POST", f"/v1/invites/{token}/accept", 404, headers=joe)


async def test_an_invitation_ends_with_its_time_its_maker_or_its_organization(fakts: RunningFakts) -> None:
    jane, joe = await person(fakts, "jane"), await person(fakts, "joe")
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    await eventually_governs(fakts, jane)

    async def invite(**body: Any) -> tuple[str, str]:
        made = await fakts.ask("POST", "/v1/organizations/lab/invites", 201, json=body, headers=jane)
        return made["id"], made["token"]

    async def refused(token: str) -> None:
        answer = await fakts.http.post(f"/v1/invites/{token}/accept", headers=joe)
        assert (answer.status_code, "ask for another" in answer.text) == (404, True)

    await refused("nonsense")
    for path, headers in (("/v1/organizations/lab/invites", jane), ("/v1/admin/invites", fakts.admin)):
        taken_back, token = await invite()
        await fakts.ask("DELETE", f"{path}/{taken_back}", 204, headers=headers)
        await refused(token)
    await fakts.ask("DELETE", "/v1/organizations/lab/invites/" + str(taken_back)[::-1], 400, headers=jane)

    _, late = await invite()
    async with fakts.context.database.transaction() as session:
        await session.execute(update(Invitation).values(expires_at=db.now()))
    await refused(late)
    async with fakts.context.database.transaction() as session:
        await session.execute(update(Invitation).values(expires_at=db.now() - timedelta(days=31)))
    await loops.forget(fakts.context)
    async with fakts.context.database.transaction() as session:
        assert (await session.scalars(select(Invitation))).all() == []

    _, of_a_former_owner = await invite()
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 200, json={"role": "member"})
    await refused(of_a_former_owner)
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 200, json={"role": "owner"})
    await fakts.ask("POST", f"/v1/invites/{of_a_former_owner}/accept", 409, headers=jane)
    await fakts.ask("DELETE", "/v1/organizations/lab", 204)
    await refused(of_a_former_owner)


async def test_only_owners_and_administrators_invite(fakts: RunningFakts) -> None:
    jane = await person(fakts, "jane")
    await fakts.organization("lab")
    await fakts.ask("POST", "/v1/organizations/lab/invites", 404, json={}, headers=jane)
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201)
    await eventually_sees(fakts, jane)
    for method, path in (("POST", ""), ("GET", ""), ("DELETE", "/00000000-0000-0000-0000-000000000000")):
        await fakts.ask(method, f"/v1/organizations/lab/invites{path}", 403, json={}, headers=jane)
    await fakts.ask("POST", "/v1/admin/invites", 403, json={"organization": "lab"}, headers=jane)
    await fakts.ask("POST", "/v1/admin/invites", 404, json={"organization": "none"})
    await fakts.ask("POST", "/v1/admin/invites", 400, json={"organization": "lab", "role": "invited"})
    await fakts.ask("POST", "/v1/admin/invites", 201, json={"organization": "lab"})
    await fakts.ask("DELETE", "/v1/admin/invites/00000000-0000-0000-0000-000000000000", 404)


async def test_the_invited_are_nobody_until_they_accept(fakts: RunningFakts) -> None:
    jane, joe = await person(fakts, "jane"), await person(fakts, "joe")
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "invited"})
    assert (await fakts.ask("GET", "/v1/organizations/lab/members/jane", 200))["role"] == "invited"
    await fakts.ask("GET", "/v1/organizations/lab", 404, headers=jane)
    page = await fakts.context.publisher.page("identity", since=0)
    bodies = {change.key: change.body or {} for change in page.changes}
    assert bodies["account:jane"]["organizations"] == {}
    await fakts.ask("POST", "/v1/organizations/lab/members/jane/accept", 404, headers=joe)
    await fakts.ask("POST", "/v1/organizations/lab/members/joe/accept", 404, headers=joe)
    for _ in range(2):
        await fakts.ask("POST", "/v1/organizations/lab/members/jane/accept", 204, headers=jane)
    assert (await fakts.ask("GET", "/v1/organizations/lab/members/jane", 200))["role"] == "member"
    await eventually_sees(fakts, jane)


async def eventually_sees(fakts: RunningFakts, headers: dict[str, str]) -> None:
    async def sees() -> bool:
        return (await fakts.http.get("/v1/organizations/lab", headers=headers)).status_code == 200

    await eventually(sees, timeout=UNASKED)


async def eventually_governs(fakts: RunningFakts, headers: dict[str, str]) -> None:
    async def governs() -> bool:
        return (await fakts.http.get("/v1/organizations/lab/invites", headers=headers)).status_code == 200

    await eventually(governs, timeout=UNASKED)
