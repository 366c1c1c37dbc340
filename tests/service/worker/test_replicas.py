"""Replicas on a real worker: real runner, real sandbox, scripted platform."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.replicas import ReplicaState
from libs.common.hosts import host_id
from services.worker.environments import artifact_digest
from services.worker.replica_folder import ReplicaFolder
from services.worker.runtimes.processes import ProcessManager
from tests.service.worker.calling import Refused, call
from tests.service.worker.platform_double import Platform
from tests.service.worker.replicas import (
    ALGORITHM,
    DRAINING,
    FAILED,
    READY,
    STOPPED,
    artifact_of,
    is_busy,
    javascript,
    run_folders,
    sandboxed,
)
from tests.support.eventually import eventually


async def test_a_replica_is_started_called_drained_and_forgotten(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert report.address is not None
        assert report.address.host_id == host_id()
        assert (report.address.host, report.address.token) == (None, None)
        assert await call(report, {"x": 1}) == ["seen", {"x": 1}]
        states = [one.state for sent in platform.reports for one in sent.replicas]
        assert states[0] in (ReplicaState.WANTED, ReplicaState.STARTING)
        platform.drain(replica)
        await platform.wake(worker)
        report = await platform.until(replica, STOPPED)
        assert report.address is None
        assert not sandboxed(worker)
        assert not run_folders(worker)
        del platform.orders[replica]
        await platform.wake(worker)
        await eventually(lambda: not platform.reports[-1].replicas)


@pytest.mark.parametrize("full", [False, True])
async def test_a_draining_replica_finishes_its_call_also_where_nothing_can_be_noted(
    tmp_path: Path, full: bool
) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        platform.gateway_answers.clear()
        under_way = asyncio.create_task(call(report, {"chain": "/v1/algo/a/b"}, x_caller="cat.token"))
        await eventually(lambda: platform.chained)
        if full:  # as on such a disk, no file can be written there
            (folder,) = run_folders(worker)
            (folder / ".handle.json.new").mkdir()
        platform.drain(replica)
        await platform.wake(worker)
        await platform.until(replica, DRAINING)
        platform.gateway_answers.set()
        assert "from the gateway" in await under_way
        await platform.until(replica, STOPPED)


async def test_a_replica_whose_folder_cannot_be_removed_has_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Platform() as platform, platform.worker(tmp_path, gpus="0") as worker:
        first = platform.order(artifact_of(platform), name="any", gpus=1)
        await platform.wake(worker)
        await platform.until(first, READY)

        def failing(*_: object) -> None:
            raise FileNotFoundError("no such file")

        monkeypatch.setattr(ReplicaFolder, "archive", failing)
        platform.drain(first)
        await platform.wake(worker)
        report = await platform.until(first, STOPPED)
        assert report.address is None
        assert not sandboxed(worker)
        second = platform.order(artifact_of(platform), name="any", gpus=1)
        await platform.wake(worker)
        await platform.until(second, READY)
        monkeypatch.undo()


async def test_what_could_not_be_ended_when_it_should_is_ended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Platform() as platform, platform.worker(tmp_path, gpus="0") as worker:
        first = platform.order(artifact_of(platform), name="any", gpus=1)
        await platform.wake(worker)
        await platform.until(first, READY)

        async def failing(*_: object, **__: object) -> None:
            raise TimeoutError

        with monkeypatch.context() as patch:
            patch.setattr(ProcessManager, "stop", failing)
            for pid in sandboxed(worker):
                os.kill(pid, signal.SIGSTOP)
            del platform.orders[first]
            await platform.wake(worker)
            await eventually(lambda: not platform.reports[-1].replicas)
        left = set(sandboxed(worker))
        assert left
        second = platform.order(artifact_of(platform), name="any", gpus=1)
        await platform.wake(worker)
        await worker.app.state.replicas.tidy()
        assert not left & set(sandboxed(worker))
        await platform.until(second, READY)


async def test_a_replica_that_is_not_ordered_is_stopped_at_once(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        under_way = asyncio.create_task(call(report, {"sleep": 300}))
        await eventually(lambda: is_busy(report.address))
        del platform.orders[replica]
        await platform.wake(worker)
        with pytest.raises(Refused, match="was stopped during this call"):
            await under_way
        await eventually(lambda: not sandboxed(worker))
        await eventually(lambda: not platform.reports[-1].replicas)


async def test_a_drain_order_for_an_unknown_replica_is_answered_by_stopped(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        platform.drain(replica)
        await platform.wake(worker)
        await platform.until(replica, STOPPED)
        assert not run_folders(worker)


async def test_a_replica_whose_runner_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        await call(report, {"print": "famous last words"})
        log = worker.url + f"/internal/replicas/{replica}/log"
        token = {"authorization": f"Bearer {platform.fakts.service_token('deployer')}"}
        async with httpx.AsyncClient(timeout=60) as http:

            async def printed() -> dict[str, Any]:
                answer: dict[str, Any] = (await http.get(log, headers=token)).json()
                return answer if "famous last words" in answer["text"] else {}

            live = await eventually(printed)
            assert not live["ended"]
            assert live["next_offset"] == live["offset"] + len(live["text"])
            for pid in sandboxed(worker):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            failed = await platform.until(replica, FAILED)
            assert failed.reason is not None
            assert "famous last words" in failed.reason
            assert not run_folders(worker)
            kept = await printed()
            assert kept["ended"]
            assert kept["text"].startswith(live["text"]), "positions stay true"
            rest = (await http.get(log, params={"offset": kept["next_offset"] - 6}, headers=token)).json()
            assert (rest["text"], rest["next_offset"]) == (kept["text"][-6:], kept["next_offset"])
            assert (await http.get(log)).status_code == 401
            unknown = worker.url + f"/internal/replicas/{uuid4()}/log"
            assert (await http.get(unknown, headers=token)).status_code == 404


async def test_a_replica_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        missing = Artifact(source="0" * 64, digest="1" * 64)
        replica = platform.order(missing, name="any")
        await platform.wake(worker)
        failed = await platform.until(replica, FAILED)
        assert failed.reason == "what the replica is made of cannot be fetched: no such blob"
        slow = platform.order(
            artifact_of(platform, "import time\ntime.sleep(60)"), name="any", load_timeout_seconds=1
        )
        await platform.wake(worker)
        failed = await platform.until(slow, FAILED)
        assert failed.reason is not None
        assert "did not load within 1 seconds" in failed.reason


async def test_secrets_reach_the_algorithm_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_JOIN_TOKEN", "of the platform")
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        revision = uuid4()
        platform.secrets[revision] = {"API_PASSWORD": "of-the-author"}
        replica = platform.order(artifact_of(platform), name="any", revision_id=revision, secrets_version=3)
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert await call(report, {"env": "API_PASSWORD"}) == "of-the-author"
        assert await call(report, {"env": "CONSTELLATION_JOIN_TOKEN"}) is None
        for folder in run_folders(worker):
            for file in folder.rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                    assert not file.is_file() or b"of-the-author" not in file.read_bytes()


async def test_without_secrets_the_registry_is_not_asked(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        first = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        await platform.until(first, READY)
        platform.registry_is_up = False
        second = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(second, READY)
        assert await call(report, {}) == ["seen", {}]


async def test_what_a_replica_is_made_of_is_fetched_once(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        artifact = artifact_of(platform)
        replicas = [platform.order(artifact, name="any") for _ in range(4)]
        await platform.wake(worker)
        for replica in replicas:
            await platform.until(replica, READY)
        assert platform.blob_reads == [artifact.source]
        assert len({report.address.unix for report in platform.reports[-1].replicas if report.address}) == 4


async def test_no_more_replicas_than_allowed_load_at_the_same_time(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path, start_concurrency=2) as worker:
        artifact = artifact_of(platform, "import time\ntime.sleep(0.3)\ndef apply(input):\n    return input\n")
        replicas = [platform.order(artifact, name="any") for _ in range(6)]
        await platform.wake(worker)
        for replica in replicas:
            await platform.until(replica, READY)
        most = max(sum(one.state is ReplicaState.STARTING for one in report.replicas) for report in platform.reports)
        assert most <= 2


async def test_a_deployer_that_is_away_changes_nothing(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        platform.deployer_is_up = False
        async with httpx.AsyncClient(timeout=60) as http:

            async def unready() -> bool:
                return (await http.get(worker.url + "/readyz")).status_code == 503

            await eventually(unready)
            assert await call(report, {"x": 1}) == ["seen", {"x": 1}]
            seen = len(platform.reports)
            platform.deployer_is_up = True
            await eventually(lambda: len(platform.reports) > seen)
            assert platform.replica(replica) is not None
            await platform.until(replica, READY)
            assert (await http.get(worker.url + "/readyz")).status_code == 200


async def test_a_long_data_folder_is_no_hindrance(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / ("x" * 100)) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert await call(report, {"x": 1}) == ["seen", {"x": 1}]
        assert report.address is not None
        assert report.address.unix is not None
        folder = Path(report.address.unix).parents[2]
        assert not folder.is_relative_to(tmp_path)
    assert not folder.exists()


async def test_what_no_replica_uses_makes_room(tmp_path: Path) -> None:
    def trees() -> set[str]:
        return {path.name for path in (tmp_path / "trees").iterdir() if path.is_dir()}

    def large(name: str) -> Artifact:
        noise = os.urandom(400_000).hex()
        return artifact_of(platform, f"{ALGORITHM}\nNOISE = '{noise}'\n", name=name)

    async with Platform() as platform, platform.worker(tmp_path, cache_mib=2) as worker:
        used, unused, last = large("a"), large("b"), large("c")
        kept = platform.order(used, name="a")
        stopped = platform.order(unused, name="b")
        await platform.wake(worker)
        await platform.until(kept, READY)
        await platform.until(stopped, READY)
        assert trees() == {used.digest, unused.digest}
        del platform.orders[stopped]
        await platform.wake(worker)
        await eventually(lambda: platform.replica(stopped) is None)
        newest = platform.order(last, name="c")
        await platform.wake(worker)
        await platform.until(newest, READY)
        assert trees() == {used.digest, last.digest}
        report = platform.replica(kept)
        assert report is not None
        assert await call(report, {"x": 1}) == ["seen", {"x": 1}]


async def test_reports_keep_a_short_lease(tmp_path: Path) -> None:
    async with Platform() as platform:
        platform.lease_seconds = 0.3
        async with platform.worker(tmp_path, report_seconds=60.0):
            await eventually(lambda: len(platform.reports) >= 4)


async def test_javascript_and_pipe_algorithms_are_served(tmp_path: Path) -> None:
    program = (
        "#!/usr/bin/env python3\nimport json, os, sys\nprint('PIPE_INIT_COMPLETE', flush=True)\n"
        "for line in sys.stdin:\n    open('/tmp/algoout', 'w').write(json.dumps({'result': json.loads(line)['data'],"
        " 'metadata': {'content_type': 'json'}}) + '\\n')\n"
    )
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        assert set((await platform.report()).languages) == set(Language)
        shout = javascript(platform)
        digest = platform.source({"bin/pipe": program}, programs=("bin/pipe",))
        pipe = platform.order(
            Artifact(source=digest, digest=artifact_digest(digest, None, Language.PIPE)),
            name="shout",
            language=Language.PIPE,
        )
        await platform.wake(worker)
        assert await call(await platform.until(shout, READY), [1, 2]) == {"got": [1, 2]}
        assert await call(await platform.until(pipe, READY), [1, 2]) == [1, 2]


async def test_metrics_have_no_ids(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        await platform.until(replica, READY)
        async with httpx.AsyncClient(timeout=60) as http:
            text = (await http.get(worker.url + "/metrics")).text
        assert 'constellation_worker_replicas{state="ready"} 1.0' in text
        assert str(replica) not in text
        assert worker.worker_id not in text
