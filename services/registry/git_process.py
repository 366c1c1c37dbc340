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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0
RUN_SECONDS = 60.0


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
        stdout: int | IO[bytes] = PIPE,
    ) -> AsyncIterator[Process]:
        """A git process that is ended, with all it started, when the context is left."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=stdin,
            stdout=stdout,
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
        self,
        repository: Path,
        *arguments: str,
        feed: bytes | None = None,
        stdout: int | IO[bytes] = PIPE,
        seconds: float = RUN_SECONDS,
    ) -> bytes:
        """Run a command on a repository; its output. Raises GitFailed, TimeoutError."""
        command: Sequence[str] = ("--git-dir", str(repository), *arguments)
        stdin = DEVNULL if feed is None else PIPE
        async with asyncio.timeout(seconds), self.running(*command, stdin=stdin, stdout=stdout) as process:
            output, errors = await process.communicate(feed)
        if process.returncode != 0:
            raise GitFailed(errors.decode(errors="replace").strip()[-1000:] or f"git {arguments[0]} failed")
        return output or b""


async def _end(process: Process, grace: float) -> None:
    """End what is left of the process and of its group."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.communicate()
        _signal(process, signal.SIGKILL)
    await process.communicate()


def _signal(process: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def _as_environment(configuration: Mapping[str, str]) -> dict[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for number, (key, value) in enumerate(configuration.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
