"""What replicas can reach, whose they are, and what escapes of them."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from libs.common.contracts.catalog import NetworkAccess
from tests.service.worker.calling import call, call_tcp
from tests.service.worker.places import passable_folder
from tests.service.worker.platform_double import Platform
from tests.service.worker.replicas import (
    ALGORITHM,
    FAILED,
    READY,
    STOPPED,
    artifact_of,
    owners,
    run_folders,
    sandboxed,
)
from tests.support.eventually import eventually


async def test_an_isolated_replica_reaches_the_platform_and_nothing_else(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        assert (await platform.report()).labels["isolated_network"] == "yes"
        with socket.socket() as outside:
            outside.bind(("127.0.0.1", 0))
            outside.listen()
            place = list(outside.getsockname())
            artifact = artifact_of(platform)
            free = platform.order(artifact, name="any")
            isolated = platform.order(artifact, name="any", network_access=NetworkAccess.ISOLATED)
            await platform.wake(worker)
            report = await platform.until(free, READY)
            assert await call(report, {"connect": place}) == "connected"
            assert "from the gateway" in await call(report, {"chain": "/v1/algo/a/b"}, x_caller="cat.token")
            report = await platform.until(isolated, READY)
            assert (await call(report, {"connect": place})).startswith("refused")
            assert (await call(report, {"connect": ["192.0.2.1", 80]})).startswith("refused")
            assert "from the gateway" in await call(report, {"chain": "/v1/algo/a/b"}, x_caller="cat.token")
        assert [path for path, _, _ in platform.chained] == ["/v1/algo/a/b"] * 2
        assert {headers["authorization"] for _, headers, _ in platform.chained} == {"Bearer cat.token"}


@pytest.mark.parametrize("access", [NetworkAccess.FULL, NetworkAccess.ISOLATED])
async def test_calls_of_other_hosts_need_the_replicas_token(access: NetworkAccess, tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path, listen_tcp=True) as worker:
        replica = platform.order(artifact_of(platform), name="any", network_access=access)
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert report.address is not None
        assert report.address.host == "127.0.0.1"
        assert report.address.token
        status, answer = await call_tcp(report, {"x": 1}, token=report.address.token)
        assert (status, answer["result"]) == (200, ["seen", {"x": 1}])
        for wrong in (None, "wrong"):
            status, answer = await call_tcp(report, {"x": 1}, token=wrong)
            assert status in (401, 403)
            assert "result" not in answer
        assert await call(report, {"x": 1}) == ["seen", {"x": 1}]


async def test_without_isolation_an_isolated_replica_is_refused(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path, sandbox="off") as worker:
        labels = (await platform.report()).labels
        assert (labels["sandbox"], labels["isolated_network"]) == ("none", "no")
        isolated = platform.order(artifact_of(platform), name="any", network_access=NetworkAccess.ISOLATED)
        free = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        failed = await platform.until(isolated, FAILED)
        assert failed.reason == (
            "its settings ask for an isolated network, which this worker cannot give: its sandbox is 'none'"
        )
        report = await platform.until(free, READY)
        assert await call(report, {"x": 1}) == ["seen", {"x": 1}]


async def test_two_owners_share_no_environment(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        artifact = artifact_of(platform)
        replicas = [platform.order(artifact, name="any", owner=owner) for owner in ("joe", "joe", "sue")]
        await platform.wake(worker)
        for replica in replicas:
            await platform.until(replica, READY)
        folders = [path for path in (tmp_path / "environments").iterdir() if path.is_dir()]
        assert len(folders) == 2
        assert {path.name for path in (tmp_path / "packages").iterdir() if path.is_dir()} == {"joe", "sue"}
        if os.geteuid() == 0:
            assert owners(worker) == {worker.settings.sandbox_uid + number for number in (1, 2, 3)}


async def test_a_worker_that_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    code = ALGORITHM + "\nimport subprocess\nsubprocess.Popen(['sleep', '601'], start_new_session=True)\n"
    async with Platform() as platform:
        async with platform.worker(tmp_path) as worker:
            replica = platform.order(artifact_of(platform, code), name="any")
            await platform.wake(worker)
            await platform.until(replica, READY)
            assert len(sandboxed(worker)) >= 3
        assert not sandboxed(worker)
        assert not run_folders(worker)
        last = platform.replica(replica)
        assert last is not None
        assert last.state is STOPPED
        assert platform.reports[-1].capacity.replicas == 0


async def test_a_worker_without_a_sandbox_ends_what_escaped_as_well(tmp_path: Path) -> None:
    code = ALGORITHM + (
        "\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.execvp('sleep', ['sleep', '602'])\n    os._exit(0)\nos.wait()\n"
    )
    async with Platform() as platform, platform.worker(tmp_path, sandbox="off") as worker:
        replica = platform.order(artifact_of(platform, code), name="any")
        await platform.wake(worker)
        await platform.until(replica, READY)
        assert len(sandboxed(worker)) >= 3
        del platform.orders[replica]
        await platform.wake(worker)
        await eventually(lambda: not sandboxed(worker))


async def test_users_of_their_own_are_enough_for_replicas() -> None:
    """As in a container without the right to mount."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("needs root, and a Python that every user can execute")
    with passable_folder() as folder:
        async with Platform() as platform:
            async with platform.worker(folder / "data", sandbox="uid", python=Path(python)) as worker:
                build = await platform.build({"src/any.py": ALGORITHM}, name="any")
                replica = platform.order(build.artifact, name="any")
                await platform.wake(worker)
                report = await platform.until(replica, READY)
                assert await call(report, {"x": 1}) == ["seen", {"x": 1}]
                (owner,) = owners(worker)
                assert owner > worker.settings.sandbox_uid
            assert not sandboxed(worker)
