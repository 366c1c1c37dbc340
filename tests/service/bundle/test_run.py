"""A satellite on the spot: replicas that end come back, one that cannot load says why, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from constellation.api import Api
from constellation.bundle import download
from constellation.bundle.folder import BundleFolder
from libs.common.contracts.bundles import SatelliteSecrets
from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci.transfer import FromLayout
from services.registry import bundles
from services.worker import runner
from services.worker.environments import Prepared
from services.worker.images import BasePython, Revision, assembled
from tests.support.bundles import Mothership, signed
from tests.support.images import HERE, VERSION, hollow_base
from tests.support.ports import free_ports
from tests.support.satellites import PlanMaker

COMMAND = Path(sys.executable).with_name("algo-install")
KEY = "simAAAABBBBCCCCDDDDEEEEFFFF1"
SECONDS = 180.0
TWICE = """#!/usr/bin/env python3
import json, os
print("PIPE_INIT_COMPLETE", flush=True)
for line in iter(input, None):
    said = {"result": [json.loads(line)["data"] * 2, os.environ["TOKEN"]], "metadata": {"content_type": "json"}}
    with open("/tmp/algoout", "w") as out:
        out.write(json.dumps(said) + "\\n")
"""
BROKEN = "#!/bin/sh\necho no model here\nexit 3\n"


def processes_in(folder: Path) -> list[int]:
    """Pids of those whose command line names something in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in line:
                found.append(int(entry.name))
    return found


class Satellite:
    """One that runs, with what it said so far."""

    def __init__(self, folder: BundleFolder, ids: tuple[str, str], process: subprocess.Popen[str], url: str) -> None:
        self.folder = folder
        self.ids = ids
        self.process = process
        self.lines: list[str] = []
        self.http = httpx.Client(
            base_url=url, headers={"authorization": f"Simple {KEY}"}, timeout=60, trust_env=False
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, words: str) -> str:
        """Wait until it says this; the line."""
        found: str = self.until(lambda: next((line for line in self.lines if words in line), None), words)
        return found

    def until(self, level: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + SECONDS
        while not (found := level()):
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < end, f"{what}: {''.join(self.lines)}"
            time.sleep(0.05)
        return found

    def call(self, vanity: str, value: Any) -> Any:
        answer = self.http.post(f"/v1/algo/{vanity}", json=value)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def replicas(self) -> list[int]:
        return processes_in(self.folder.data)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder.data / "status.json").read_text())
        return found

    def close(self) -> None:
        self.http.close()
        self._reader.join(SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)


@contextmanager
def running(folder: BundleFolder, ids: tuple[str, str]) -> Iterator[Satellite]:
    (port,) = free_ports(1)
    command = [str(COMMAND), "satellite", *ids, "run", "--dir", str(folder.path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    satellite = Satellite(folder, ids, process, f"http://127.0.0.1:{port}")
    try:
        yield satellite
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
        satellite.close()


@pytest.fixture
async def bundle(tmp_path: Path) -> tuple[BundleFolder, tuple[str, str]]:
    """Of `edge/twice` with two replicas, and `edge/broken`."""
    mothership = Mothership(tmp_path / "store")
    plan = await _plan(mothership, tmp_path, {"edge/twice": TWICE, "edge/broken": BROKEN})
    [twice] = [one.algorithm_id for one in plan.order.entries if one.vanity_url == "edge/twice"]
    secrets = SatelliteSecrets(salt="s", algorithms={twice: {"TOKEN": "a secret"}})
    mothership.bundle = signed(await bundles.pack(plan, secrets, mothership.blobs))
    folder, ids = BundleFolder(tmp_path / "folder"), (str(plan.order.satellite_id), str(plan.order.launch_id))
    with Api("http://mothership", "key", transport=mothership) as api, folder.locked(make=True):
        download.get(api, folder, *ids, trusted=None, seconds=60.0, say=lambda _: None)
    return folder, ids


async def _plan(mothership: Mothership, work: Path, programs: dict[str, str]) -> SatellitePlan:
    maker = PlanMaker(*programs, keys=[KEY])
    plan = maker.plan()
    (work / "base").mkdir()
    base = await FromLayout(hollow_base(work / "base")).image(HERE)
    for descriptor in base.manifest.layers:
        await mothership.blobs.put_file(work / "base" / "layout" / "blobs" / "sha256" / descriptor.digest[7:])
    catalog, images = [], {}
    for number, (entry, algorithm) in enumerate(zip(plan.order.entries, plan.catalog, strict=True)):
        tree = work / f"tree-{number}"
        (tree / "bin").mkdir(parents=True)
        (tree / "bin" / "pipe").write_text(programs[entry.vanity_url])
        (tree / "bin" / "pipe").chmod(0o755)
        revision = Revision(entry.owner, entry.name, entry.commit, Language.PIPE)
        made = assembled(
            revision,
            Prepared(tree, None),
            base,
            BasePython.usual(VERSION),
            runner=Path(runner.__file__).parent,
            work=work,
        )
        async with made as image:
            for file in image.made.values():
                await mothership.blobs.put_file(file)
            for content in (image.image.manifest_bytes, image.image.config_bytes):
                await mothership.blobs.put(content)
            images[str(entry.revision_id)] = image.image.descriptor.digest
        built = algorithm.revisions[0].model_copy(
            update={"language": Language.PIPE, "artifact": Artifact(source="5" * 64, digest=f"{number:064x}")}
        )
        catalog.append(algorithm.model_copy(update={"revisions": (built,), "secrets_version": 1}))
    entries = tuple(
        one.model_copy(update={"replicas": 2 if one.vanity_url == "edge/twice" else 1}) for one in plan.order.entries
    )
    order = plan.order.model_copy(update={"entries": entries})
    return plan.model_copy(update={"order": order, "catalog": tuple(catalog), "images": images})


async def test_replicas_come_back_and_one_that_cannot_load_says_why(
    bundle: tuple[BundleFolder, tuple[str, str]],
) -> None:
    await asyncio.to_thread(_lives, *bundle)


def _lives(folder: BundleFolder, ids: tuple[str, str]) -> None:
    with running(folder, ids) as satellite:
        assert "no model here" in satellite.says("edge/broken: 0 of 1 ready, tried again")
        assert satellite.call("edge/twice", 21)["result"] == [42, "a secret"]
        refused = satellite.http.post("/v1/algo/edge/broken", json=1)
        assert (refused.status_code, "no model here" in refused.text) != (200, False)
        status = {one["vanity_url"]: one for one in satellite.status["entries"]}
        satellite.until(
            lambda: {one["vanity_url"]: one["ready"] for one in satellite.status["entries"]}["edge/twice"] == 2,
            "both replicas",
        )
        assert status["edge/broken"]["ready"] == 0

        plan = folder.data / "plan.json"
        taken = plan.stat().st_ino
        second = subprocess.run(
            [str(COMMAND), "satellite", *ids, "run", "--dir", str(folder.path), "--port", "0"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (second.returncode, "already; stop it first" in second.stderr) == (1, True), second.stderr
        assert satellite.status["pid"] == satellite.process.pid, "that is the first one's"
        assert plan.stat().st_ino == taken
        other = [str(COMMAND), "satellite", *ids, "verify", "--dir", str(folder.path)]
        assert subprocess.run(other, timeout=SECONDS, check=False).returncode == 0, "other commands go on meanwhile"

        before = set(satellite.replicas)
        assert before
        for pid in before:
            _kill(pid)
        satellite.until(lambda: satellite.replicas and before.isdisjoint(satellite.replicas), "others instead")
        satellite.until(lambda: _answers(satellite), "answer again")
    assert satellite.process.returncode == 0, "".join(satellite.lines)
    assert not satellite.replicas


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _answers(satellite: Satellite) -> bool:
    return bool(_result(satellite) == [4, "a secret"])


def _result(satellite: Satellite) -> Any:
    """Twice two, or what is said instead; None while nobody says anything."""
    try:
        answer = satellite.http.post("/v1/algo/edge/twice", json=2)
    except httpx.ConnectError:
        return None
    return answer.json().get("result") if answer.status_code == 200 else None


async def test_nothing_is_run_that_an_earlier_one_unpacked(bundle: tuple[BundleFolder, tuple[str, str]]) -> None:
    await asyncio.to_thread(_is_unpacked_anew, *bundle)


def _is_unpacked_anew(folder: BundleFolder, ids: tuple[str, str]) -> None:
    node = folder.data / "worker"
    try:
        with running(folder, ids) as first:
            first.until(lambda: _answers(first), "answer")
            first.process.kill()
            first.process.wait(SECONDS)
        programs, runners = list(node.glob("trees/*/bin/pipe")), list(node.glob("runner-*/*"))
        assert len(programs) == 2
        for program in programs:
            program.chmod(0o755)
            program.write_text(TWICE.replace("* 2", "* 666"))
        for file in runners:
            file.chmod(0o644)
            file.write_bytes(file.read_bytes() + b"\n\n")
        with running(folder, ids) as second:
            assert second.until(lambda: _result(second), "answer") == [4, "a secret"]
            for file in runners:
                assert file.read_bytes() == (Path(runner.__file__).parent / file.name).read_bytes()
        assert not [*node.glob("trees/*"), *node.glob("environments/*"), *node.glob("runner-*")]
        assert not (folder.data / "gateway" / "call-token-secret").exists(), "each run has its own"
    finally:
        for pid in processes_in(folder.data):
            _kill(pid)


async def test_what_a_killed_one_left_is_ended_by_the_next(bundle: tuple[BundleFolder, tuple[str, str]]) -> None:
    await asyncio.to_thread(_starts_again, *bundle)


def _starts_again(folder: BundleFolder, ids: tuple[str, str]) -> None:
    left: set[int] = set()
    try:
        with running(folder, ids) as first:
            first.until(lambda: _answers(first), "answer")
            left |= set(first.replicas)
            first.process.kill()
            first.process.wait(SECONDS)
        with running(folder, ids) as second:
            second.until(lambda: _answers(second), "answer")
            assert left.isdisjoint(second.replicas)
        assert not second.replicas
        assert not (folder.data / "status.json").exists()
    finally:
        for pid in processes_in(folder.data):
            _kill(pid)
