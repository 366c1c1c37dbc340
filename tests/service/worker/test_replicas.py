"""Replicas on a real worker: real runner, real sandbox, scripted platform."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.common.contracts.catalog import Artifact, Language, NetworkAccess
from libs.common.contracts.replicas import Address, ReplicaState
from libs.common.hosts import host_id
from services.worker import processes, sandbox
from services.worker.environments import artifact_digest
from tests.service.worker.calling import Refused, call, call_tcp
from tests.service.worker.places import passable_folder
from tests.service.worker.platform_double import Platform, Running
from tests.support.eventually import eventually

READY, DRAINING, STOPPED, FAILED = (
    ReplicaState.READY,
    ReplicaState.DRAINING,
    ReplicaState.STOPPED,
    ReplicaState.FAILED,
)

ALGORITHM = """
import os, socket, time
import urllib.request

def apply(input):
    if "sleep" in input:
        time.sleep(input["sleep"])
        return "slept"
    if "env" in input:
        return os.environ.get(input["env"])
    if "connect" in input:
        try:
            socket.create_connection(tuple(input["connect"]), timeout=30).close()
            return "connected"
        except OSError as error:
            return f"refused: {error}"
    if "chain" in input:
        request = urllib.request.Request(os.environ["ALGORITHMIA_API"] + input["chain"], data=b'"hello"')
        return urllib.request.urlopen(request, timeout=120).read().decode()
    if "print" in input:
        print(input["print"], flush=True)
    if "exit" in input:
        os._exit(input["exit"])
    return ["seen", input]
"""


def artifact_of(platform: Platform, code: str = ALGORITHM, *, name: str = "any") -> Artifact:
    """One that needs no build: without requirements there is nothing to lock."""
    source = platform.source({"src/__init__.py": "", f"src/{name}.py": code})
    return Artifact(source=source, digest=artifact_digest(source, None, Language.PYTHON))


def sandboxed(worker: Running) -> list[int]:
    """Processes of all of this worker's sandboxes."""
    mark = worker.worker_id[:8]
    return [pid for pid, name in processes.marked(sandbox.MARK).items() if name.startswith(mark)]


def owners(worker: Running) -> set[int]:
    """Users of these processes."""
    found = set()
    for pid in sandboxed(worker):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found.add(Path(f"/proc/{pid}").stat().st_uid)
    return found


def run_folders(worker: Running) -> list[Path]:
    return [path for path in (worker.settings.data_dir / "run").iterdir() if path.name != "door"]


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


async def test_a_draining_replica_finishes_its_call(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        platform.gateway_answers.clear()
        under_way = asyncio.create_task(call(report, {"chain": "/v1/algo/a/b"}, x_caller="cat.token"))
        await eventually(lambda: platform.chained)
        platform.drain(replica)
        await platform.wake(worker)
        await platform.until(replica, DRAINING)
        platform.gateway_answers.set()
        assert "from the gateway" in await under_way
        await platform.until(replica, STOPPED)


async def test_a_replica_that_is_not_ordered_is_stopped_at_once(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        under_way = asyncio.create_task(call(report, {"sleep": 300}))
        await eventually(lambda: _is_busy(report.address))
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


def javascript(platform: Platform) -> UUID:
    """An ordered replica of an algorithm in JavaScript."""
    script = "exports.apply = (input, cb) => cb(null, Buffer.isBuffer(input) ? input : {got: input});\n"
    digest = platform.source({"src/shout.js": script})
    artifact = Artifact(source=digest, digest=artifact_digest(digest, None, Language.JAVASCRIPT))
    return platform.order(artifact, name="shout", language=Language.JAVASCRIPT)


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


def _is_busy(address: Address | None) -> bool:
    """A call is under way, as the runner's own page says."""
    assert address is not None
    assert address.unix is not None
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(30)
        control.connect(str(Path(address.unix).parent / "c"))
        control.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        answer = b""
        while piece := control.recv(4096):
            answer += piece
    return b'"busy"' in answer
