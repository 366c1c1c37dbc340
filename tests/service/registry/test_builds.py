"""Builds: from the job to the result, and what becomes of them when workers are lost."""

from __future__ import annotations

import asyncio
import io
import tarfile
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import update

from libs.common.bus import BusUnavailable, MemoryBus
from libs.common.contracts.jobs import BUILD_QUEUE, BuildRequested
from libs.common.contracts.messages import Message
from libs.common.db import now
from services.registry import store
from services.registry.models import Build
from services.registry.work import WorkQueue
from tests.service.registry.conftest import Platform, Starter
from tests.support.eventually import eventually


class FailingBus(MemoryBus):
    """A bus whose broker is away, until it is back."""

    failing = True

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        if self.failing:
            raise BusUnavailable("no broker")
        await super().send(queue, message, delay=delay)


async def pushed(platform: Platform, name: str = "hello") -> str:
    """An algorithm with a push; its commit."""
    await platform.create(name)
    clone = await platform.clone(name).start()
    commit = await clone.commit()
    await clone.push()
    return commit


async def state(platform: Platform, build_id: str) -> Any:
    return await platform.ok("GET", f"/admin/v1/builds/{build_id}", "root")


class TestJobs:
    async def test_a_build_is_a_job_for_a_worker(self, platform: Platform) -> None:
        jobs: list[BuildRequested] = []

        async def take(job: BuildRequested) -> None:
            jobs.append(job)

        async with platform.bus.consume(BUILD_QUEUE, take, accepts=[BuildRequested]):
            commit = await pushed(platform)
            [job] = await eventually(lambda: jobs)
        spec = await platform.claim(str(job.build_id))
        assert (spec.owner, spec.name, spec.commit, spec.language) == ("joe", "hello", commit, "python3")
        assert (spec.lease_seconds, spec.timeout_seconds, spec.memory_mib) == (30, 1800, 4096)

    async def test_its_source_is_the_tree_of_the_commit(self, platform: Platform) -> None:
        await platform.create()
        clone = await platform.clone().start()
        (clone.folder / ".gitattributes").write_text("*.md export-ignore\nnote export-subst\n")
        await clone.commit("note", "$Format:%d$")
        await clone.push()
        spec = await platform.claim((await platform.waiting())["id"])
        blob = await platform.ask("GET", f"/internal/blobs/{spec.source}", "@worker")
        with tarfile.open(fileobj=io.BytesIO(blob.content)) as tar:
            assert {"README.md", "src/hello.py", "requirements.txt"} <= set(tar.getnames())
            note = tar.extractfile("note")
            assert note is not None
            assert note.read() == b"$Format:%d$", "the archive holds what was committed"

    async def test_a_job_that_is_lost_is_sent_again(self, start: Starter) -> None:
        async with start() as platform:
            await pushed(platform)
            build = await platform.waiting()
            await eventually(lambda: is_hinted(platform, build["id"]))
        await platform.bus.drop(BUILD_QUEUE)
        jobs: list[BuildRequested] = []

        async def take(job: BuildRequested) -> None:
            jobs.append(job)

        async with platform.bus.consume(BUILD_QUEUE, take, accepts=[BuildRequested]), start() as platform:
            await due(platform)
            await eventually(lambda: [str(job.build_id) for job in jobs] == [build["id"]])
            await eventually(lambda: is_hinted(platform, build["id"]))
            await platform.registry.builds.hint_all()
            assert len(jobs) == 1, "not again so soon"

    async def test_without_a_broker_a_build_waits(self, start: Starter) -> None:
        async with FailingBus() as bus, start(instead=bus) as platform:
            await pushed(platform)
            build = await platform.waiting()

            async def refused() -> str:
                await due(platform)
                try:
                    await platform.registry.builds.hint_all()
                except BusUnavailable as error:
                    return str(error)
                return ""  # the service's own loop has just tried

            assert await eventually(refused) == "build: no broker"
            bus.failing = False
            jobs: list[BuildRequested] = []

            async def take(job: BuildRequested) -> None:
                jobs.append(job)

            async with bus.consume(BUILD_QUEUE, take, accepts=[BuildRequested]):
                await eventually(lambda: [str(job.build_id) for job in jobs] == [build["id"]])

    async def test_a_commit_whose_source_cannot_be_read_fails_with_the_reason(self, platform: Platform) -> None:
        created = await platform.create()
        registry = platform.registry
        async with registry.database.transaction() as session:
            algorithm = await store.locked(session, UUID(created["id"]))
            build = await registry.builds.request(session, algorithm, "f" * 40)

        async def failed() -> Any:
            row = await state(platform, str(build.id))
            return row if row["state"] == "failed" else None

        row = await eventually(failed)
        assert "the source of the commit cannot be taken" in row["reason"]

    async def test_a_small_push_of_a_large_source_fails_its_build_and_keeps_nothing(self, start: Starter) -> None:
        async with start(source_limit_mib=1) as platform:
            await platform.create()
            clone = await platform.clone().start()
            await clone.commit("zeros", b"\0" * (8 << 20))
            await clone.push()

            async def failed() -> Any:
                rows = await platform.builds()
                row = await state(platform, rows[0]["build_id"]) if rows else None
                return row if row is not None and row["state"] == "failed" else None

            row = await eventually(failed)
            assert "it is larger than 1 MiB" in row["reason"]
            blobs = platform.folder / "data" / "blobs"
            assert sum(path.stat().st_size for path in blobs.rglob("*") if path.is_file()) < 1 << 20


async def due(platform: Platform) -> None:
    """The next reconciliation sends every job again."""
    async with platform.registry.database.transaction() as session:
        await session.execute(update(Build).values(next_hint_at=None))
    platform.registry.builds.loop.wake()


async def is_hinted(platform: Platform, build_id: str) -> bool:
    """Its job was sent, and is not sent again before its time."""
    async with platform.registry.database.transaction() as session:
        build = await session.get_one(Build, UUID(build_id))
        return build.hints > 0 and build.next_hint_at is not None


async def lease_of(platform: Platform, build_id: str) -> datetime:
    async with platform.registry.database.transaction() as session:
        lease_until = (await session.get_one(Build, UUID(build_id))).lease_until
    assert lease_until is not None
    return lease_until


async def lapse(platform: Platform, build_id: str) -> None:
    """The worker was silent for so long that its lease has ended, and the registry listened all the time."""
    async with platform.registry.database.transaction() as session:
        past = now() - timedelta(seconds=1)
        await session.execute(update(Build).where(Build.id == UUID(build_id)).values(lease_until=past))
    await listened(platform.registry.builds)


async def listened(queue: WorkQueue[Any]) -> None:
    """The registry has been there for as long as a lease lasts."""
    await queue.take_back()
    queue.watch.since -= queue.patience.lease
    queue.leases.wake()


class TestLease:
    async def test_one_worker_has_a_build(self, platform: Platform) -> None:
        await pushed(platform)
        build = await platform.waiting()
        claims = [
            platform.ask("POST", f"/internal/builds/{build['id']}/claim", "@worker", json={"worker": f"w{n}"})
            for n in range(5)
        ]
        answers = await asyncio.gather(*claims)
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        gone = await platform.ask("POST", f"/internal/builds/{uuid4()}/claim", "@worker", json={"worker": "w"})
        assert gone.status_code == 404

    async def test_a_silent_worker_loses_it_to_another(self, platform: Platform) -> None:
        await pushed(platform)
        build = await platform.waiting()
        lost = await platform.claim(build["id"], "w1")
        assert (await platform.write_log(lost, 0, "first try\n")).status_code == 204
        await lapse(platform, build["id"])

        async def again() -> bool:
            return bool((await state(platform, build["id"]))["state"] == "queued")

        await eventually(again)
        assert (await platform.write_log(lost, 10, "more")).status_code == 409
        assert (await platform.finish(lost)).status_code == 409
        spec = await platform.claim(build["id"], "w2")
        assert (await platform.write_log(spec, 0, "second try\n")).status_code == 204
        assert (await platform.finish(spec)).status_code == 204
        logs = await platform.ok("GET", f"/v1/algorithms/joe/hello/builds/{build['id']}/logs")
        assert logs["logs"].splitlines() == [
            "first try",
            "",
            "[worker w1 was lost while it built this]",
            "second try",
        ]

    async def test_writing_the_log_renews_it(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        for _ in range(3):
            before = await lease_of(platform, str(spec.id))
            written = now()
            assert (await platform.write_log(spec, 0, "")).status_code == 204
            renewed = await lease_of(platform, str(spec.id))
            assert renewed > before
            assert renewed >= written + timedelta(seconds=spec.lease_seconds)
        await platform.registry.builds.take_back()
        assert (await platform.finish(spec)).status_code == 204

    async def test_losing_too_many_workers_fails_it(self, start: Starter) -> None:
        async with start(build_lease_seconds=0.05, build_attempts=2) as platform:
            await pushed(platform)
            build = await platform.waiting()
            for worker in ("w1", "w2"):
                await platform.claim(build["id"], worker)

                async def taken_back() -> bool:
                    await platform.registry.builds.take_back()
                    return bool((await state(platform, build["id"]))["state"] != "running")

                await eventually(taken_back)
            row = await state(platform, build["id"])
            assert (row["state"], row["attempts"]) == ("failed", 2)
            assert "worker w2 was lost" in row["reason"]
            assert (await platform.builds())[0]["status"] == "failed"


class TestLogs:
    async def test_a_repeated_piece_adds_nothing_and_a_gap_is_refused(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        assert (await platform.write_log(spec, 0, "one ")).status_code == 204
        assert (await platform.write_log(spec, 0, "one ")).status_code == 204
        assert (await platform.write_log(spec, 2, "e two \0ü\U0001f600")).status_code == 204
        assert (await platform.write_log(spec, 99, "gap")).status_code == 400
        await platform.finish(spec)
        logs = await platform.ok("GET", f"/v1/algorithms/joe/hello/builds/{spec.id}/logs")
        assert logs == {"logs": "one two \ufffdü\U0001f600"}

    async def test_it_is_followed_while_the_build_runs(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        path = f"/admin/v1/builds/{spec.id}/log"
        assert await platform.refused("GET", f"/v1/algorithms/joe/hello/builds/{spec.id}/logs") == (404, 1011)
        following = asyncio.create_task(platform.ok("GET", f"{path}?wait=20"))
        await platform.write_log(spec, 0, "one\n")
        part = await following
        assert (part["text"], part["next_offset"], part["finished"]) == ("one\n", 4, False)
        await platform.write_log(spec, 4, "two\n")
        part = await platform.ok("GET", f"{path}?offset=2")
        assert (part["offset"], part["text"], part["next_offset"]) == (2, "e\ntwo\n", 8)
        following = asyncio.create_task(platform.ok("GET", f"{path}?offset=8&wait=20"))
        await platform.finish(spec, reason="no good")
        part = await following
        assert (part["text"], part["finished"], part["status"]) == ("", True, "failed")
        assert part["reason"] == "no good"
        for query in ("offset=-1", "offset=x", "wait=100"):
            assert (await platform.refused("GET", f"{path}?{query}"))[0] == 400

    async def test_a_long_log_is_cut_and_says_so(self, start: Starter) -> None:
        async with start(build_log_limit_mib=1) as platform:
            await pushed(platform)
            spec = await platform.claim((await platform.waiting())["id"])
            for n in range(3):
                assert (await platform.write_log(spec, n * 600_000, "x" * 600_000)).status_code == 204
            await platform.finish(spec)
            logs = (await platform.ok("GET", f"/v1/algorithms/joe/hello/builds/{spec.id}/logs"))["logs"]
            assert logs.startswith("x" * (1 << 20) + "\n[the log is cut here")
            assert len(logs) < (1 << 20) + 100

    async def test_it_is_for_insiders(self, platform: Platform) -> None:
        await pushed(platform)
        build = await platform.waiting()
        for path in (f"/admin/v1/builds/{build['id']}", f"/admin/v1/builds/{build['id']}/log"):
            assert await platform.refused("GET", path, "ann") == (404, 1010)
        for tail in ("builds", f"builds/{build['id']}", f"builds/{build['id']}/logs"):
            assert await platform.refused("GET", f"/v1/algorithms/joe/hello/{tail}", "ann") == (404, 1000)


class TestResults:
    async def test_a_success_is_a_revision_in_the_catalog(self, platform: Platform) -> None:
        created = await platform.create()
        spec = await platform.built()
        entry = await platform.catalog(created["id"])
        assert entry is not None
        [revision] = entry.revisions
        assert (revision.id, revision.commit, revision.version) == (spec.id, spec.commit, None)
        assert (revision.artifact.source, revision.artifact.digest) == (spec.source, "d" * 64)

    async def test_a_failure_is_none_and_keeps_its_reason(self, platform: Platform) -> None:
        created = await platform.create()
        clone = await platform.clone().start()
        await clone.commit()
        await clone.push()
        spec = await platform.build(reason="requirements cannot be met: \x00")
        [build] = await platform.builds()
        assert (build["status"], build["finished_at"] is not None) == ("failed", True)
        assert (await state(platform, str(spec.id)))["reason"] == "requirements cannot be met: \ufffd"
        entry = await platform.catalog(created["id"])
        assert entry is not None
        assert entry.revisions == ()

    async def test_a_result_may_be_repeated_and_not_changed(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.build()
        assert (await platform.finish(spec)).status_code == 204
        assert (await platform.finish(spec, reason="changed my mind")).status_code == 409
        assert (await platform.builds())[0]["status"] == "succeeded"

    async def test_a_success_must_be_complete(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        for artifact in (None, {"source": "0" * 64, "digest": "d"}):
            assert (await platform.finish(spec, artifact=artifact)).status_code == 400
        assert (await platform.finish(spec)).status_code == 204

    async def test_a_lock_must_be_uploaded_first(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        artifact = {"source": spec.source, "digest": "d", "lock": "0" * 64}
        answer = await platform.finish(spec, artifact=artifact)
        assert (answer.status_code, "upload it first" in answer.text) == (400, True)

    async def test_a_build_of_a_deleted_algorithm_is_lost(self, platform: Platform) -> None:
        await pushed(platform)
        spec = await platform.claim((await platform.waiting())["id"])
        await platform.ask("DELETE", "/v1/algorithms/joe/hello")
        assert (await platform.write_log(spec, 0, "x")).status_code == 409
        assert (await platform.finish(spec)).status_code == 409


async def test_builds_are_listed_newest_first_and_in_pages(platform: Platform) -> None:
    await platform.create()
    clone = await platform.clone().start()
    commits = []
    for n in range(3):
        commits.append(await clone.commit(f"note{n}"))
        await clone.push()
    page = await platform.ok("GET", "/v1/algorithms/joe/hello/builds?limit=2")
    assert [build["commit_sha"] for build in page["results"]] == commits[:0:-1]
    assert page["results"][0].keys() == {
        *("build_id", "status", "commit_sha", "started_at", "finished_at", "resource_type")
    }
    rest = await platform.ok("GET", f"/v1/algorithms/joe/hello/builds?limit=2&marker={page['marker']}")
    assert ([build["commit_sha"] for build in rest["results"]], rest["marker"]) == ([commits[0]], None)
    one = page["results"][0]
    assert await platform.ok("GET", f"/v1/algorithms/joe/hello/builds/{one['build_id']}") == one
    await platform.create("other")
    for name, build_id in (("hello", str(uuid4())), ("hello", "x"), ("other", one["build_id"])):
        assert await platform.refused("GET", f"/v1/algorithms/joe/{name}/builds/{build_id}") == (404, 1010)
