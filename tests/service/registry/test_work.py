"""What brings work on, when one piece of it cannot be brought on, and when nobody could."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from libs.common.bus import BusUnavailable, MemoryBus
from libs.common.contracts.jobs import ImageRequested, image_queue
from libs.common.contracts.messages import Message
from libs.common.db import now
from services.registry.models import Build
from tests.service.registry.conftest import Platform, Starter
from tests.service.registry.test_builds import is_hinted, lease_of, listened, pushed, state
from tests.support.eventually import eventually

FULL = image_queue("linux/riscv64")


class FullQueue(MemoryBus):
    """A bus with one queue that takes nothing."""

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        if queue == FULL:
            raise BusUnavailable("the queue is full")
        await super().send(queue, message, delay=delay)


async def test_a_queue_that_takes_no_job_keeps_no_other_waiting(start: Starter) -> None:
    async with FullQueue() as bus, start(instead=bus) as platform:
        images = platform.registry.images
        for made_for in ("linux/riscv64", "linux/amd64"):
            document = {"gateway": True, "platform": made_for}
            await platform.ok("POST", "/admin/v1/images", "root", json=document)
        jobs: list[ImageRequested] = []

        async def take(job: ImageRequested) -> None:
            jobs.append(job)

        async with bus.consume(image_queue("linux/amd64"), take, accepts=[ImageRequested]):
            await eventually(lambda: jobs)
        await eventually(lambda: images.queue.loop.failures)


async def test_a_source_that_cannot_be_archived_keeps_no_other_waiting(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds, repositories = platform.registry.builds, platform.registry.repositories
    really = repositories.archive
    ids: dict[str, UUID] = {}
    kinds: dict[UUID, type[Exception]] = {}
    stuck = asyncio.Event()

    async def archive(algorithm_id: UUID, commit: str, target: Path) -> None:
        if kind := kinds.get(algorithm_id):
            raise kind
        if algorithm_id == ids["slow"]:
            await stuck.wait()
        await really(algorithm_id, commit, target)

    monkeypatch.setattr(repositories, "archive", archive)
    for name in ("late", "full", "slow", "good"):
        ids[name] = UUID((await platform.create(name))["id"])
    kinds |= {ids["late"]: TimeoutError, ids["full"]: OSError}
    for name in ids:
        clone = await platform.clone(name).start()
        await clone.commit()
        await clone.push()
    build = await platform.waiting("good")

    await eventually(lambda: is_hinted(platform, build["id"]))
    late = await state(platform, (await platform.builds("late"))[0]["build_id"])
    assert (late["state"], late["reason"]) == (
        "failed",
        "the source of the commit could not be read within 600 s",
    )
    await eventually(lambda: any(loop.failures for loop in builds.loops()))
    kinds.clear()
    stuck.set()
    await platform.waiting("full")
    await platform.waiting("slow")


async def test_a_registry_that_was_away_listens_before_it_takes_anything_back(start: Starter) -> None:
    async with start() as platform:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        async with platform.registry.database.transaction() as session:
            away = now() - timedelta(seconds=1)
            await session.execute(update(Build).values(lease_until=away))
    async with start() as platform:
        builds = platform.registry.builds
        await eventually(lambda: builds.leases.last_success)
        await builds.take_back()
        assert (await platform.write_log(spec, 0, "still here\n")).status_code == 204
        assert await lease_of(platform, str(spec.id)) > now()
        await listened(builds)
        await builds.take_back()
        assert (await platform.finish(spec)).status_code == 204
