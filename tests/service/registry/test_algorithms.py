"""Algorithms through the management API."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from libs.common.contracts.catalog import Language, NetworkAccess
from services.registry import environments
from tests.service.registry.conftest import SETTINGS, Platform
from tests.support.eventually import eventually


async def test_a_new_algorithm_has_a_repository_with_its_template(platform: Platform) -> None:
    created = await platform.create("hello")
    assert (created["name"], created["resource_type"]) == ("hello", "algorithm")
    assert created["details"] == {"label": "hello"}
    assert SETTINGS.items() <= created["settings"].items()
    assert created["settings"]["algorithm_callability"] == "private"
    assert created["source"]["repository_https_url"] == f"{platform.url}/git/joe/hello.git"
    assert created["self_link"] == f"{platform.url}/v1/algorithms/joe/hello"
    clone = await platform.clone("hello").start()
    assert "hello {}" in (clone.folder / "src/hello.py").read_text()
    assert await platform.builds() == [], "creating builds nothing"


async def test_it_is_found_by_name_and_by_id(platform: Platform) -> None:
    created = await platform.create()
    assert await platform.ok("GET", "/v1/algorithms/joe/hello") == created
    assert await platform.ok("GET", f"/v1/algorithms/{created['id']}") == created


async def test_it_is_in_the_catalog_at_once(platform: Platform) -> None:
    created = await platform.create(network_access="isolated", scaling={"max_replicas": 9})
    entry = await platform.catalog(created["id"])
    assert entry is not None
    assert (entry.owner, entry.name, entry.revisions) == ("joe", "hello", ())
    assert (entry.network_access, entry.scaling.max_replicas) == (NetworkAccess.ISOLATED, 9)


async def test_what_cannot_be_is_refused_and_leaves_nothing(platform: Platform) -> None:
    changes: list[tuple[dict[str, Any], int]] = [
        ({"name": "1st"}, 6001),
        ({"name": "a" * 31}, 6001),
        ({"name": "a-b"}, 6001),
        ({"name": None}, 6001),
        ({"name": "nul\0"}, 6001),
        ({"details": {}}, 3005),
        ({"details": {"label": 5}}, 6001),
        ({"settings": {}}, 3005),
        ({"settings": {**SETTINGS, "license": "mit"}}, 6001),
        ({"settings": {**SETTINGS, "language": "java"}}, 4001),
        ({"settings": {**SETTINGS, "scaling": {"min_replicas": 5, "max_replicas": 1}}}, 6001),
        ({"source": {"scm": "github"}}, 4009),
    ]
    for change, code in changes:
        document = {"name": "hello", "details": {"label": "l"}, "settings": SETTINGS, **change}
        assert await platform.refused("POST", "/v1/algorithms/joe", json=document) == (400, code), change
    for body in (b"{", b"[]", b'"x"', b"\xff"):
        assert await platform.refused("POST", "/v1/algorithms/joe", content=body) == (400, 2013), body
    assert (await platform.ok("GET", "/v1/algorithms"))["results"] == []
    assert list((platform.folder / "data/git").glob("*.git")) == []


async def test_a_body_that_is_too_large_is_refused(platform: Platform) -> None:
    assert await platform.refused("POST", "/v1/algorithms/joe", content=b" " * (5 << 20)) == (413, 6001)


async def test_names_do_not_differ_by_case_alone(platform: Platform) -> None:
    await platform.create("hello")
    for name in ("hello", "HELLO", "Hello"):
        document = {"name": name, "details": {"label": "l"}, "settings": SETTINGS}
        assert await platform.refused("POST", "/v1/algorithms/joe", json=document) == (409, 1002)
    assert (await platform.create("hello", "acme"))["name"] == "hello"


async def test_of_many_at_once_one_gets_the_name(platform: Platform) -> None:
    document = {"name": "hello", "details": {"label": "l"}, "settings": SETTINGS}
    answers = await asyncio.gather(*(platform.ask("POST", "/v1/algorithms/joe", json=document) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert len(list((platform.folder / "data/git").glob("*.git"))) == 1


async def test_an_environment_may_choose_the_language(platform: Platform) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name not in ("language", "environment")}
    chosen = str(environments.environment_id(Language.JAVASCRIPT))
    document = {
        "name": "js",
        "details": {"label": "l"},
        "settings": {**settings, "algorithm_environment": chosen},
    }
    created = await platform.ok("POST", "/v1/algorithms/joe", json=document)
    assert created["settings"]["algorithm_environment"] == chosen
    assert "exports.apply" in ((await platform.clone("js").start()).folder / "src/js.js").read_text()


async def test_who_may_create_for_whom(platform: Platform) -> None:
    await platform.create("one", "acme", "joe")
    await platform.create("two", "acme", "eve")
    await platform.create("three", "ann", "root")
    document = {"name": "four", "details": {"label": "l"}, "settings": SETTINGS}
    for owner, who in (("acme", "max"), ("acme", "ann"), ("joe", "ann"), ("nobody", "ann"), ("joe", "joe_calls")):
        assert await platform.refused("POST", f"/v1/algorithms/{owner}", who, json=document) == (403, 2001)
    assert await platform.refused("POST", "/v1/algorithms/nobody", "root", json=document) == (404, 3000)


async def test_an_account_that_is_a_moment_old_may_own_algorithms(platform: Platform) -> None:
    platform.fakts.add_account("new")
    await platform.create("hello", "new", "root")


async def test_an_absent_algorithm_answers_as_published_clients_expect(platform: Platform) -> None:
    for path in ("joe/absent", "nobody/hello", "hello/errors", "00000000-0000-0000-0000-000000000000", "a-b/c%01"):
        answer = await platform.ask("GET", f"/v1/algorithms/{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": "No such algorithm"})
    assert await platform.refused("GET", "/v1/algorithms/joe/absent/builds") == (404, 1000)


class TestUpdate:
    async def test_json_changes_what_it_names(self, platform: Platform) -> None:
        created = await platform.create()
        document = {
            "details": {"tagline": "new"},
            "settings": {"license": "apl", "network_access": "isolated", "scaling": {"concurrency": 3}},
        }
        answer = await platform.ok("PUT", "/v1/algorithms/joe/hello", json=document)
        assert answer["details"] == {"label": "hello", "tagline": "new"}
        assert answer["settings"]["network_access"] == "isolated"
        assert answer["settings"]["scaling"] == {**created["settings"]["scaling"], "concurrency": 3}
        assert await platform.ok("GET", "/v1/algorithms/joe/hello") == answer
        entry = await platform.catalog(created["id"])
        assert entry is not None
        assert (entry.network_access, entry.scaling.concurrency) == ("isolated", 3)

    async def test_a_form_without_values_changes_nothing(self, platform: Platform) -> None:
        created = await platform.create()
        form = {"details": ["label"], "settings": ["license"], "version_info": [], "source": []}
        assert await platform.ok("PUT", "/v1/algorithms/joe/hello", data=form) == created

    async def test_json_is_read_whatever_type_it_claims(self, platform: Platform) -> None:
        await platform.create()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await platform.ok(
            "PUT", "/v1/algorithms/joe/hello", content='{"details": {"label": "curl"}}', headers=headers
        )
        assert answer["details"]["label"] == "curl"

    async def test_what_cannot_be_is_refused(self, platform: Platform) -> None:
        created = await platform.create()
        for document in ({"settings": {"license": "mit"}}, {"details": {"label": ""}}):
            assert (await platform.refused("PUT", "/v1/algorithms/joe/hello", json=document))[0] == 400
        assert await platform.ok("GET", "/v1/algorithms/joe/hello") == created

    async def test_administrators_change_scaling_by_itself(self, platform: Platform) -> None:
        created = await platform.create()
        path = f"/admin/v1/algorithms/{created['id']}"
        answer = await platform.ok("PATCH", path, "root", json={"scaling": {"min_replicas": 1}})
        assert answer["settings"]["scaling"]["min_replicas"] == 1
        entry = await platform.catalog(created["id"])
        assert entry is not None
        assert entry.scaling.min_replicas == 1
        problem = await platform.ask("PATCH", path, "root", json={"scaling": {"min_replica": 1}})
        assert problem.status_code == 400
        assert problem.headers["content-type"] == "application/problem+json"
        assert "scaling.min_replica" in problem.json()["detail"]

    async def test_the_sample_input_is_that_of_the_next_version(self, platform: Platform) -> None:
        await platform.create()
        await platform.ok("PUT", "/v1/algorithms/joe/hello", json={"version_info": {"sample_input": "Mia"}})
        await platform.built()
        assert (await platform.publish())["version_info"]["sample_input"] == "Mia"

    async def test_the_administrators_view_has_the_newest_version(self, platform: Platform) -> None:
        created = await platform.create()
        path = f"/admin/v1/algorithms/{created['id']}"
        assert await platform.ok("GET", path, "root") == created
        await platform.built()
        await platform.publish(callability="public")
        assert (await platform.ok("GET", path))["version_info"]["semantic_version"] == "0.1.0"
        assert await platform.refused("GET", path, "ann") == (404, 1000)
        assert await platform.refused("PATCH", path, "ann", json={"scaling": {}}) == (403, 2001)

    async def test_others_may_not(self, platform: Platform) -> None:
        await platform.create("hello", "acme")
        for who, expected in (("ann", (404, 1000)), ("max", (403, 2001)), ("joe_calls", (403, 2001))):
            assert await platform.refused("PUT", "/v1/algorithms/acme/hello", who, json={}) == expected
            assert await platform.refused("DELETE", "/v1/algorithms/acme/hello", who) == expected


class TestDeletion:
    async def test_it_leaves_the_catalog_at_once_and_its_repository_moves_aside(self, platform: Platform) -> None:
        created = await platform.create()
        await platform.built()
        answer = await platform.ask("DELETE", "/v1/algorithms/joe/hello")
        assert (answer.status_code, answer.reason_phrase, answer.content) == (204, "No Content", b"")
        assert await platform.catalog(created["id"]) is None
        assert (await platform.ask("GET", "/v1/algorithms/joe/hello")).status_code == 404
        removed = platform.folder / "data/git/.removed"
        assert [path.name.startswith(created["id"]) for path in removed.iterdir()] == [True]
        assert not (platform.folder / f"data/git/{created['id']}.git").exists()

    async def test_the_name_is_free_again_for_another_algorithm(self, platform: Platform) -> None:
        first = await platform.create()
        await platform.ask("DELETE", "/v1/algorithms/joe/hello")
        second = await platform.create()
        assert first["id"] != second["id"]
        assert await platform.builds() == []

    async def test_a_public_one_is_for_administrators(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        await platform.publish(callability="public")
        assert await platform.refused("DELETE", "/v1/algorithms/joe/hello") == (403, 2001)
        assert (await platform.ask("DELETE", "/v1/algorithms/joe/hello", "root")).status_code == 204

    async def test_repositories_without_an_algorithm_are_swept_aside(self, platform: Platform) -> None:
        created = await platform.create()
        stray = platform.folder / "data/git/0b7c9f2e-1111-4222-8333-444455556666.git"
        stray.mkdir()
        sweep = platform.registry.algorithms.sweep
        await sweep()
        assert stray.exists(), "it may be the repository of an algorithm that is being created"
        for path in (stray, platform.registry.repositories.path(UUID(created["id"]))):
            os.utime(path, (0, 0))
        await sweep()
        assert not stray.exists()
        assert (await platform.clone().start()).folder.exists(), "that of an algorithm stays"


class TestVisibility:
    async def test_others_see_only_what_is_published_publicly(self, platform: Platform) -> None:
        for name in ("hidden", "private", "public"):
            await platform.create(name)
        for name in ("private", "public"):
            await platform.built(name)
            await platform.publish(name, callability=name)
        for who in ("ann", "eve"):
            assert (await platform.ask("GET", "/v1/algorithms/joe/hidden", who)).status_code == 404
            assert (await platform.ask("GET", "/v1/algorithms/joe/private", who)).status_code == 404
            seen = await platform.ok("GET", "/v1/algorithms/joe/public", who)
            assert seen["version_info"]["semantic_version"] == "0.1.0"
            assert "build" not in seen
            assert await platform.refused("GET", "/v1/algorithms/joe/public/builds", who) == (404, 1000)
            assert await platform.refused("GET", "/v1/algorithms/joe/public/secrets", who) == (403, 2001)
            names = [one["name"] for one in (await platform.ok("GET", "/v1/users/joe/algorithms", who))["results"]]
            assert names == ["public"]

    async def test_members_and_administrators_see_what_is_theirs(self, platform: Platform) -> None:
        await platform.create("hello", "acme")
        await platform.create("other", "joe")
        for who, names in (("max", ["acme/hello"]), ("ann", []), ("root", ["acme/hello", "joe/other"])):
            listed = (await platform.ok("GET", "/v1/algorithms", who))["results"]
            assert [f"{one['owner']}/{one['name']}" for one in listed] == names
            listed = (await platform.ok("GET", "/admin/v1/algorithms", who))["items"]
            assert [f"{one['owner']}/{one['name']}" for one in listed] == names

    async def test_a_membership_that_ends_ends_what_is_seen(self, platform: Platform) -> None:
        await platform.create("hello", "acme")
        assert (await platform.ask("GET", "/v1/algorithms/acme/hello", "eve")).status_code == 200
        platform.fakts.add_account("eve")

        async def hidden() -> bool:
            return (await platform.ask("GET", "/v1/algorithms/acme/hello", "eve")).status_code == 404

        assert await eventually(hidden)


class TestLists:
    async def test_pages_follow_one_another(self, platform: Platform) -> None:
        names = [f"algo{n}" for n in range(5)]
        await asyncio.gather(*(platform.create(name) for name in names))
        seen: list[str] = []
        path: str | None = "/v1/users/joe/algorithms?limit=2"
        while path:
            page = await platform.ok("GET", path)
            seen += [one["name"] for one in page["results"]]
            link = page["next_link"]
            assert (link is None) == (page["marker"] is None)
            path = link and f"{urlsplit(link).path}?{urlsplit(link).query}"
        assert seen == names

    async def test_a_name_that_nobody_can_have_has_none(self, platform: Platform) -> None:
        assert (await platform.ok("GET", "/v1/users/nobody/algorithms"))["results"] == []
        assert await platform.refused("GET", "/v1/users/a%01b/algorithms") == (404, 3000)

    async def test_administrators_search(self, platform: Platform) -> None:
        for owner, name in (("joe", "Wordstats"), ("acme", "words"), ("joe", "echo")):
            await platform.create(name, owner)
        found = await platform.ok("GET", "/admin/v1/algorithms?q=WORD&limit=1", "root")
        assert [one["name"] for one in found["items"]] == ["words"]
        found = await platform.ok("GET", f"/admin/v1/algorithms?q=WORD&cursor={found['cursor']}", "root")
        assert ([one["name"] for one in found["items"]], found["cursor"]) == (["Wordstats"], None)
        found = await platform.ok("GET", "/admin/v1/algorithms?owner=acme", "root")
        assert [one["name"] for one in found["items"]] == ["words"]

    async def test_a_bad_page_is_refused_with_its_code(self, platform: Platform) -> None:
        for query, code in (("limit=0", 5003), ("limit=x", 5003), ("marker=x", 5002), ("marker=WzFd", 5002)):
            assert await platform.refused("GET", f"/v1/algorithms?{query}") == (400, code)


async def test_commits_are_listed_newest_first(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    first = await clone.git("rev-parse", "HEAD")
    commits = [await clone.commit("note", "first\n"), await clone.commit("note", "second\n")]
    await clone.push()
    found = (await platform.ok("GET", "/v1/algorithms/joe/hello/log"))["commits"]
    assert [one["id"] for one in found] == [*reversed(commits), first]
    assert found[0] == {"id": commits[1], "short_message": "change note", "message": "change note", "author": "joe"}
    found = await platform.ok("GET", f"/v1/algorithms/joe/hello/log?since={first}&until={commits[0]}")
    assert [one["id"] for one in found["commits"]] == [commits[0]]
    for bad in ("since=--all", "until=HEAD~1", f"since={'f' * 40}"):
        assert await platform.refused("GET", f"/v1/algorithms/joe/hello/log?{bad}") == (400, 6001)


async def test_the_state_of_its_source_code_manager(platform: Platform) -> None:
    await platform.create()
    status = await platform.ok("GET", "/v1/algorithms/joe/hello/scm/status")
    assert status == {"scm_connection_status": "active"}
