"""What the platform's own services ask: blobs and the catalog feed, through their typed clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.clients.feeds import FeedClient
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.builds import BuildLog, BuildResult
from libs.common.contracts.catalog import Artifact, CatalogEntry
from libs.common.feed import FeedFollower
from libs.common.join import Membership, membership
from libs.common.loops import tasks
from libs.common.problems import Conflict, Invalid, NotFound
from tests.service.registry.conftest import Platform, Starter
from tests.support.eventually import eventually


@asynccontextmanager
async def member(platform: Platform, service: str) -> AsyncIterator[tuple[httpx.AsyncClient, Membership]]:
    """A service that joined and knows the registry."""
    async with (
        httpx.AsyncClient(timeout=60) as http,
        membership(
            http,
            fakts_url=platform.fakts.url,
            token=platform.fakts.join_token,
            identifier=f"constellation.{service}",
            version="1",
            requires=("registry",),
        ) as joined,
    ):
        await joined.offer()
        await joined.wait_for("registry")
        yield http, joined


async def test_a_worker_builds_through_its_client(platform: Platform, tmp_path: Path) -> None:
    await platform.create()
    compiling = asyncio.create_task(platform.ok("POST", "/v1/algorithms/joe/hello/compile", json={}))
    build = await platform.waiting()
    lock = tmp_path / "lock"
    lock.write_bytes(os.urandom(3 << 20))
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    async with member(platform, "worker") as (http, joined):
        client = RegistryClient(http, joined)
        spec = await client.claim_build(build["id"], "w1")
        with pytest.raises(Conflict):
            await client.claim_build(build["id"], "w2")
        source = b"".join([chunk async for chunk in client.read_blob(spec.source)])
        assert hashlib.sha256(source).hexdigest() == spec.source
        await client.append_build_log(spec.id, BuildLog(lease_token=spec.lease_token, offset=0, text="hi"))
        with pytest.raises(Conflict):
            await client.append_build_log(spec.id, BuildLog(lease_token="stale", offset=2, text="x"))
        await client.write_blob(digest, lock)
        await client.write_blob(digest, lock)
        assert b"".join([chunk async for chunk in client.read_blob(digest)]) == lock.read_bytes()
        artifact = Artifact(source=spec.source, lock=digest, digest="d")
        await client.finish_build(
            spec.id, BuildResult(lease_token=spec.lease_token, succeeded=True, artifact=artifact)
        )
        assert (await compiling)["compilation"]["successful"] is True
        assert await client.environment(spec.id) == {}
        with pytest.raises(Invalid):
            await client.write_blob("0" * 64, lock)
        for absent in ("0" * 64, "../../etc/passwd", "x"):
            with pytest.raises(NotFound):
                [chunk async for chunk in client.read_blob(absent)]


async def test_without_a_secrets_key_it_does_not_start(start: Starter, platform: Platform) -> None:
    platform.fakts.configure("registry", database_url=str(platform.registry.database.engine.url), secrets_key=None)
    with pytest.raises(RuntimeError):
        async with start():
            pass


async def test_a_blob_over_the_limit_is_refused(start: Starter) -> None:
    async with start(blob_limit_mib=1) as platform:
        answer = await platform.ask("PUT", f"/internal/blobs/{'0' * 64}", "@worker", content=b"x" * (2 << 20))
        assert answer.status_code == 413
        assert list((platform.folder / "data/blobs").rglob("*")) == []


async def test_a_blob_is_named_by_its_digest(platform: Platform) -> None:
    for name in ("0", "0" * 64):
        answer = await platform.ask("PUT", f"/internal/blobs/{name}", "@worker", content=b"x")
        assert answer.status_code == 400
        assert "digest" in answer.json()["detail"]


async def test_followers_of_the_catalog_see_changes_at_once(platform: Platform) -> None:
    seen: dict[str, CatalogEntry | None] = {}

    def apply(key: str, body: dict[str, Any] | None) -> None:
        seen[key] = CatalogEntry.model_validate(body) if body else None

    async with member(platform, "gateway") as (http, joined):
        follower = FeedFollower("catalog", FeedClient(http, joined, "registry", "catalog").fetch, apply)
        async with tasks(follower.run()):
            created = await platform.create()
            spec = await platform.built()
            await platform.publish(callability="public")

            def published() -> bool:
                entry = seen.get(created["id"])
                return bool(entry and [one.version for one in entry.revisions] == ["0.1.0"])

            await eventually(published)
            entry = seen[created["id"]]
            assert entry is not None
            assert entry.revisions[0].id == spec.id
            await platform.ask("DELETE", "/v1/algorithms/joe/hello", "root")
            await eventually(lambda: seen[created["id"]] is None)


async def test_changes_of_many_algorithms_at_once_all_arrive(platform: Platform) -> None:
    created = await asyncio.gather(*(platform.create(f"algo{n}") for n in range(8)))
    changes = [
        platform.ok("PATCH", f"/admin/v1/algorithms/{one['id']}", json={"scaling": {"max_replicas": n + 1}})
        for one in created
        for n in range(4)
    ]
    await asyncio.gather(*changes)
    for one in created:
        entry = await platform.catalog(one["id"])
        row = await platform.ok("GET", f"/v1/algorithms/{one['id']}")
        assert entry is not None
        assert entry.scaling.max_replicas == row["settings"]["scaling"]["max_replicas"]
