"""Users, as the Algorithmia management API has them."""

from __future__ import annotations

from typing import Any

from tests.service.fakts.running import RunningFakts


def error(answer: Any) -> int:
    code: int = answer["error"]["code"]
    return code


async def test_a_user_is_made_found_by_name_and_id_changed_and_listed(fakts: RunningFakts) -> None:
    body = {
        "username": "jane_1",
        "email": "jane@example.org",
        "fullname": "Jane D",
        "company_name": "C",
        "company_role": "R",
        "passwordHash": "",
        "shouldCreateHello": False,
    }
    made = await fakts.ask("POST", "/v1/users", 201, json=body)
    kept = {name: body[name] for name in ("username", "email", "fullname", "company_name", "company_role")}
    link = "http://fakts.test:8001/v1/users/jane_1"
    assert made == {**kept, "id": made["id"], "self_link": link, "resource_type": "user"}
    assert await fakts.ask("GET", "/v1/users/jane_1", 200) == made
    assert await fakts.ask("GET", f"/v1/users/{made['id']}", 200) == made
    changed = await fakts.ask("PUT", "/v1/users/jane_1", 200, json={**body, "fullname": "Jane E"})
    assert changed == {**made, "fullname": "Jane E"}
    assert changed in (await fakts.ask("GET", "/v1/users", 200))["results"]


async def test_what_cannot_be_a_user_is_refused_in_words(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    legal = {"username": "new", "email": "new@example.org"}
    cases: list[tuple[dict[str, Any], int, int, str]] = [
        ({**legal, "username": None}, 400, 3005, "username is required"),
        ({**legal, "email": None}, 400, 3005, "email is required"),
        ({**legal, "username": "1st"}, 400, 6001, "not a legal name"),
        ({**legal, "username": "a" * 31}, 400, 6001, "not a legal name"),
        ({**legal, "username": "a-b"}, 400, 6001, "not a legal name"),
        ({**legal, "email": "nobody"}, 400, 6001, "email"),
        ({**legal, "fullname": "a\x00b"}, 400, 6001, "NUL"),
        ({**legal, "username": "jane"}, 409, 3003, "taken"),
        ({**legal, "username": "JANE"}, 409, 3003, "taken"),
        ({**legal, "email": "Jane@Example.org"}, 409, 3004, "another user"),
    ]
    for body, status, code, words in cases:
        answer = await fakts.ask("POST", "/v1/users", status, json=body)
        assert error(answer) == code, answer
        assert words in answer["error"]["message"]
    surrogate = b'{"username": "new", "email": "n@example.org", "fullname": "\\ud800"}'
    headers = {**fakts.admin, "content-type": "application/json"}
    answer = await fakts.ask("POST", "/v1/users", 400, content=surrogate, headers=headers)
    assert "surrogate" in answer["error"]["message"]
    assert (await fakts.ask("GET", "/v1/users", 200))["results"][-1]["username"] == "jane"


async def test_a_user_sees_itself_and_nobody_else(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.user("joe")
    headers = {"authorization": f"Simple {await fakts.key('jane')}"}
    assert (await fakts.ask("GET", "/v1/users/jane", 200, headers=headers))["username"] == "jane"
    others = await fakts.ask("GET", "/v1/users/joe", 404, headers=headers)
    nobody = await fakts.ask("GET", "/v1/users/nobody", 404, headers=headers)
    assert error(others) == error(nobody) == 3000
    assert others["error"]["message"].replace("joe", "nobody") == nobody["error"]["message"]


async def test_a_name_cannot_be_changed(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    body = {"username": "janet", "email": "jane@example.org"}
    assert "never changes" in (await fakts.ask("PUT", "/v1/users/jane", 400, json=body))["error"]["message"]
    assert error(await fakts.ask("PUT", "/v1/users/nobody", 404, json=body)) == 3000


async def test_a_deleted_user_has_no_key_no_data_and_a_name_for_good(fakts: RunningFakts) -> None:
    made = await fakts.user("jane")
    key = await fakts.key("jane", "allow_algo")
    await fakts.ask("GET", "/v1/users/jane", 200, headers={"authorization": key})
    assert await fakts.ask("DELETE", "/v1/users/jane", 204) is None
    assert await fakts.ask("DELETE", "/v1/users/jane", 204) is None
    await fakts.ask("DELETE", "/v1/users/nobody", 404)
    await fakts.ask("GET", "/v1/users/jane", 404)
    await fakts.ask("GET", f"/v1/users/{made['id']}", 404)
    await fakts.refuses(key)
    assert "jane" not in {user["username"] for user in (await fakts.ask("GET", "/v1/users", 200))["results"]}
    taken = {"username": "jane", "email": "other@example.org"}
    assert error(await fakts.ask("POST", "/v1/users", 409, json=taken)) == 3003
    await fakts.ask("POST", "/v1/users", 201, json={"username": "jane2", "email": "jane@example.org"})


async def test_lists_come_in_pages_that_neither_skip_nor_repeat(fakts: RunningFakts) -> None:
    names = sorted(f"u{number}" for number in range(7))
    for name in names:
        await fakts.user(name)
    seen: list[str] = []
    path = "/v1/users?limit=3"
    while path:
        page = await fakts.ask("GET", path, 200)
        assert set(page) == {"marker", "next_link", "results"}
        seen += [user["username"] for user in page["results"]]
        path = (page["next_link"] or "").removeprefix("http://fakts.test:8001")
    assert seen == ["admin", *names]
    cursor, seen = "", []
    while cursor is not None:
        page = await fakts.ask("GET", "/admin/v1/users", 200, params={"limit": 4, "cursor": cursor})
        seen += [user["name"] for user in page["items"]]
        cursor = page["cursor"]
    assert seen == ["admin", *names]


async def test_a_bad_limit_and_a_bad_marker_are_told_apart(fakts: RunningFakts) -> None:
    for limit in ("0", "x", "1001", "-1", "9" * 5000):
        assert error(await fakts.ask("GET", "/v1/users", 400, params={"limit": limit})) == 5003
    for marker in ("!", "WyIxIiwiMiJd", "W10", "MQ"):
        assert error(await fakts.ask("GET", "/v1/users", 400, params={"marker": marker})) == 5002
        assert (await fakts.ask("GET", "/admin/v1/keys", 400, params={"cursor": marker}))["code"] == 5002


async def test_administrators_make_administrators_but_never_end_the_last(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    assert (
        "last administrator"
        in (await fakts.ask("PATCH", "/admin/v1/users/admin", 409, json={"staff": False}))["detail"]
    )
    assert "last administrator" in (await fakts.ask("DELETE", "/v1/users/admin", 409))["error"]["message"]
    refused = await fakts.ask("POST", "/admin/v1/keys", 400, json={"owner": "jane", "label": "a", "admin": True})
    assert "no administrator" in refused["detail"]
    await fakts.ask("PATCH", "/admin/v1/users/jane", 200, json={"staff": True})
    janes = await fakts.key("jane", admin=True)
    await fakts.ask("GET", "/admin/v1/users", 200, headers={"authorization": janes})
    changed = await fakts.ask("PATCH", "/admin/v1/users/jane", 200, json={"staff": False, "session_limit": 5})
    assert (changed["staff"], changed["session_limit"]) == (False, 5)
    await fakts.refuses(janes)
    await fakts.ask("PATCH", "/admin/v1/users/nobody", 404, json={})
    await fakts.ask("PATCH", "/admin/v1/users/jane", 400, json={"session_limit": 0})


async def test_bodies_are_limited(fakts: RunningFakts) -> None:
    body = {"username": "jane", "email": "jane@example.org", "ignored": "x" * 300_000}
    assert "262144 bytes" in (await fakts.ask("POST", "/v1/users", 413, json=body))["error"]["message"]
    assert (await fakts.ask("PATCH", "/admin/v1/users/admin", 413, json=body))["status"] == 413
