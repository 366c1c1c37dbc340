"""Organizations, their types and members."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.service.fakts.running import RunningFakts
from tests.service.fakts.test_users import error

FIELDS = {"org_label": "A", "org_contact_name": "Owner", "org_email": "o@example.org"}


async def account(fakts: RunningFakts, name: str) -> dict[str, Any]:
    """An account as the identity feed has it."""
    page = await fakts.context.publisher.page("identity", since=0)
    bodies = {change.key: change.body for change in page.changes}
    return bodies[f"account:{name}"] or {}


async def test_an_organization_is_made_with_a_type_changed_and_found(fakts: RunningFakts) -> None:
    types = await fakts.ask("GET", "/v1/organization/types", 200)
    assert [one["name"] for one in types] == ["basic", "legacy", "pro"]
    pro = types[2]["id"]
    body = {**FIELDS, "org_name": "lab", "type_id": pro, "external_id": "ex/1", "org_url": "https://e.org"}
    made = await fakts.ask("POST", "/v1/organizations", 201, json=body)
    assert {name: made[name] for name in body} == body
    assert (made["resource_type"], made["self_link"]) == (
        "organization",
        "http://fakts.test:8001/v1/organizations/lab",
    )
    assert await fakts.ask("GET", "/v1/organizations/lab", 200) == made
    assert await fakts.ask("GET", "/v1/organizations/externalId/ex/1", 200) == made
    assert await fakts.ask("PUT", "/v1/organizations/lab", 204, json={**made, "org_label": "B"}) is None
    assert (await fakts.ask("GET", "/v1/organizations/lab", 200))["org_label"] == "B"
    assert [one["org_name"] for one in (await fakts.ask("GET", "/v1/organizations", 200))["results"]] == ["lab"]
    assert (await fakts.ask("GET", "/admin/v1/organizations", 200))["items"][0]["name"] == "lab"
    default = await fakts.organization("other")
    assert default["type_id"] == types[0]["id"]


async def test_what_cannot_be_an_organization_is_refused_in_words(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab", external_id="one")
    cases: list[tuple[dict[str, Any], int, int]] = [
        ({**FIELDS}, 400, 3005),
        ({"org_name": "x"}, 400, 3005),
        ({**FIELDS, "org_name": "a b"}, 400, 6001),
        ({**FIELDS, "org_name": "LAB"}, 409, 3101),
        ({**FIELDS, "org_name": "jane"}, 409, 3101),
        ({**FIELDS, "org_name": "externalId"}, 409, 3101),
        ({**FIELDS, "org_name": "x", "external_id": "one"}, 409, 3101),
        ({**FIELDS, "org_name": "x", "type_id": str(uuid4())}, 400, 6001),
        ({**FIELDS, "org_name": "x", "type_id": "basic"}, 400, 6001),
        ({**FIELDS, "org_name": "x", "type_id": ""}, 400, 6001),
    ]
    for body, status, code in cases:
        assert error(await fakts.ask("POST", "/v1/organizations", status, json=body)) == code, body
    taken = {"username": "lab", "email": "l@example.org"}
    assert error(await fakts.ask("POST", "/v1/users", 409, json=taken)) == 3003


async def test_types_are_made_and_deleted_unless_they_are_used(fakts: RunningFakts) -> None:
    made = await fakts.ask("POST", "/v1/organization/types", 201, json={"name": "team"})
    assert await fakts.ask("POST", "/v1/organization/types", 201, json={"name": "team"}) == made
    await fakts.organization("lab", type_id=made["id"])
    used = await fakts.ask("DELETE", f"/v1/organization/types/{made['id']}", 409)
    assert "1 organizations" in used["error"]["message"]
    types = {one["name"]: one["id"] for one in await fakts.ask("GET", "/v1/organization/types", 200)}
    await fakts.ask("DELETE", f"/v1/organization/types/{types['legacy']}", 204)
    await fakts.ask("DELETE", f"/v1/organization/types/{types['legacy']}", 204)
    await fakts.ask("DELETE", f"/v1/organization/types/{types['basic']}", 409)
    left = await fakts.ask("GET", "/v1/organization/types", 200)
    assert [one["name"] for one in left] == ["basic", "pro", "team"]


async def test_members_are_added_once_and_their_accounts_say_so(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    assert (await account(fakts, "admin"))["organizations"] == {"lab": "owner"}
    path = "/v1/organizations/lab/members/jane"
    assert await fakts.ask("PUT", path, 201, content=b"") is None
    assert await fakts.ask("PUT", path, 200, content=b"") is None
    assert (await account(fakts, "jane"))["organizations"] == {"lab": "member"}
    await fakts.ask("PUT", path, 200, json={"role": "executor"})
    assert (await account(fakts, "jane"))["organizations"] == {"lab": "executor"}
    await fakts.ask("PUT", path, 200, content=b"")
    member = await fakts.ask("GET", path, 200)
    assert member == {
        "username": "jane",
        "role": "executor",
        "user_link": "http://fakts.test:8001/v1/users/jane",
        "resource_type": "organization_member",
    }
    await fakts.ask("PUT", path, 200, json={"role": "invited"})
    assert (await account(fakts, "jane"))["organizations"] == {}
    listed = await fakts.ask("GET", "/v1/organizations/lab/members", 200)
    assert [(one["username"], one["role"]) for one in listed["results"]] == [("admin", "owner"), ("jane", "invited")]
    await fakts.ask("DELETE", path, 204)
    await fakts.ask("DELETE", path, 204)
    await fakts.ask("GET", path, 404)
    assert error(await fakts.ask("PUT", "/v1/organizations/lab/members/nobody", 404)) == 3000
    assert error(await fakts.ask("PUT", "/v1/organizations/nolab/members/jane", 404)) == 3100
    await fakts.ask("PUT", path, 400, json={"role": "king"})


async def test_an_organization_keeps_an_owner(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    last = "/v1/organizations/lab/members/admin"
    assert error(await fakts.ask("DELETE", last, 409)) == 3102
    assert error(await fakts.ask("PUT", last, 409, json={"role": "member"})) == 3102
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    await fakts.ask("DELETE", last, 204)
    assert (await account(fakts, "admin"))["organizations"] == {}


@pytest.mark.parametrize(("role", "reads", "decides"), [("owner", 200, 200), ("member", 200, 403), (None, 404, 404)])
async def test_owners_decide_members_read_and_others_see_nothing(
    fakts: RunningFakts, role: str | None, reads: int, decides: int
) -> None:
    for name in ("jane", "joe"):
        await fakts.user(name)
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/joe", 201)
    if role is not None:
        await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": role})
    jane = {"authorization": await fakts.key("jane", "allow_algo_management")}
    await fakts.ask("GET", "/v1/organizations/lab", reads, headers=jane)
    await fakts.ask("GET", "/v1/organizations/lab/members", reads, headers=jane)
    await fakts.ask("GET", "/v1/organizations/lab/members/joe", reads, headers=jane)
    await fakts.ask("GET", "/v1/organizations/lab/keys", decides, headers=jane)
    await fakts.ask("PUT", "/v1/organizations/lab/members/joe", decides, headers=jane, json={"role": "executor"})
    await fakts.ask("PUT", "/v1/organizations/lab", 403, headers=jane, json=FIELDS)
    await fakts.ask("DELETE", "/v1/organizations/lab", 403, headers=jane)
    status = 204 if decides == 200 else decides
    await fakts.ask("DELETE", "/v1/organizations/lab/members/joe", status, headers=jane)


async def test_a_member_may_leave_but_not_with_a_key_that_manages_nothing(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    path = "/v1/organizations/lab/members/jane"
    await fakts.ask("PUT", path, 201)
    await fakts.ask("DELETE", path, 403, headers={"authorization": await fakts.key("jane", "allow_algo")})
    await fakts.ask("DELETE", path, 204, headers={"authorization": await fakts.key("jane", "allow_algo_management")})
    assert (await account(fakts, "jane"))["organizations"] == {}


async def test_a_deleted_organization_takes_its_keys_and_memberships_with_it(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab", external_id="e")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201)
    key = await fakts.key("lab", "allow_algo")
    await fakts.ask("GET", "/v1/users/jane", 404, headers={"authorization": key})
    await fakts.ask("DELETE", "/v1/organizations/lab", 204)
    await fakts.ask("DELETE", "/v1/organizations/lab", 204)
    assert error(await fakts.ask("DELETE", "/v1/organizations/never", 404)) == 3100
    await fakts.ask("GET", "/v1/organizations/lab", 404)
    await fakts.refuses(key)
    assert (await account(fakts, "jane"))["organizations"] == {}
    assert (await account(fakts, "lab"))["active"] is False
    await fakts.ask("POST", "/v1/organizations", 409, json={**FIELDS, "org_name": "lab"})
    await fakts.organization("lab2", external_id="e")


async def test_deleting_a_user_ends_its_memberships_even_as_the_last_owner(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    await fakts.ask("DELETE", "/v1/organizations/lab/members/admin", 204)
    key = {"authorization": await fakts.key("lab", "allow_algo")}
    await fakts.ask("DELETE", "/v1/users/jane", 204)
    assert (await fakts.ask("GET", "/v1/organizations/lab/members", 200))["results"] == []
    await fakts.ask("GET", "/v1/users/x", 404, headers=key)
