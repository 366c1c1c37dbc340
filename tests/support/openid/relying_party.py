"""A real relying party, as a process: npm's `openid-client`, told what to do over its standard streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.openid import install

_SCRIPT = Path(__file__).parent / "relying_party.mjs"
_SECONDS = 60.0


class Refused(Exception):
    """The client refuses, or was refused.

    Args:
        error: OAuth's word for it, or the client's.
    """

    def __init__(self, error: str, words: str) -> None:
        super().__init__(f"{error}: {words}")
        self.error = error


class RelyingParty:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, command: str, **given: Any) -> Any:
        """The result of a command of `relying_party.mjs`. Raises Refused."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")
        await stdin.drain()
        async with asyncio.timeout(_SECONDS):
            line = await stdout.readline()
        assert line, "the client ended: it could not discover the server"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"], answer["words"])
        return answer["result"]


@asynccontextmanager
async def relying_party(issuer: str, client: dict[str, Any], method: str = "") -> AsyncIterator[RelyingParty]:
    """The client, once it has read the server's metadata.

    Args:
        method: `ClientSecretBasic` or `ClientSecretPost`, for one with a secret.
    """
    await asyncio.to_thread(install, "openid-client")
    secret = client["client_secret"]
    asked = {"issuer": issuer, "client_id": client["client_id"], "client_secret": secret, "method": method}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(_SCRIPT),
        json.dumps(asked),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield RelyingParty(process)
    finally:
        process.kill()
        await process.wait()
