"""The bare repositories on disk, one per algorithm, named by its id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from services.registry.git_process import Git, GitFailed
from services.registry.templates import TemplateFile

MASTER = "refs/heads/master"
LOG_LIMIT = 500
MAX_FIELD_BYTES = 16 * 1024
"""That are kept of a message, or a name."""
MAX_LOG_BYTES = 64 << 20
"""That git may say of commits before the rest is left out."""
ARCHIVE_SECONDS = 600.0
_REMOVED = ".removed"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Commit:
    id: str
    author: str
    subject: str
    message: str


class Repositories:
    """See the module's documentation. A repository exists as long as its algorithm's row does."""

    def __init__(self, folder: Path, git: Git, *, source_limit: int) -> None:
        """
        Args:
            source_limit: most bytes that the archive of a commit may have. Git packs what repeats itself into very
                little, so what a push may bring says nothing of it.
        """
        self.folder = folder
        self._git = git
        self._source_limit = source_limit
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / _REMOVED).mkdir(exist_ok=True, mode=0o700)

    def path(self, algorithm_id: UUID) -> Path:
        return self.folder / f"{algorithm_id}.git"

    async def create(self, algorithm_id: UUID, files: Iterable[TemplateFile], message: str) -> str:
        """A repository whose `master` holds the files; returns the commit. Leaves nothing when it fails."""
        path = self.path(algorithm_id)
        try:
            await self._git.run(path, "init", "--quiet", "--bare", "--template=")
            attributes = path / "info" / "attributes"
            await asyncio.to_thread(_write, attributes, "* -export-ignore -export-subst\n")
            await self._git.run(path, "fast-import", "--quiet", "--done", feed=_first_commit(files, message))
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            raise
        commit = await self.head(algorithm_id)
        if commit is None:
            raise GitFailed("the new repository has no commit")
        return commit

    async def head(self, algorithm_id: UUID) -> str | None:
        """The commit of `master`, or None while there is none."""
        with contextlib.suppress(GitFailed):
            answer = await self._git.run(self.path(algorithm_id), "rev-parse", "--verify", "--quiet", MASTER)
            return answer.decode().strip()
        return None

    async def archive(self, algorithm_id: UUID, commit: str, target: Path) -> None:
        """Write the tar archive of a commit's tree, all of it: the same bytes each time.

        Raises GitFailed when that cannot be, or is larger than a source may be; TimeoutError.
        """
        size = 0
        with target.open("wb") as file:

            async def take(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                if size > self._source_limit:
                    raise GitFailed(
                        f"it is larger than {self._source_limit >> 20} MiB, which is the most that is built"
                    )
                await asyncio.to_thread(file.write, chunk)

            await self._git.stream(
                self.path(algorithm_id), "archive", "--format=tar", commit, take=take, seconds=ARCHIVE_SECONDS
            )

    async def commits(self, algorithm_id: UUID, *, since: str | None, until: str | None) -> list[Commit]:
        """Commits after `since` up to `until` (default: master), newest first, at most 500. Long messages are cut.

        Raises GitFailed, TimeoutError.
        """
        for commit in (since, until):
            if commit is not None and not _COMMIT.fullmatch(commit):
                raise GitFailed(f"'{commit}' is not a commit: give its 40 hex digits")
        pick = [until or MASTER] + ([f"^{since}"] if since else [])
        entries = _Entries()
        command = ("log", "-z", f"--max-count={LOG_LIMIT}", "--encoding=UTF-8", "--format=%H%x00%an%x00%B")
        with contextlib.suppress(_Enough):
            await self._git.stream(self.path(algorithm_id), *command, *pick, "--", take=entries.take)
        return entries.commits()

    def move_aside(self, algorithm_id: UUID) -> None:
        """Take a repository out of service; it stays on disk for a while. Nothing to do when there is none."""
        aside = self.folder / _REMOVED / f"{algorithm_id}-{time.time_ns()}.git"
        with contextlib.suppress(FileNotFoundError):
            self.path(algorithm_id).rename(aside)
            os.utime(aside)

    def unlock(self, algorithm_id: UUID, *, older_than: float) -> None:
        """Remove what git processes that were killed more than `older_than` seconds ago left behind."""
        path, limit = self.path(algorithm_id), time.time() - older_than
        locks = [*path.glob("*.lock"), *path.glob("refs/**/*.lock")]
        for left in [*locks, *path.glob("objects/tmp_objdir-*"), *path.glob("objects/incoming-*")]:
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < limit:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()

    def strays(self, known: Collection[UUID], *, older_than: float) -> list[UUID]:
        """Repositories of no known algorithm that nobody touched for `older_than` seconds."""
        limit, found = time.time() - older_than, []
        for path in self.folder.glob("*.git"):
            with contextlib.suppress(ValueError, FileNotFoundError):
                algorithm_id = UUID(path.stem)
                if algorithm_id not in known and path.stat().st_mtime < limit:
                    found.append(algorithm_id)
        return found

    def purge(self, *, older_than: float) -> None:
        """Delete repositories that were moved aside more than `older_than` seconds ago."""
        for path in (self.folder / _REMOVED).glob("*.git"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - older_than:
                    shutil.rmtree(path, ignore_errors=True)


class _Enough(Exception):
    """No more of the output is read."""


class _Entries:
    """Fields of commits as git says them, each with a NUL behind it, of which the beginnings are kept: a message can
    have any size."""

    def __init__(self) -> None:
        self._fields = [bytearray()]
        self._read = 0

    async def take(self, chunk: bytes) -> None:
        """Raises _Enough."""
        self._read += len(chunk)
        first, *further = chunk.split(b"\0")
        self._add(first)
        for part in further:
            self._fields.append(bytearray())
            self._add(part)
        if self._read > MAX_LOG_BYTES:
            raise _Enough

    def commits(self) -> list[Commit]:
        """What was read; the last one may miss the end of its message."""
        texts = [field.decode(errors="replace") for field in self._fields]
        entries = zip(*[iter(texts)] * 3, strict=False)
        return [_commit(one, author, message) for one, author, message in entries]

    def _add(self, part: bytes) -> None:
        field = self._fields[-1]
        field += part[: MAX_FIELD_BYTES - len(field)]


def _commit(identifier: str, author: str, message: str) -> Commit:
    """The subject is the first paragraph in one line, as git has it."""
    paragraph = message.strip("\n").partition("\n\n")[0]
    subject = " ".join(line.rstrip() for line in paragraph.split("\n"))
    return Commit(identifier, author, subject, message.rstrip("\n"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _first_commit(files: Iterable[TemplateFile], message: str) -> bytes:
    """A stream for `git fast-import`."""
    who = f"Constellation <constellation@localhost> {int(time.time())} +0000"
    parts = [f"commit {MASTER}\ncommitter {who}\n".encode(), _data(message.encode())]
    for file in files:
        mode = "100755" if file.executable else "100644"
        parts += [f"M {mode} inline {file.path}\n".encode(), _data(file.content)]
    return b"".join([*parts, b"done\n"])


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"
