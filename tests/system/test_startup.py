"""Starting and ending `constellation up`, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.author import Author
from tests.support.deployment import COMMAND, STOP_SECONDS, Up

ECHO = "def apply(input):\n    return input\n"


@pytest.fixture
def up(tmp_path: Path) -> Up:
    folder = tmp_path / "data"
    folder.mkdir()
    return Up(folder)


def author_of(up: Up, folder: Path) -> Author:
    return Author(up.url, up.admin["username"], up.admin["api_key"], folder)


def refused(*arguments: str) -> str:
    """What a start that must fail says."""
    done = subprocess.run(
        [COMMAND, "up", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_ctrl_c_leaves_no_process_and_the_next_start_has_all_data(up: Up, tmp_path: Path) -> None:
    with up, ExitStack() as stack:
        author = stack.enter_context(author_of(up, tmp_path))
        author.deploy("echo", ECHO)
        assert author.result("echo", 1) == 1
        admin = up.admin
        assert up.replica_processes
        up.signal("up", signal.SIGINT)
        assert up.replica_processes == []
        assert not (up.data_dir / "postgres" / "postmaster.pid").exists()
        up.start()
        assert up.admin == admin
        assert author.result("echo", 2) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_database_starts_leaves_no_process(up: Up, number: signal.Signals) -> None:
    up.spawn("up", ["up", "--data-dir", str(up.data_dir), "--port", "0"])
    process = up.processes["up"]
    up.wait_until(lambda: list(up.data_dir.glob("postgres*/PG_VERSION")), "begin with its database")
    os.killpg(process.pid, number)  # as a terminal does
    assert process.wait(STOP_SECONDS) == 0
    assert [line for line in command_lines() if str(up.data_dir) in line] == []
    assert "Traceback" not in up.log_tail("up", 100_000)


def test_a_first_start_that_was_killed_leaves_nothing_that_the_next_one_stumbles_over(up: Up) -> None:
    up.spawn("up", ["up", "--data-dir", str(up.data_dir), "--port", "0"])
    up.wait_until(lambda: list(up.data_dir.glob("postgres.new-*/PG_VERSION")), "begin with its database")
    os.killpg(up.processes["up"].pid, signal.SIGKILL)
    up.kill()
    with up:
        assert [path.name for path in up.data_dir.glob("postgres*") if path.is_dir()] == ["postgres"]


def command_lines() -> list[str]:
    """Of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_after_kill_9_of_everything_the_next_start_has_all_data(up: Up, tmp_path: Path) -> None:
    with up, ExitStack() as stack:
        author = stack.enter_context(author_of(up, tmp_path))
        author.deploy("echo", ECHO)
        assert author.result("echo", 1) == 1
        database = int((up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        up.kill()
        for pid in (database, *up.replica_processes):
            with contextlib.suppress(ProcessLookupError):  # it ended with its parent
                os.kill(pid, signal.SIGKILL)
        up.start()
        assert author.result("echo", 2) == 2
        assert author.result(f"{author.username}/echo/0.1.0", 3) == 3


def test_replicas_that_outlived_a_kill_are_taken_over_and_end_with_the_platform(up: Up, tmp_path: Path) -> None:
    with up, ExitStack() as stack:
        author = stack.enter_context(author_of(up, tmp_path))
        author.deploy("pid", "import os\ndef load():\n    pass\ndef apply(input):\n    return os.getppid() or 1\n")
        assert author.result("pid", 0)
        before = set(up.replica_processes)
        up.kill()
        up.start()
        assert author.result("pid", 0)
        assert before & set(up.replica_processes)
        up.signal("up", signal.SIGTERM)
        assert up.replica_processes == []


def test_a_taken_port_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert f"port {port}" in said
    assert "in use" in said
    assert not (tmp_path / "data").exists()


def test_a_data_directory_in_use_is_told_with_the_process_that_has_it(up: Up) -> None:
    with up:
        said = refused("--data-dir", str(up.data_dir), "--port", "0")
        assert "in use by another instance" in said
        assert str(up.processes["up"].pid) in said


def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    said = refused("--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    assert "cannot be written" in said


def test_secrets_are_readable_by_their_owner_alone_and_not_in_the_log(up: Up) -> None:
    with up:
        for name in ("admin.json", "join-token", "fakts/master.key"):
            assert (up.data_dir / name).stat().st_mode & 0o077 == 0, name
        log = up.log_tail("up", 1_000_000)
        for secret in (*list(up.admin.values())[2:], (up.data_dir / "join-token").read_text()):
            assert secret not in log
