"""Compiling on request."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import httpx
from sqlalchemy import update

from libs.common.db import now
from services.registry.models import Build
from tests.service.registry.conftest import Platform, Starter
from tests.support.eventually import eventually

PATH = "/v1/algorithms/joe/hello/compile"


async def test_it_answers_the_version_when_the_build_is_finished(platform: Platform) -> None:
    created = await platform.create()
    compiling = asyncio.create_task(platform.ok("POST", PATH, json={}))
    spec = await platform.build()
    answer = await compiling
    assert answer["version_info"] == {"git_hash": spec.commit, "version_uuid": str(spec.id)}
    assert answer["compilation"]["successful"] is True
    assert answer["build"]["status"] == "succeeded"
    assert answer["id"] == created["id"]
    assert answer["self_link"].endswith(f"/versions/{spec.commit}")


async def test_a_commit_that_is_built_is_not_built_again(platform: Platform) -> None:
    await platform.create()
    spec = await platform.built()
    for body in (b"{}", b""):
        answer = await platform.ok("POST", PATH, content=body)
        assert answer["version_info"]["git_hash"] == spec.commit
    assert len(await platform.builds()) == 1


async def test_it_waits_for_the_build_that_a_push_started(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    commit = await clone.commit()
    await clone.push()
    compiling = [asyncio.create_task(platform.ok("POST", PATH, json={})) for _ in range(3)]
    await platform.build()
    assert {(await one)["version_info"]["git_hash"] for one in compiling} == {commit}
    assert len(await platform.builds()) == 1


async def test_a_failed_build_is_told_with_the_end_of_its_log_and_not_repeated_at_once(platform: Platform) -> None:
    await platform.create()
    compiling = asyncio.create_task(platform.ask("POST", PATH, json={}))
    await platform.build(reason="no such package")
    first = await compiling
    second = await platform.ask("POST", PATH, json={})
    for answer in (first, second):
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (1010, "no such package\nbuilding")
    assert len(await platform.builds()) == 1, "the client's repetition builds nothing"


async def test_a_failed_commit_is_built_anew_later(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    await clone.commit()
    await clone.push()
    await platform.build(reason="the index was away")
    await _let_time_pass(platform)
    compiling = asyncio.create_task(platform.ok("POST", PATH, json={}))

    async def two() -> bool:
        return len(await platform.builds()) == 2

    await eventually(two)
    await platform.build()
    assert (await compiling)["compilation"]["successful"] is True


async def test_it_answers_in_time_and_the_build_goes_on(start: Starter) -> None:
    async with start(compile_seconds=0.3) as platform:
        await platform.create()
        assert await platform.refused("POST", PATH, json={}) == (504, 1010)
        await platform.build()
        assert (await platform.ok("POST", PATH, json={}))["compilation"]["successful"] is True


async def test_a_client_that_leaves_is_not_waited_for(platform: Platform) -> None:
    await platform.create()
    url = httpx.URL(platform.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    key = platform.keys["joe"]
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 0\r\n\r\n".encode())
    await writer.drain()
    build = await platform.waiting()
    watching = platform.registry.signals
    assert len(watching) == 1
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: len(watching) == 0)
    assert (await platform.claim(build["id"])).commit


async def test_deleting_the_algorithm_ends_the_wait(platform: Platform) -> None:
    await platform.create()
    compiling = asyncio.create_task(platform.refused("POST", PATH, json={}))
    await platform.waiting()
    await platform.ask("DELETE", "/v1/algorithms/joe/hello")
    assert await compiling == (400, 1010)


async def test_a_repository_without_a_commit_has_nothing_to_build(platform: Platform) -> None:
    created = await platform.create()
    repository = platform.registry.repositories.path(UUID(created["id"]))
    (repository / "refs/heads/master").unlink()
    assert await platform.refused("POST", PATH, json={}) == (400, 1010)


async def test_it_is_for_those_who_manage(platform: Platform) -> None:
    await platform.create()
    for who, expected in (("ann", (404, 1000)), ("joe_calls", (403, 2001))):
        assert await platform.refused("POST", PATH, who, json={}) == expected
    assert await platform.builds() == []


async def _let_time_pass(platform: Platform) -> None:
    """As if the last build had ended an hour ago."""
    async with platform.registry.database.transaction() as session:
        await session.execute(update(Build).values(finished_at=now() - timedelta(hours=1)))
