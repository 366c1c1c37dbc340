"""What follows a push: one build of the new head of master, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

from sqlalchemy import func, select, update

from libs.common.db import now
from services.registry.models import Push
from tests.service.registry.conftest import Platform, Starter
from tests.support.eventually import eventually


async def pending(platform: Platform) -> int:
    async with platform.registry.database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(Push))).scalar_one()


async def test_a_push_to_master_starts_one_build_of_its_head(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    commits = [await clone.commit(f"note{n}") for n in range(3)]
    await clone.push()
    builds = await platform.builds()
    assert [build["commit_sha"] for build in builds] == [commits[-1]], "at once, and none of the commits between"
    assert builds[0]["status"] == "in-progress"
    assert await pending(platform) == 0


async def test_each_push_has_its_build(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    commits = []
    for n in range(2):
        commits.append(await clone.commit(f"note{n}"))
        await clone.push()
    assert [build["commit_sha"] for build in await platform.builds()] == commits[::-1]


async def test_pushing_nothing_new_builds_nothing(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    await clone.push()
    await clone.push("HEAD:other")
    assert await platform.builds() == []


async def test_master_may_be_brought_to_a_commit_that_another_branch_has(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    commit = await clone.commit()
    await clone.push("HEAD:side")
    assert await platform.builds() == []
    await clone.push("HEAD:master")
    assert [build["commit_sha"] for build in await platform.builds()] == [commit]


async def test_a_push_without_anything_to_build_is_a_build_that_a_worker_fails(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    await clone.git("rm", "-rq", ".")
    await clone.git("commit", "-q", "-m", "nothing left")
    await clone.push()
    spec = await platform.build(reason="src/hello.py is missing")
    assert spec.source
    [build] = await platform.builds()
    assert build["status"] == "failed"
    logs = await platform.ok("GET", f"/v1/algorithms/joe/hello/builds/{build['build_id']}/logs")
    assert "src/hello.py is missing" in logs["logs"]


async def test_concurrent_pushes_build_what_arrived(platform: Platform) -> None:
    created = await platform.create()
    clones = [await platform.clone().start() for _ in range(4)]
    commits = {await clone.commit(f"note{n}"): clone for n, clone in enumerate(clones)}
    results = await asyncio.gather(*(clone.attempt("push", "origin", "HEAD:master") for clone in clones))
    accepted = [commit for commit, (code, _) in zip(commits, results, strict=True) if code == 0]
    assert len(accepted) == 1, "none of the others knows the one that came first"
    assert [build["commit_sha"] for build in await platform.builds()] == accepted
    assert await platform.registry.repositories.head(UUID(created["id"])) == accepted[0]
    assert await pending(platform) == 0


async def test_concurrent_pushes_of_many_algorithms(platform: Platform) -> None:
    names = [f"algo{n}" for n in range(5)]
    await asyncio.gather(*(platform.create(name) for name in names))

    async def push(name: str) -> None:
        clone = await platform.clone(name).start()
        commit = await clone.commit()
        await clone.push()
        assert [build["commit_sha"] for build in await platform.builds(name)] == [commit]

    await asyncio.gather(*(push(name) for name in names))


class TestDeathInBetween:
    """The registry dies after git received a push, and before its build was requested."""

    async def arrive(self, platform: Platform) -> str:
        """Leave behind what a registry leaves that dies then: the row of the push, and the commit on disk."""
        created = await platform.ok("GET", "/v1/algorithms/joe/hello")
        registry, algorithm_id = platform.registry, UUID(created["id"])
        clone = await platform.clone().start()
        commit = await clone.commit()
        async with registry.database.transaction() as session:
            await registry.pushes.begin(session, algorithm_id, "joe")
        await clone.git("push", "-q", str(registry.repositories.path(algorithm_id).absolute()), "HEAD:master")
        return commit

    async def test_the_next_one_requests_the_build(self, start: Starter) -> None:
        async with start() as platform:
            await platform.create()
        async with start() as platform:
            commit = await self.arrive(platform)
        async with start() as platform:

            async def built() -> bool:
                return [build["commit_sha"] for build in await platform.builds()] == [commit]

            assert await eventually(built)
            await platform.registry.pushes.repair()
            assert await built(), "looking again changes nothing"

    async def test_a_row_that_is_left_ends_when_no_push_can_be_under_way(self, platform: Platform) -> None:
        created = await platform.create()
        await self.arrive(platform)
        pushes = platform.registry.pushes
        await pushes.repair()
        assert await pending(platform) == 1, "the push may still be under way"
        lock = platform.registry.repositories.path(UUID(created["id"])) / "refs/heads/master.lock"
        lock.touch()
        os.utime(lock, (0, 0))
        async with platform.registry.database.transaction() as session:
            await session.execute(update(Push).values(started_at=now().replace(year=2020)))
        await pushes.repair()
        assert await pending(platform) == 0
        assert not lock.exists(), "the lock of a git that was killed holds up nobody for ever"

    async def test_the_next_push_does_not_build_twice(self, platform: Platform) -> None:
        await platform.create()
        commit = await self.arrive(platform)
        clone = await platform.clone().start()
        later = await clone.commit("later")
        await clone.push()
        await platform.registry.pushes.repair()
        commits = [build["commit_sha"] for build in await platform.builds()]
        assert commits[0] == later
        assert commits[1:] in ([], [commit])
        assert len(commits) == len(set(commits))


async def test_a_push_to_an_algorithm_that_is_deleted_meanwhile_ends_quietly(platform: Platform) -> None:
    created = await platform.create()
    pushes, algorithm_id = platform.registry.pushes, UUID(created["id"])
    async with platform.registry.database.transaction() as session:
        push_id = await pushes.begin(session, algorithm_id, "joe")
    await platform.ask("DELETE", "/v1/algorithms/joe/hello")
    await pushes.settle(push_id, algorithm_id)
    assert await pending(platform) == 0
