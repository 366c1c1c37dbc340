"""Talks to a replica's runner over its control socket (see `runner/protocol.py`): how are you, drain, stop."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from services.worker.runner import protocol

_MAX_ANSWER_BYTES = 64 * 1024


class NoAnswer(Exception):
    """The runner does not answer (yet, or any more)."""


@dataclass(frozen=True)
class Health:
    state: str
    """One of the words of `runner/state.py`."""
    reason: str | None


class Control:
    """One runner's control socket. Whoever is in the sandbox could have put something else in its place, so no
    answer is believed beyond its form."""

    def __init__(self, path: Path, *, timeout: float = 2.0) -> None:
        self._path = path
        self._timeout = timeout

    async def health(self) -> Health:
        """Raises NoAnswer."""
        answer = await self._ask("GET", protocol.HEALTH_PATH)
        state, reason = answer.get("state"), answer.get("reason")
        if not isinstance(state, str):
            raise NoAnswer("the runner's answer names no state")
        return Health(state, reason[:2000] if isinstance(reason, str) else None)

    async def drain(self) -> None:
        """Raises NoAnswer."""
        await self._ask("POST", protocol.DRAIN_PATH)

    async def stop(self) -> None:
        """Raises NoAnswer."""
        await self._ask("POST", protocol.STOP_PATH)

    async def _ask(self, method: str, target: str) -> dict[str, object]:
        head = f"{method} {target} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        try:
            async with asyncio.timeout(self._timeout):
                if not stat.S_ISSOCK(self._path.lstat().st_mode):
                    raise NoAnswer("there is no socket where the runner should listen")
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_MAX_ANSWER_BYTES)
                try:
                    writer.write(head.encode())
                    answer = await reader.read(_MAX_ANSWER_BYTES)
                    while not reader.at_eof() and len(answer) < _MAX_ANSWER_BYTES:
                        answer += await reader.read(_MAX_ANSWER_BYTES)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise NoAnswer(f"the runner does not answer: {error or 'in time'}") from error
        try:
            members = json.loads(answer.partition(b"\r\n\r\n")[2])
        except ValueError as error:
            raise NoAnswer("the runner's answer is not JSON") from error
        if not isinstance(members, dict):
            raise NoAnswer("the runner's answer is no object")
        return members
