"""Real programs in every kind of sandbox that this machine has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.worker import processes
from services.worker.processes import Process
from services.worker.sandbox import MARK, Confinement, Job, Limits, Sandbox, SandboxUnavailable, detect
from tests.service.worker.devices import gpu_nodes
from tests.service.worker.places import passable_folder
from tests.support.eventually import eventually
from tests.support.replica import until

ROOT = os.geteuid() == 0
UID = 210_123
NAMESPACES = Confinement("namespaces", new_users=not ROOT, isolated_network=True)
PYTHON = str(Path(sys.executable).resolve())
KINDS = [NAMESPACES, *([Confinement("uid")] if ROOT else []), Confinement("none")]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.mode)
def confinement(request: pytest.FixtureRequest) -> Confinement:
    kind: Confinement = request.param
    return kind


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose parents everybody may pass, as a worker's data folder is."""
    with passable_folder() as folder:
        (folder / "mounts").mkdir()
        yield folder
        for pid, name in processes.marked(MARK).items():  # what a failed test left
            if name.startswith(name_in(folder)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def name_in(place: Path) -> str:
    return f"test-{os.getpid()}-{place.name}"


def sandbox_of(kind: Confinement, place: Path, **options: Any) -> Sandbox:
    return Sandbox(kind, place / "mounts", **options)


def job(kind: Confinement, place: Path, script: str, *arguments: str, **members: Any) -> Job:
    folder = place / "job"
    uid = UID if kind.own_users else None
    if not folder.exists():
        (folder / "tmp").mkdir(parents=True)
        folder.chmod(0o711)
        if uid is not None:
            os.chown(folder / "tmp", uid, uid)
    return Job(
        **{
            "name": name_in(place),
            "command": ["/bin/sh", "-c", script, "sh", *arguments],
            "cwd": Path("/"),
            "folder": folder,
            "environment": {},
            "uid": uid,
            **members,
        }
    )


async def run(sandbox: Sandbox, what: Job) -> tuple[int | None, str]:
    """Status and output of a program that is let run to its end."""
    async with asyncio.timeout(60), sandbox.running(what) as (process, output):
        said = (await output.read()).decode()
        return await process.wait(), said.strip()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def own_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def left(what: Job) -> list[int]:
    return [pid for pid, name in processes.marked(MARK).items() if name == what.name]


async def test_output_and_status_come_through(confinement: Confinement, place: Path) -> None:
    sandbox = sandbox_of(confinement, place)
    assert await run(sandbox, job(confinement, place, "echo out; echo err >&2; exit 7")) == (7, "out\nerr")
    assert await run(sandbox, job(confinement, place, "kill -KILL $$")) == (128 + signal.SIGKILL, "")
    status, said = await run(sandbox, job(confinement, place, "", command=["/nonexistent/program"]))
    assert (status, said) == (
        120,
        "constellation: /nonexistent/program could not be started: No such file or directory",
    )


async def test_only_given_variables_are_there(
    confinement: Confinement, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "x")
    sandbox = sandbox_of(confinement, place)
    _, said = await run(sandbox, job(confinement, place, "/usr/bin/env", environment={"GIVEN": "yes"}))
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "GIVEN", MARK}


async def test_no_open_file_of_the_worker_is_there(confinement: Confinement, place: Path) -> None:
    with (place / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        _, said = await run(sandbox_of(confinement, place), job(confinement, place, "ls /proc/self/fd"))
    assert set(said.split()) <= {"0", "1", "2", "3"}  # 3 is the folder that ls reads


async def test_privileges_cannot_be_gained(confinement: Confinement, place: Path) -> None:
    script = "grep -E '^(NoNewPrivs|CapEff|CapPrm)' /proc/self/status; id -u"
    _, said = await run(sandbox_of(confinement, place), job(confinement, place, script))
    words = said.split()
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    if confinement.mode != "none":
        assert words[words.index("CapEff:") + 1] == "0" * 16
        assert words[words.index("CapPrm:") + 1] == "0" * 16
        assert words[-1] == str(UID if confinement.own_users else os.getuid())


async def test_limits_hold(confinement: Confinement, place: Path) -> None:
    limits = Limits(data_mib=64, processes=50, open_files=100, file_mib=1)
    script = (
        "ulimit -d; ulimit -n; ulimit -f; ulimit -c; head -c 3000000 /dev/zero > $TMPDIR/big; wc -c < $TMPDIR/big"
    )
    _, said = await run(sandbox_of(confinement, place), job(confinement, place, script, limits=limits))
    lines = said.splitlines()
    assert lines[:4] == [str(64 * 1024), "100", "2048", "0"]
    assert lines[-1] == str(1 << 20)


async def test_everything_ends_with_the_program(confinement: Confinement, place: Path) -> None:
    what = job(confinement, place, "(setsid sh -c 'setsid sleep 987 & sleep 987' &) ; sleep 0.3; echo done")
    status, said = await run(sandbox_of(confinement, place), what)
    assert (status, said) == (0, "done")
    assert left(what) == []


async def test_everything_ends_when_it_is_told_to(confinement: Confinement, place: Path) -> None:
    what = job(
        confinement, place, "trap '' TERM INT HUP; (setsid setsid sleep 987 &) ; echo started; sleep 987; sleep 987"
    )
    async with sandbox_of(confinement, place).running(what) as (_, output):
        assert await output.readline() == b"started\n"
        await eventually(lambda: len(left(what)) >= 3)
    assert left(what) == []


async def test_everything_ends_when_the_launcher_is_killed(confinement: Confinement, place: Path) -> None:
    what = job(confinement, place, "(setsid setsid sleep 987 &) ; echo started; sleep 987")
    sandbox = sandbox_of(confinement, place)
    async with sandbox.running(what) as (process, output):
        assert await output.readline() == b"started\n"
        process.signal(signal.SIGKILL)
        await process.wait()
        if confinement.mode == "namespaces":
            await eventually(lambda: not left(what))
    assert left(what) == []


async def test_ending_one_leaves_others_of_the_same_user_alone(confinement: Confinement, place: Path) -> None:
    sandbox = sandbox_of(confinement, place)
    other = job(confinement, place, "echo started; sleep 987", name=f"{name_in(place)}-other")
    killed = job(confinement, place, "echo started; sleep 987")
    async with sandbox.running(other) as (process, output):
        assert await output.readline() == b"started\n"
        async with sandbox.running(killed) as (launcher, said):
            assert await said.readline() == b"started\n"
            launcher.signal(signal.SIGKILL)
        assert left(killed) == []
        assert process.running
        assert left(other)


def test_what_is_tied_to_a_process_ends_with_it(confinement: Confinement, place: Path) -> None:
    what = job(confinement, place, "")
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.service.worker.tied_job", confinement.mode, str(place), what.name],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"started\n"
        assert left(what)
    finally:
        holder.kill()
        holder.communicate()
    until(lambda: not left(what))


async def test_a_program_whose_start_is_not_recorded_does_not_start(confinement: Confinement, place: Path) -> None:
    sandbox = sandbox_of(confinement, place)
    seen: list[Process] = []

    def record(process: Process) -> None:
        seen.append(process)
        raise OSError("the disk is full")

    with (place / "out").open("wb") as out, pytest.raises(OSError, match="disk is full"):
        sandbox.start(job(confinement, place, "echo began"), out.fileno(), record=record)
    assert await seen[0].wait() == 120
    assert "began" not in (place / "out").read_text()


async def test_a_program_with_namespaces_sees_its_own_files_only(place: Path) -> None:
    (place / "secret").write_text("secret")
    (place / "shown").mkdir()
    (place / "shown" / "file").write_text("shown")
    (place / "own").mkdir()
    (place / "own").chmod(0o777)
    sandbox = sandbox_of(NAMESPACES, place, hidden=[place])
    script = f"""
        cat {place}/secret; cat {place}/shown/file; echo
        touch {place}/shown/new {place}/own/new /usr/new /etc/new /new /dev/new
        ls {place}; echo temporary > /tmp/file; ls /tmp | grep file; ls /home /root /var; readlink /proc/self/ns/pid
    """
    what = job(NAMESPACES, place, script, readable=[place / "shown"], writable=[place / "own"])
    _, said = await run(sandbox, what)
    assert f"cat: {place}/secret: No such file or directory" in said
    assert "shown" in said.splitlines()
    assert names_in(place) == ["job", "mounts", "own", "secret", "shown"]
    assert names_in(place / "own") == ["new"]
    assert names_in(place / "shown") == ["file"]
    assert said.count("Read-only file system") == 5
    assert "file" in said.splitlines()
    assert (place / "job" / "tmp" / "file").read_text() == "temporary\n"
    assert own_namespace() not in said


async def test_the_number_of_processors_is_seen(place: Path) -> None:
    script = "cat /sys/devices/system/cpu/online; nproc"
    _, said = await run(sandbox_of(NAMESPACES, place), job(NAMESPACES, place, script))
    online, count = said.split()
    assert online[0] == "0"
    assert int(count) == len(os.sched_getaffinity(0))


async def test_a_program_with_namespaces_sees_the_devices_that_it_is_given(place: Path) -> None:
    sandbox, nodes = sandbox_of(NAMESPACES, place), gpu_nodes(place / "dev", 2)
    script = "ls /dev; test -r /dev/nvidia1 && head -c 3 /dev/nvidia1 | wc -c"
    _, without = await run(sandbox, job(NAMESPACES, place, script))
    assert not [name for name in without.split() if name.startswith("nvidia")]
    given = {"nvidia1": nodes / "nvidia1", "nvidiactl": nodes / "nvidiactl"}
    status, said = await run(sandbox, job(NAMESPACES, place, script, devices=given))
    assert status == 0
    assert set(said.split()) - set(without.split()) == {"nvidia1", "nvidiactl", "3" if ROOT else "0"}


async def test_a_hidden_folder_of_the_system_shows_what_is_asked_for(place: Path) -> None:
    shown = Path("/usr/share/doc")
    sandbox = sandbox_of(NAMESPACES, place, hidden=[shown.parent], visible=[shown])
    _, said = await run(sandbox, job(NAMESPACES, place, f"ls {shown.parent}; touch {shown.parent}/new"))
    assert said.splitlines()[0] == shown.name
    assert "Read-only file system" in said


async def test_processes_of_the_machine_are_not_seen(place: Path) -> None:
    script = f"ls /proc | grep -c '^[0-9]'; kill -0 {os.getpid()}; cat /proc/1/environ"
    _, said = await run(sandbox_of(NAMESPACES, place), job(NAMESPACES, place, script))
    assert int(said.split()[0]) <= 5
    assert "No such process" in said
    assert "/proc/1/environ: Permission denied" in said


async def test_another_user_cannot_read_what_is_private(place: Path) -> None:
    if not ROOT:
        pytest.skip("only root has users to give")
    (place / "secret").write_text("secret")
    (place / "secret").chmod(0o600)
    kind = Confinement("uid")
    script = f"cat {place}/secret; cat /proc/{os.getpid()}/environ; cat /proc/$PPID/environ; kill -0 {os.getpid()}"
    _, said = await run(sandbox_of(kind, place), job(kind, place, script))
    assert said.count("Permission denied") == 3
    assert "not permitted" in said


async def test_an_isolated_program_has_its_own_loopback_only(place: Path) -> None:
    with socket.socket() as outside:
        outside.bind(("127.0.0.1", 0))
        outside.listen()
        code = (
            "import socket, sys\nown = socket.create_server(('127.0.0.1', 0))\n"
            "socket.create_connection(own.getsockname())\nprint('own loopback works', flush=True)\n"
            "socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)\n"
        )
        sandbox = sandbox_of(NAMESPACES, place, visible=[Path(sys.base_prefix)])
        command = [PYTHON, "-I", "-S", "-c", code, str(outside.getsockname()[1])]
        status, said = await run(sandbox, job(NAMESPACES, place, "", command=command, isolated=True))
        assert (status, said.splitlines()[0]) == (1, "own loopback works")
        assert "ConnectionRefusedError" in said
        status, said = await run(sandbox, job(NAMESPACES, place, "", command=command))
        assert (status, said) == (0, "own loopback works")


async def test_isolation_is_refused_where_there_is_none(place: Path) -> None:
    kind = Confinement("none")
    with pytest.raises(SandboxUnavailable, match="cannot take away the network"):
        await run(sandbox_of(kind, place), job(kind, place, "true", isolated=True))


async def test_the_strongest_kind_that_works_is_found(place: Path) -> None:
    (place / "work").mkdir(mode=0o711)
    programs = [Path("/bin/sh")]
    found = await detect("auto", place / "work", place / "mounts", programs=programs, uid=UID)
    assert found.confinement == NAMESPACES
    found = await detect("off", place / "work", place / "mounts", programs=programs, uid=UID)
    assert found.confinement == Confinement("none")
    if ROOT:
        found = await detect("uid", place / "work", place / "mounts", programs=programs, uid=UID)
        assert found.confinement == Confinement("uid")
    assert list((place / "work").iterdir()) == []


async def test_a_kind_that_does_not_work_is_refused_with_the_reason(place: Path) -> None:
    (place / "work").mkdir(mode=0o711)
    missing = [Path("/nonexistent/python")]
    with pytest.raises(SandboxUnavailable, match=r"/nonexistent/python cannot be reached.*CONSTELLATION_SANDBOX"):
        await detect("namespaces", place / "work", place / "mounts", programs=missing, uid=UID)


def test_an_ordinary_user_gets_namespaces_too(place: Path) -> None:
    """The same file, run by somebody else than root."""
    if not ROOT:
        pytest.skip("all of this file runs as an ordinary user already")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wrong = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    if python is None or subprocess.run([python, "-c", wrong], check=False).returncode:
        pytest.skip(f"needs a Python {version} that every user can execute")
    folder = place / "ordinary"
    folder.mkdir()
    os.chown(folder, UID, UID)
    code = Path(__file__).with_name("ordinary_user.py")
    done = subprocess.run(
        [python, "-B", str(code), str(folder)],
        env={"PYTHONPATH": os.pathsep.join([str(code.parents[3]), sysconfig.get_paths()["purelib"]])},
        user=UID,
        group=UID,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["confinement"] == ["namespaces", True, True]
    assert seen["uid"] == str(UID)
    assert seen["secret"] == "hidden"
    assert seen["processes"] <= 8
    assert seen["capabilities"] == "0" * 16
    assert seen["left"] == []
