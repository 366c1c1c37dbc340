"""One request of git's smart HTTP protocol, answered by `git http-backend` (CGI, RFC 3875).

Bytes stream both ways; nothing is kept in memory or on disk on the way. When the client leaves, sends too much, or
time is up, the process and all it started are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.common import logs
from libs.common.problems import Problem, TooLarge, Unavailable
from services.registry.git_process import CHUNK, Git, tail
from services.registry.git_slots import GitSlots

log = logs.get(__name__)

MAX_HEADER_BYTES = 16 * 1024
FRESH = {"cache-control": "no-cache, max-age=0, must-revalidate", "pragma": "no-cache"}


class TimeIsUp(Problem):
    status, title = 504, "Not finished in time"


class ClientLeft(Exception):
    """Nobody is there any more to take the answer."""


@dataclass(frozen=True)
class Limits:
    body_bytes: int
    seconds: float
    slots: GitSlots


def plain(problem: Problem) -> Response:
    """A refusal as git shows it to its user."""
    return Response(f"{problem.detail}\n", problem.status, {**FRESH, **problem.headers}, media_type="text/plain")


class BackendAnswer(Response):
    """The answer that git gives.

    Args:
        variables: the CGI variables of the request; REMOTE_USER is the account of who asks.
        ended: awaited when git has ended, however that came about, before the end of the answer is sent.
    """

    def __init__(
        self,
        git: Git,
        limits: Limits,
        variables: Mapping[str, str],
        ended: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._git = git
        self._limits = limits
        self._variables = variables
        self._ended = ended
        self._started = False
        self._consumed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem: Problem | None = None
        try:
            slot = self._limits.slots.of(self._variables["REMOTE_USER"])
            async with asyncio.timeout(self._limits.seconds), slot:
                await self._run(receive, send)
        except ClientLeft:
            log.info("git_client_left")
            return
        except TimeoutError:
            problem = TimeIsUp(f"git did not finish within {self._limits.seconds:.0f} s")
        except Problem as refused:
            problem = refused
        finally:
            await self._settle()
        if problem is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not self._started:
            await plain(problem)(scope, receive, send)
        else:  # the answer stays without its end, so that the client knows that it is not whole
            log.warning("git_answer_broken_off", reason=problem.detail)

    async def _run(self, receive: Receive, send: Send) -> None:
        running = self._git.running("http-backend", environment=self._variables, stdin=PIPE)
        async with running as process:
            feeding = asyncio.create_task(self._feed(receive, process))
            answering = asyncio.create_task(self._answer(process, send))
            try:
                await asyncio.wait({feeding, answering}, return_when=asyncio.FIRST_COMPLETED)
                if feeding.done():
                    feeding.result()
                await answering
            finally:
                feeding.cancel()
                answering.cancel()
                await asyncio.gather(feeding, answering, return_exceptions=True)

    async def _feed(self, receive: Receive, process: Process) -> None:
        """Hand the request's body to git, then watch for the client leaving. What git does not want any more is read
        and dropped: a client that still sends would not see the answer."""
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        seen, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            body = message.get("body", b"")
            seen += len(body)
            if seen > self._limits.body_bytes:
                raise TooLarge(f"a push may bring at most {self._limits.body_bytes >> 20} MiB; push in smaller steps")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if body and not process.stdin.is_closing():
                    process.stdin.write(body)
                    await process.stdin.drain()
            more = message.get("more_body", False)
        process.stdin.close()
        self._consumed.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientLeft

    async def _answer(self, process: Process, send: Send) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        complaints = asyncio.create_task(tail(process.stderr))
        try:
            status, headers = await _head(process.stdout)
            chunk = await process.stdout.read(CHUNK)
            self._started = True
            await send({"type": "http.response.start", "status": status, "headers": headers})
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await process.stdout.read(CHUNK)
            code = await process.wait()
            if code != 0:
                log.info("git_backend_failed", code=code, reason=logs.redact(await complaints))
            await self._consumed.wait()
        finally:
            complaints.cancel()
            await asyncio.gather(complaints, return_exceptions=True)

    async def _settle(self) -> None:
        """Runs to its end even if this request is cancelled."""
        if self._ended is None:
            return
        settling = asyncio.ensure_future(self._ended())
        try:
            await asyncio.shield(settling)
        except asyncio.CancelledError:
            await settling
            raise
        except Exception:  # the row of the push stays, and a loop looks again
            log.warning("push_not_settled", exc_info=True)


async def _head(stdout: asyncio.StreamReader) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and headers of a CGI answer. Raises Unavailable when git gives none."""
    status, headers, size = 200, [], 0
    while (line := (await stdout.readline()).rstrip(b"\r\n")) != b"":
        name, colon, value = line.partition(b":")
        size += len(line)
        if not colon or size > MAX_HEADER_BYTES:
            raise Unavailable("git did not answer as it should; try again")
        if name.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((name.lower().strip(), value.strip()))
    if not headers:
        raise Unavailable("git ended without an answer; try again")
    return status, headers
