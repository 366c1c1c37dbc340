"""A worker that ends in any way and comes back: what runs is adopted, what does not is said, nothing strays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from libs.common.contracts.replicas import ReplicaState
from services.worker import processes, sandbox
from services.worker.folders import AlreadyRunning, Folders
from tests.service.worker.calling import call
from tests.service.worker.devices import gpu_nodes
from tests.service.worker.platform_double import Platform
from tests.service.worker.replicas import ALGORITHM, artifact_of
from tests.support.eventually import eventually

READY, STOPPED, FAILED = ReplicaState.READY, ReplicaState.STOPPED, ReplicaState.FAILED
PID = ALGORITHM.replace('return ["seen", input]', "return open('/proc/self/stat').read().split()[21]")
"""Answers with the time at which the process that serves was started."""


@pytest.fixture(autouse=True)
async def nothing_is_left(tmp_path: Path) -> AsyncIterator[None]:
    """Whatever a failed test left is killed."""
    yield
    if (tmp_path / "worker_id").exists():
        await kill_all(tmp_path)


@asynccontextmanager
async def worker_process(
    platform: Platform, data_dir: Path, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in its own process; killed at the end if it still runs."""
    environment = {
        **os.environ,
        "CONSTELLATION_FAKTS_URL": platform.fakts.url,
        "CONSTELLATION_JOIN_TOKEN": platform.fakts.join_token,
        "CONSTELLATION_DATA_DIR": str(data_dir),
        "CONSTELLATION_REPORT_SECONDS": "0.2",
        "CONSTELLATION_DRAIN_SECONDS": "1",
        "CONSTELLATION_BUILD_CONCURRENCY": "0",
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.service.worker.worker_process", env=environment, cwd=Path(__file__).parents[3]
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def sandboxed(data_dir: Path) -> list[int]:
    mark = (data_dir / "worker_id").read_text()[:8]
    return [pid for pid, name in processes.marked(sandbox.MARK).items() if name.startswith(mark)]


async def kill_all(data_dir: Path) -> None:
    def gone() -> bool:
        for pid in sandboxed(data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not sandboxed(data_dir)

    await eventually(gone)


@pytest.mark.parametrize("confinement", ["auto", "off"])
async def test_a_worker_that_was_killed_adopts_its_replicas(confinement: str, tmp_path: Path) -> None:
    async with Platform() as platform:
        variables = {"CONSTELLATION_SANDBOX": confinement}
        async with worker_process(platform, tmp_path, **variables) as first:
            replica = platform.order(artifact_of(platform, PID), name="any")
            report = await platform.until(replica, READY)
            started = await call(report, {})
            first.kill()
            await first.wait()
            assert await call(report, {}) == started
        platform.reports.clear()
        async with worker_process(platform, tmp_path, **variables) as second:
            again = await platform.until(replica, READY)
            assert again.address == report.address
            assert again.since == report.since
            assert await call(again, {}) == started
            platform.drain(replica)
            await platform.until(replica, STOPPED)
            assert not sandboxed(tmp_path)
            second.terminate()
            await second.wait()


GPUS = ALGORITHM.replace(
    'return ["seen", input]', "import os; return [os.environ['NVIDIA_VISIBLE_DEVICES'], *sorted(os.listdir('/dev'))]"
)


async def test_a_gpu_is_one_replicas_over_a_restart_of_the_worker(tmp_path: Path) -> None:
    variables = {"CONSTELLATION_GPU_DEVICES": str(gpu_nodes(tmp_path / "dev", 2))}
    async with Platform() as platform:
        artifact = artifact_of(platform, GPUS)

        async def sees(replica: UUID) -> list[str]:
            seen: list[str] = await call(await platform.until(replica, READY), {})
            return [name for name in seen if name.startswith("nvidia") or name == seen[0]]

        async with worker_process(platform, tmp_path, **variables) as first:
            one = platform.order(artifact, name="any", gpus=1)
            none = platform.order(artifact, name="any")
            assert await sees(one) == ["0", "nvidia-uvm", "nvidia0", "nvidiactl"]
            assert await sees(none) == ["void"]
            assert platform.reports[-1].capacity.gpus == 2
            first.kill()
            await first.wait()
        platform.reports.clear()
        async with worker_process(platform, tmp_path, **variables) as second:
            another = platform.order(artifact, name="any", gpus=1)
            assert await sees(another) == ["1", "nvidia-uvm", "nvidia1", "nvidiactl"]
            third = platform.order(artifact, name="any", gpus=1)
            platform.drain(one)
            assert (await sees(third))[0] == "0", "it waits for the one that ends"
            second.terminate()
            await second.wait()


async def test_a_replica_that_died_meanwhile_is_reported_as_failed(tmp_path: Path) -> None:
    async with Platform() as platform:
        async with worker_process(platform, tmp_path) as first:
            replica = platform.order(artifact_of(platform), name="any")
            await platform.until(replica, READY)
            first.kill()
            await first.wait()
        await kill_all(tmp_path)
        platform.reports.clear()
        async with worker_process(platform, tmp_path):
            failed = await platform.until(replica, FAILED)
            assert failed.reason == "it ended while its worker was away"
            another = platform.order(artifact_of(platform), name="any")
            await platform.until(another, READY)


async def test_what_is_not_ordered_any_more_is_stopped_after_the_return(tmp_path: Path) -> None:
    async with Platform() as platform:
        async with worker_process(platform, tmp_path) as first:
            replica = platform.order(artifact_of(platform), name="any")
            await platform.until(replica, READY)
            first.kill()
            await first.wait()
        platform.reports.clear()
        platform.deployer_is_up = False
        async with worker_process(platform, tmp_path):
            del platform.orders[replica]
            assert sandboxed(tmp_path)
            platform.deployer_is_up = True
            await eventually(lambda: not sandboxed(tmp_path))
            await eventually(lambda: platform.reports and not platform.reports[-1].replicas)


async def test_strays_are_killed_at_the_start(tmp_path: Path) -> None:
    async with Platform() as platform:
        worker_id = await asyncio.to_thread(lambda: Folders(tmp_path).worker_id())
        environment = {**os.environ, sandbox.MARK: f"{worker_id[:8]}-11111111-1111-1111-1111-111111111111"}
        foreign = {**os.environ, sandbox.MARK: "00000000-11111111-1111-1111-1111-111111111111"}
        stray = await asyncio.create_subprocess_exec("sleep", "600", env=environment)
        other = await asyncio.create_subprocess_exec("sleep", "600", env=foreign)
        try:
            async with worker_process(platform, tmp_path):
                async with asyncio.timeout(60):
                    assert await stray.wait() == -signal.SIGKILL
                assert other.returncode is None
        finally:
            for process in (stray, other):
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def test_a_worker_that_leaves_its_replicas_finds_them_again(tmp_path: Path) -> None:
    async with Platform() as platform:
        async with platform.worker(tmp_path, stop_replicas_on_exit=False) as worker:
            replica = platform.order(artifact_of(platform, PID), name="any")
            await platform.wake(worker)
            report = await platform.until(replica, READY)
            started = await call(report, {})
        assert await call(report, {}) == started
        platform.reports.clear()
        async with platform.worker(tmp_path) as worker:
            report = await platform.until(replica, READY)
            assert await call(report, {}) == started
        assert not sandboxed(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_worker_that_is_interrupted_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    async with Platform() as platform, worker_process(platform, tmp_path) as process:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.until(replica, READY)
        process.send_signal(number)
        async with asyncio.timeout(60):
            await process.wait()
        assert not sandboxed(tmp_path)
        last = platform.replica(replica)
        assert last is not None
        assert last.state is STOPPED


async def test_two_workers_do_not_share_a_folder(tmp_path: Path) -> None:
    folders = await asyncio.to_thread(Folders, tmp_path)
    with folders.locked(), pytest.raises(AlreadyRunning, match="CONSTELLATION_DATA_DIR"), folders.locked():
        pass
