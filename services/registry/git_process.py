"""Running git: a clean environment, one policy for every repository, and an end for every process.

Git's children share a process group that ends with the context, first by SIGTERM, so that git takes its lock files
away, then by SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

GRACE_SECONDS = 5.0
RUN_SECONDS = 60.0
CHUNK = 1 << 16
MAX_OUTPUT = 8 << 20
"""Bytes that a command may say to who keeps them in memory."""
STDERR_BYTES = 2000


class GitFailed(Exception):
    """Git ended with an error; the message is git's."""


class GitMissing(RuntimeError):
    """There is no git on this machine."""


def policy(limit_bytes: int) -> dict[str, str]:
    """Git's configuration for repositories that we serve: history only grows, and nothing on the machine interferes.

    It comes by environment with every process, so it holds for repositories of any age.
    """
    return {
        "core.fsync": "committed",
        "core.fsyncMethod": "batch",
        "core.hooksPath": os.devnull,
        "core.logAllRefUpdates": "false",
        "gc.autoDetach": "false",
        "http.receivepack": "true",
        "http.uploadpack": "true",
        "http.getanyfile": "false",
        "init.defaultBranch": "master",
        "receive.denyDeletes": "true",
        "receive.denyNonFastForwards": "true",
        "receive.fsckObjects": "true",
        "receive.maxInputSize": str(limit_bytes),
        "safe.directory": "*",
        "tar.umask": "0022",
    }


class Git:
    """The git command. Raises GitMissing when there is none.

    Args:
        limit_bytes: most that one push may bring, unpacked from its transfer encoding.
        grace: seconds that a process has to end by itself when it is told to.
    """

    def __init__(self, limit_bytes: int, *, grace: float = GRACE_SECONDS) -> None:
        program = shutil.which("git")
        if program is None:
            raise GitMissing("git is not installed on this machine; the registry keeps its repositories with it")
        self._program = program
        self._grace = grace
        self._environment = {
            "PATH": os.pathsep.join((str(Path(program).parent), os.defpath.lstrip(os.pathsep))),
            "HOME": os.devnull,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            **_as_environment(policy(limit_bytes)),
        }

    @asynccontextmanager
    async def running(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stdin: int = DEVNULL,
    ) -> AsyncIterator[Process]:
        """A git process that is ended, with all it started, when the context is left."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
            env={**self._environment, **(environment or {})},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            ending = asyncio.ensure_future(_end(process, self._grace))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise

    async def run(
        self, repository: Path, *arguments: str, feed: bytes | None = None, seconds: float = RUN_SECONDS
    ) -> bytes:
        """Run a command on a repository; its output, of at most MAX_OUTPUT. Raises GitFailed, TimeoutError."""
        output = bytearray()

        async def keep(chunk: bytes) -> None:
            output.extend(chunk)
            if len(output) > MAX_OUTPUT:
                raise GitFailed(f"git {arguments[0]} says more than {MAX_OUTPUT} bytes")

        await self.stream(repository, *arguments, take=keep, feed=feed, seconds=seconds)
        return bytes(output)

    async def stream(
        self,
        repository: Path,
        *arguments: str,
        take: Callable[[bytes], Awaitable[None]],
        feed: bytes | None = None,
        seconds: float = RUN_SECONDS,
    ) -> None:
        """Run a command on a repository. Raises GitFailed, TimeoutError, and what `take` raises, which ends it.

        Args:
            take: is given the output piece by piece.
        """
        command = ("--git-dir", str(repository), *arguments)
        stdin = DEVNULL if feed is None else PIPE
        async with asyncio.timeout(seconds), self.running(*command, stdin=stdin) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            assert process.stderr is not None  # noqa: S101 - it is a pipe
            complaints = asyncio.create_task(tail(process.stderr))
            feeding = asyncio.create_task(_feed(process.stdin, feed or b""))
            try:
                while chunk := await process.stdout.read(CHUNK):
                    await take(chunk)
                said = await complaints
                await process.wait()
            finally:
                complaints.cancel()
                feeding.cancel()
                await asyncio.gather(complaints, feeding, return_exceptions=True)
        if process.returncode != 0:
            raise GitFailed(said or f"git {arguments[0]} failed")


async def tail(stderr: asyncio.StreamReader) -> str:
    """The end of what git complains about, once it has said all."""
    kept = b""
    while chunk := await stderr.read(CHUNK):
        kept = (kept + chunk)[-STDERR_BYTES:]
    return kept.decode(errors="replace").strip()


async def _feed(stdin: asyncio.StreamWriter | None, content: bytes) -> None:
    """What git does not want any more is dropped: it says why in other words."""
    if stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(content)
            await stdin.drain()
        stdin.close()


async def _end(process: Process, grace: float) -> None:
    """End what is left of the process and of its group. What it still says is dropped."""
    gone = asyncio.gather(_drop(process.stdout), _drop(process.stderr), process.wait())
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        await asyncio.wait({gone}, timeout=grace)
        _signal(process, signal.SIGKILL)
    await gone


async def _drop(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(CHUNK):
        pass


def _signal(process: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def _as_environment(configuration: Mapping[str, str]) -> dict[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for number, (key, value) in enumerate(configuration.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
