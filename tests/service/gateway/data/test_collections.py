"""Collections: made, listed, removed, and who may do that."""

from __future__ import annotations

from libs.common.contracts.identity import AccountKind, Role
from tests.service.gateway.data.world import Hosted, call_token

PUBLIC, PRIVATE = ["user://*"], list[str]()


async def test_collections_are_made_listed_by_pages_and_removed(hosted: Hosted) -> None:
    root = await hosted.ask("GET", "")
    assert (root.json(), root.headers["x-data-type"]) == ({"folders": [{"name": "joe"}]}, "directory")
    assert (await hosted.ask("GET", ".my")).content == b"{}"
    await hosted.ask("POST", ".my", content=b"bare", headers={"content-type": "text/plain"})
    for name in ("a", "b", "D", "c"):
        await hosted.make(name)
    exists = await hosted.ask("POST", ".my", 409, json={"name": "a"})
    assert "data://joe/a already" in exists.json()["error"]["message"]
    for body in ({"name": "a-b"}, {"name": 1}, {}, {"name": "x", "acl": {"read": ["user://joe"]}}):
        await hosted.ask("POST", ".my", 400, json=body)
    for parent in ("", ".my/a", ".session"):
        await hosted.ask("POST", parent, 404 if parent == ".session" else 400, json={"name": "x"})
    names, marker = [], ""
    while True:
        page = (await hosted.ask("GET", ".my", params={"marker": marker})).json()
        names += [folder["name"] for folder in page["folders"]]
        if not (marker := page.get("marker", "")):
            break
        assert len(page["folders"]) == 3
    assert names == ["D", "a", "b", "bare", "c"]
    for name in ("1", "2", "é", "4"):
        await hosted.ask("PUT", f".my/a/{name}", content=b"x")
    first = (await hosted.ask("GET", ".my/a")).json()
    rest = (await hosted.ask("GET", ".my/a", params={"marker": first["marker"]})).json()
    assert [[file["filename"] for file in page["files"]] for page in (first, rest)] == [["1", "2", "4"], ["é"]]
    assert "marker" not in rest
    assert (await hosted.ask("GET", ".my/a", 400, params={"marker": "%"})).json()["error"]["code"] == 5002
    full = await hosted.ask("DELETE", ".my/a", 409)
    assert "not empty" in full.json()["error"]["message"]
    assert (await hosted.ask("DELETE", ".my/a?force=true")).json() == {"result": {"deleted": 5}}
    assert (await hosted.ask("DELETE", ".my/b")).json() == {"result": {"deleted": 1}}
    for path in (".my/a", ".my/a/1", ".my/b"):
        await hosted.ask("GET", path, 404)
    await hosted.ask("DELETE", ".my", 400)
    own = (await hosted.ask("GET", "/v1/hostedData")).json()["result"]
    assert [(one["collection_name"], one["username"], one["location"]) for one in own] == [
        (name, "joe", f"data://joe/{name}") for name in ("D", "bare", "c")
    ]
    assert own[0]["acl"] == {"read_w": False, "read_g": False, "read_u": True, "read_a": True}


async def test_a_list_opens_a_collection_and_what_is_closed_is_not_there(hosted: Hosted) -> None:
    fakts = hosted.platform.fakts
    fakts.add_account("mia")
    mia = hosted.key("mia")
    for name, readers in (("private", PRIVATE), ("default", None), ("public", PUBLIC)):
        await hosted.make(name, readers)
        await hosted.ask("PUT", f".my/{name}/f", content=name.encode())
    listed = (await hosted.ask("GET", ".my/default", params={"acl": "true"})).json()
    assert listed["acl"] == {"read": ["algo://.my/*"]}
    assert "acl" not in (await hosted.ask("GET", ".my/default")).json()

    as_mia = call_token(hosted.platform, "mia")
    assert (await hosted.ask("GET", "joe", key=mia)).json() == {"folders": [{"name": "public"}]}
    seen = (await hosted.ask("GET", "joe", key=as_mia)).json()
    assert seen == {"folders": [{"name": "default"}, {"name": "public"}]}
    for key, statuses in ((mia, (404, 404, 200)), (as_mia, (404, 200, 200))):
        for name, status in zip(("private", "default", "public"), statuses, strict=True):
            for method in ("GET", "HEAD"):
                await hosted.ask(method, f"joe/{name}/f", status, key=key)
            await hosted.ask("GET", f"joe/{name}", status, key=key)
            refused = 403 if status == 200 else 404
            await hosted.ask("PUT", f"joe/{name}/f", refused, key=key, content=b"mia's")
            await hosted.ask("DELETE", f"joe/{name}/f", refused, key=key)
            await hosted.ask("DELETE", f"joe/{name}?force=true", refused, key=key)
            await hosted.ask("PATCH", f"joe/{name}", refused, key=key, json={"acl": {"read": PUBLIC}})
    await hosted.ask("POST", "joe", 404, key=mia, json={"name": "mias"})
    for path in ("nobody", "nobody/c", "nobody/c/f", "mia/absent"):
        await hosted.ask("GET", path, 404)

    changed = await hosted.ask("PATCH", ".my/public", json={"acl": {"read": PRIVATE}})
    assert changed.content == b""
    await hosted.ask("GET", "joe/public/f", 404, key=mia)
    await hosted.ask("GET", "joe", 404, key=mia)
    await hosted.ask("PATCH", ".my/public", 400, json={"acl": {"read": ["user://mia"]}})
    await hosted.ask("PATCH", ".my/public/f", 400, json={"acl": {"read": PUBLIC}})

    # An account that is made later under the same name has nothing of it.
    await hosted.make("old", key=mia)
    fakts.remove_account("mia")
    fakts.accounts.pop("mia", None)
    fakts.add_account("mia")
    assert (await hosted.ask("GET", ".my", key=hosted.key("mia"))).json() == {}


async def test_a_key_reads_and_writes_what_it_allows_and_so_do_algorithms_called_with_it(hosted: Hosted) -> None:
    fakts, platform = hosted.platform.fakts, hosted.platform
    await hosted.make("c", PRIVATE)
    await hosted.ask("PUT", ".my/c/f", content=b"x")
    replica = await platform.routed()
    for allows, read, write in (("rw", 200, 200), ("w", 200, 200), ("r", 200, 403), ("", 403, 403)):
        key = hosted.key("joe", allows)
        assert (await platform.call(key=key)).status == 200
        for credential in (key, replica.calls[-1].headers["x-caller"]):
            await hosted.ask("GET", ".my/c/f", read, key=credential)
            await hosted.ask("PUT", ".my/c/f", write, key=credential, content=b"x")
            await hosted.ask("GET", "", key=credential)
    unknown = await hosted.ask("GET", ".my", 401, key="simAAAAAAAAAAAAAAAAAAAAAAAA1")
    assert "not known" in unknown.headers["x-error-message"]
    nobody = await hosted.http.get(f"{platform.url}/v1/data/.my")
    assert (nobody.status_code, nobody.json()["error"]["message"]) == (401, "authorization required")
    await hosted.ask("GET", ".my", 403, key=f"Bearer {fakts.service_token('registry')}")
    await hosted.ask("GET", ".my/c/f", key=f"Bearer {fakts.user_token('joe')}")


async def test_what_is_an_organizations_is_its_members(hosted: Hosted) -> None:
    fakts = hosted.platform.fakts
    fakts.add_account("lab", kind=AccountKind.ORGANIZATION)
    keys = {}
    for name, role in (("ola", Role.OWNER), ("mel", Role.MEMBER), ("exe", Role.EXECUTOR)):
        fakts.add_account(name, organizations={"lab": role})
        keys[name] = hosted.key(name)
    await hosted.make("c", PRIVATE, parent="lab", key=keys["ola"])
    await hosted.make("d", PRIVATE, parent="lab", key=keys["mel"])
    await hosted.ask("POST", "lab", 403, key=keys["exe"], json={"name": "e"})
    for name, key in keys.items():
        write = 403 if name == "exe" else 200
        await hosted.ask("PUT", "lab/c/f", write, key=key, content=name.encode())
        assert (await hosted.ask("GET", "lab/c/f", key=key)).status_code == 200
        assert (await hosted.ask("GET", "lab", key=key)).json() == {"folders": [{"name": "c"}, {"name": "d"}]}
        assert (await hosted.ask("GET", "", key=key)).json() == {"folders": [{"name": name}, {"name": "lab"}]}
    for path in ("lab", "lab/c", "lab/c/f"):
        await hosted.ask("GET", path, 404)
    assert (await hosted.ask("GET", ".my/c/f", key=hosted.key("lab"))).text == "mel"
