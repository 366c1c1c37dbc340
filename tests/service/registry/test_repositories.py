"""Repositories on disk, and the git processes that work on them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.catalog import Language
from services.registry import repositories as module
from services.registry import templates
from services.registry.git_backend import BackendAnswer, Limits
from services.registry.git_process import Git, GitFailed, GitMissing
from services.registry.git_slots import GitSlots
from services.registry.repositories import MAX_FIELD_BYTES, Repositories
from services.registry.templates import TemplateFile
from tests.support.eventually import eventually

LIMIT = 1 << 20
FILES = templates.render(Language.PYTHON, "joe", "hello")


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    return Repositories(tmp_path / "git", Git(LIMIT), source_limit=LIMIT)


async def test_archives_of_a_commit_are_the_same_bytes(repositories: Repositories, tmp_path: Path) -> None:
    algorithm_id = uuid4()
    commit = await repositories.create(algorithm_id, FILES, "first")
    contents = []
    for name in ("a", "b"):
        await repositories.archive(algorithm_id, commit, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] != b""


async def test_a_repository_that_cannot_be_made_leaves_nothing(repositories: Repositories) -> None:
    algorithm_id = uuid4()
    with pytest.raises(GitFailed):
        await repositories.create(algorithm_id, [TemplateFile("two\nlines", b"")], "first")
    assert not repositories.path(algorithm_id).exists()


async def test_what_is_not_there_has_no_head_and_no_archive(repositories: Repositories, tmp_path: Path) -> None:
    assert await repositories.head(uuid4()) is None
    with pytest.raises(GitFailed):
        await repositories.archive(uuid4(), "f" * 40, tmp_path / "x")


async def test_a_source_that_is_larger_than_allowed_has_no_archive(
    repositories: Repositories, tmp_path: Path
) -> None:
    algorithm_id = uuid4()
    zeros = TemplateFile("zeros", b"\0" * (4 * LIMIT))
    commit = await repositories.create(algorithm_id, [*FILES, zeros], "4 MiB that pack into a few KiB")
    with pytest.raises(GitFailed, match="larger than 1 MiB"):
        await repositories.archive(algorithm_id, commit, tmp_path / "x")
    assert (tmp_path / "x").stat().st_size <= LIMIT


async def test_messages_of_commits_keep_their_lines(repositories: Repositories) -> None:
    algorithm_id = uuid4()
    commit = await repositories.create(algorithm_id, FILES, "subject\n\nbody ü\x1e\x1f\nend")
    [found] = await repositories.commits(algorithm_id, since=None, until=None)
    assert (found.id, found.subject, found.message) == (commit, "subject", "subject\n\nbody ü\x1e\x1f\nend")


async def test_a_message_of_any_size_leaves_room_for_the_others(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm_id = uuid4()
    await repositories.create(algorithm_id, FILES, "first")
    git, path = Git(LIMIT), repositories.path(algorithm_id)
    long = b"a line\n" * (4 * LIMIT)
    for number, message in enumerate((long, b"of 3 lines\nin one\n\nparagraph", long)):
        head = "refs/heads/master"
        stream = f"commit {head}\ncommitter joe <j@example.org> {number} +0000\ndata {len(message)}\n".encode()
        await git.run(path, "fast-import", "--quiet", feed=b"".join([stream, message, f"\nfrom {head}^0\n".encode()]))
    found = await repositories.commits(algorithm_id, since=None, until=None)
    assert [one.subject for one in found[1::2]] == ["of 3 lines in one", "first"]
    assert [one.message.startswith("a line\na line") for one in found] == [True, False, True, False]
    assert all(len(one.subject) <= len(one.message) <= MAX_FIELD_BYTES for one in found)
    monkeypatch.setattr(module, "MAX_LOG_BYTES", LIMIT)
    cut = await repositories.commits(algorithm_id, since=None, until=None)
    assert [one.id for one in cut] == [found[0].id], "what git says further is not read"


async def test_repositories_that_were_moved_aside_are_kept_for_a_while(repositories: Repositories) -> None:
    old, new = uuid4(), uuid4()
    for algorithm_id in (old, new):
        await repositories.create(algorithm_id, FILES, "first")
        repositories.move_aside(algorithm_id)
        repositories.move_aside(algorithm_id)
    removed = repositories.folder / ".removed"
    [aside] = removed.glob(f"{old}-*.git")
    os.utime(aside, (0, 0))
    repositories.purge(older_than=3600)
    assert [path.name.startswith(str(new)) for path in removed.iterdir()] == [True]


async def test_strays_are_repositories_of_no_algorithm(repositories: Repositories) -> None:
    known, stray, fresh = uuid4(), uuid4(), uuid4()
    for algorithm_id in (known, stray, fresh):
        await repositories.create(algorithm_id, FILES, "first")
    (repositories.folder / "unrelated.git").mkdir()
    for algorithm_id in (known, stray):
        os.utime(repositories.path(algorithm_id), (0, 0))
    assert repositories.strays({known}, older_than=3600) == [stray]


async def test_what_a_killed_git_left_is_removed_when_it_is_old(repositories: Repositories) -> None:
    algorithm_id = uuid4()
    await repositories.create(algorithm_id, FILES, "first")
    path = repositories.path(algorithm_id)
    left = [path / "refs/heads/master.lock", path / "packed-refs.lock", path / "objects/tmp_objdir-incoming-1"]
    left[0].touch()
    left[1].touch()
    left[2].mkdir()
    for one in left[:1] + left[2:]:
        os.utime(one, (0, 0))
    repositories.unlock(algorithm_id, older_than=3600)
    assert [one.exists() for one in left] == [False, True, False]
    assert await repositories.head(algorithm_id) is not None


def test_without_git_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing, match="git is not installed"):
        Git(LIMIT)


class TestProcesses:
    """Processes end with their context, whatever they do. A script stands where git would."""

    def script(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, grace: float = 5) -> Git:
        program = tmp_path / "git"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert shutil.which("git") == str(program)
        return Git(LIMIT, grace=grace)

    async def test_one_that_takes_too_long_ends_with_its_children(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git = self.script(tmp_path, monkeypatch, f"sleep 600 & echo $! > {tmp_path}/child; wait")
        await _ended(await _stopped(git, tmp_path / "child"))

    async def test_one_that_does_not_listen_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        git = self.script(
            tmp_path,
            monkeypatch,
            f"trap '' TERM; echo $$ > {tmp_path}/self; while true; do sleep 0.1; done",
            grace=0.2,
        )
        await _ended(await _stopped(git, tmp_path / "self"))

    async def test_a_request_that_is_cancelled_ends_it_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git = self.script(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/self; exec sleep 600")
        running = asyncio.create_task(git.run(tmp_path, "status"))
        process = int(await eventually((tmp_path / "self").read_text))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await _ended(process)

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            ("exit 1", 503),
            ("echo nonsense; echo", 503),
            ("printf 'Status: 418 Teapot\\r\\nContent-Type: text/plain\\r\\n\\r\\nhello'; exit 1", 418),
            ("printf 'Content-Type: text/plain\\r\\n\\r\\n'", 200),
        ],
    )
    async def test_whatever_it_answers_the_client_gets_an_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
    ) -> None:
        git = self.script(tmp_path, monkeypatch, answer)
        ended: list[UUID] = []

        async def settle() -> None:
            ended.append(uuid4())
            raise RuntimeError("the database is away")

        sent = await _call(BackendAnswer(git, _limits(), {"REMOTE_USER": "joe"}, settle))
        assert sent[0]["status"] == status
        assert sent[-1].get("more_body", False) is False
        assert len(ended) == 1


def _limits() -> Limits:
    return Limits(body_bytes=LIMIT, seconds=120, slots=GitSlots(1, of_account=1))


async def _call(answer: BackendAnswer) -> list[dict[str, object]]:
    """What an application sends for a request without a body."""
    sent: list[dict[str, object]] = []
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, object]:
        if messages:
            return dict(messages.pop())
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    await asyncio.wait_for(answer({"type": "http", "method": "GET", "headers": []}, receive, send), 60)
    return sent


async def _stopped(git: Git, note: Path) -> int:
    """Run a script that does not end by itself for too long; the process that it noted."""
    for seconds in (0.5, 10, 60):  # a busy machine may not come so far in half a second
        with pytest.raises(TimeoutError):
            await git.run(note.parent, "status", seconds=seconds)
        if process := _noted(note):
            return process
    raise AssertionError(f"the script did not write {note}")


def _noted(note: Path) -> int:
    return int(note.read_text() or 0) if note.exists() else 0


async def _ended(process: int) -> None:
    await eventually(lambda: not _runs(process))


def _runs(process: int) -> bool:
    """There is such a process, and it does not just wait to be reaped by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
