"""Publishing, and reading what is published."""

from __future__ import annotations

import asyncio
from typing import Any

from libs.common.contracts.catalog import Callability
from tests.service.registry.conftest import CALL_ONLY, Platform

VERSIONS = "/v1/algorithms/joe/hello/versions"


async def another(platform: Platform, name: str = "hello", owner: str = "joe") -> str:
    """One more commit, built; its hash."""
    clone = await platform.clone(name, owner, "joe").start()
    commit = await clone.commit("note", str(len(await platform.builds(name, owner))))
    await clone.push()
    await platform.build(name, owner)
    return commit


class TestPublishing:
    async def test_the_newest_successful_build_gets_the_next_number(self, platform: Platform) -> None:
        created = await platform.create()
        spec = await platform.built()
        answer = await platform.publish(version_type="minor", release_notes="first", sample_input="Mia")
        info = answer["version_info"]
        assert (info["semantic_version"], info["git_hash"]) == ("0.1.0", spec.commit)
        assert (info["release_notes"], info["sample_input"], info["version_uuid"]) == ("first", "Mia", str(spec.id))
        assert answer["build"]["version_info"] == {"semantic_version": "0.1.0"}
        entry = await platform.catalog(created["id"])
        assert entry is not None
        assert [(one.version, one.callability) for one in entry.revisions] == [("0.1.0", Callability.PRIVATE)]

    async def test_numbers_by_type(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        numbers = []
        for said in ({}, {"version_type": "revision"}, {"version_type": "patch"}, {"version_type": "major"}, {}):
            numbers.append((await platform.publish(**said))["version_info"]["semantic_version"])
            await another(platform)
        assert numbers == ["0.1.0", "0.1.1", "0.1.2", "1.0.0", "1.1.0"]

    async def test_a_build_is_published_once(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        await platform.publish()
        document: dict[str, Any] = {"details": {"label": "other"}}
        for _ in range(2):
            assert await platform.refused("POST", VERSIONS, json=document) == (409, 1007)
        row = await platform.ok("GET", "/v1/algorithms/joe/hello")
        assert row["details"]["label"] == "hello", "a refused publication changes nothing"

    async def test_of_many_at_once_one_publishes(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        answers = await asyncio.gather(*(platform.ask("POST", VERSIONS, json={}) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]

    async def test_without_a_successful_build_there_is_nothing_to_publish(self, platform: Platform) -> None:
        await platform.create()
        assert await platform.refused("POST", VERSIONS, json={}) == (400, 1010)
        clone = await platform.clone().start()
        await clone.commit()
        await clone.push()
        await platform.build(reason="broken")
        assert await platform.refused("POST", VERSIONS, json={}) == (400, 1010)

    async def test_a_later_failure_leaves_the_last_success_to_be_published(self, platform: Platform) -> None:
        await platform.create()
        spec = await platform.built()
        clone = await platform.clone().start()
        await clone.commit()
        await clone.push()
        await platform.build(reason="broken")
        assert (await platform.publish())["version_info"]["git_hash"] == spec.commit

    async def test_a_major_keeps_its_callability(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        await platform.publish(callability="private")
        await another(platform)
        document = {"settings": {"algorithm_callability": "public"}, "version_info": {"version_type": "minor"}}
        assert await platform.refused("POST", VERSIONS, json=document) == (400, 6001)
        document["version_info"] = {"version_type": "major"}
        answer = await platform.ok("POST", VERSIONS, json=document)
        assert answer["version_info"]["semantic_version"] == "1.0.0"
        assert answer["settings"]["algorithm_callability"] == "public"
        await another(platform)
        answer = await platform.publish(callability=None, version_type="revision")
        assert answer["settings"]["algorithm_callability"] == "public"

    async def test_what_cannot_be_is_refused(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        for document in (
            {"version_info": {"version_type": "huge"}},
            {"settings": {"algorithm_callability": "secret"}},
            {"settings": {"license": "mit"}},
            {"details": {"label": ""}},
            {"version_info": {"release_notes": 5}},
        ):
            assert (await platform.refused("POST", VERSIONS, json=document))[0] == 400
        assert (await platform.ok("GET", f"{VERSIONS}?published=true"))["results"] == []

    async def test_settings_and_label_of_the_publication_are_the_algorithms(self, platform: Platform) -> None:
        created = await platform.create()
        await platform.built()
        document = {
            "details": {"label": "Hello!"},
            "settings": {"network_access": "isolated", "pipeline_enabled": False},
        }
        answer = await platform.ok("POST", VERSIONS.removesuffix("s"), json=document)
        assert answer["details"]["label"] == "Hello!"
        entry = await platform.catalog(created["id"])
        assert entry is not None
        assert (entry.network_access, entry.pipeline_enabled) == ("isolated", False)

    async def test_an_organization_publishes_publicly_through_its_owners(self, platform: Platform) -> None:
        await platform.create("hello", "acme")
        await platform.built("hello", "acme")
        path = "/v1/algorithms/acme/hello/versions"
        public = {"settings": {"algorithm_callability": "public"}}
        assert await platform.refused("POST", path, "eve", json=public) == (403, 2001)
        assert await platform.refused("POST", path, "max", json={}) == (403, 2001)
        assert await platform.refused("POST", path, "ann", json={}) == (404, 1000)
        assert (await platform.publish("hello", "acme", "eve"))["version_info"]["semantic_version"] == "0.1.0"
        await another(platform, "hello", "acme")
        public["version_info"] = {"version_type": "major"}
        answer = await platform.ok("POST", path, "joe", json=public)
        assert answer["settings"]["algorithm_callability"] == "public"

    async def test_a_key_must_allow_it(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        assert await platform.refused("POST", VERSIONS, "joe_calls", json={}) == (403, 2001)
        assert not CALL_ONLY.allow_algo_management


class TestReading:
    async def prepared(self, platform: Platform) -> list[str]:
        """0.1.0 private, 1.0.0 public, and one commit that is not published."""
        await platform.create()
        commits = [(await platform.built()).commit]
        await platform.publish(callability="private")
        commits.append(await another(platform))
        await platform.publish(callability="public", version_type="major")
        commits.append(await another(platform))
        return commits

    async def test_lists_are_newest_first_and_filtered(self, platform: Platform) -> None:
        private, public, unpublished = await self.prepared(platform)
        for query, who, commits in (
            ("", "joe", [unpublished, public, private]),
            ("published=true", "joe", [public, private]),
            ("published=false", "joe", [unpublished]),
            ("callable=true", "joe", [public]),
            ("callable=false", "joe", [unpublished, private]),
            ("published=true&callable=false", "joe", [private]),
            ("", "max", None),
            ("", "ann", [public]),
            ("published=true&callable=true", "ann", [public]),
            ("published=false", "ann", []),
            ("callable=false", "ann", []),
            ("", "root", [unpublished, public, private]),
        ):
            listed = await platform.ok("GET", f"{VERSIONS}?{query}", who)
            found = [one["version_info"]["git_hash"] for one in listed["results"]]
            assert found == (commits if commits is not None else [public]), (query, who)
            assert listed["marker"] is None
        assert await platform.refused("GET", f"{VERSIONS}?published=maybe") == (400, 6001)
        page = await platform.ok("GET", f"{VERSIONS}?limit=1&published=true")
        rest = await platform.ok("GET", f"{VERSIONS}?limit=1&published=true&marker={page['marker']}")
        assert [one["version_info"]["git_hash"] for one in (*page["results"], *rest["results"])] == [public, private]
        assert rest["marker"] is None

    async def test_one_by_hash_or_number(self, platform: Platform) -> None:
        private, public, unpublished = await self.prepared(platform)
        created = await platform.ok("GET", "/v1/algorithms/joe/hello")
        assert created["version_info"]["semantic_version"] == "1.0.0", "the newest published one"
        for text, commit in (
            (private, private),
            (public.upper(), public),
            (unpublished, unpublished),
            ("0.1.0", private),
            ("1.0.0", public),
        ):
            for path in (VERSIONS, VERSIONS.removesuffix("s"), f"/v1/algorithms/{created['id']}/versions"):
                found = await platform.ok("GET", f"{path}/{text}")
                assert found["version_info"]["git_hash"] == commit
        assert "semantic_version" not in (await platform.ok("GET", f"{VERSIONS}/{unpublished}"))["version_info"]
        for text in ("2.0.0", "1.0", "f" * 40, "latest"):
            assert await platform.refused("GET", f"{VERSIONS}/{text}") == (404, 1014)

    async def test_others_read_public_versions_only(self, platform: Platform) -> None:
        private, public, unpublished = await self.prepared(platform)
        for text in ("1.0.0", public):
            found = await platform.ok("GET", f"{VERSIONS}/{text}", "ann")
            assert found["version_info"]["semantic_version"] == "1.0.0"
            assert "build" not in found
        for text in ("0.1.0", private, unpublished):
            assert await platform.refused("GET", f"{VERSIONS}/{text}", "ann") == (404, 1014)
        await platform.create("hidden")
        assert await platform.refused("GET", "/v1/algorithms/joe/hidden/versions", "ann") == (404, 1000)

    async def test_a_failed_commit_says_so(self, platform: Platform) -> None:
        await platform.create()
        clone = await platform.clone().start()
        commit = await clone.commit()
        await clone.push()
        assert await platform.refused("GET", f"{VERSIONS}/{commit}") == (404, 1014)
        await platform.build(reason="no such package")
        found = await platform.ok("GET", f"{VERSIONS}/{commit}")
        assert found["compilation"] == {"successful": False, "output": "no such package"}
        assert (await platform.ok("GET", VERSIONS))["results"] == []
