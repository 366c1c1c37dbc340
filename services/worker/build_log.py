"""The log of one build, sent to the registry while it grows. Each post also keeps the build's lease."""

from __future__ import annotations

import asyncio

from libs.common import logs, problems
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.builds import BuildLog, BuildSpec

log = logs.get(__name__)

MAX_CHARACTERS = 4_000_000
_PIECE = 400_000
_PERIOD_SECONDS = 2.0
_CUT = "\n==> the log is longer than 4,000,000 characters; the rest is left out\n"


class LeaseLost(Exception):
    """Another worker has the build now, or it was ended: drop the work."""


class LogStream:
    """Collects what is said and posts it in order, from one place at a time."""

    def __init__(self, registry: RegistryClient, spec: BuildSpec) -> None:
        self._registry = registry
        self._spec = spec
        self._pending: list[str] = []
        self._said = 0
        self._sent = 0
        self._piece: str | None = None
        self._posting = asyncio.Lock()

    def say(self, text: str) -> None:
        """Add text, up to MAX_CHARACTERS in all."""
        if self._said >= MAX_CHARACTERS or not text:
            return
        text = text.replace("\0", "\ufffd")
        if self._said + len(text) >= MAX_CHARACTERS:
            text = text[: MAX_CHARACTERS - self._said] + _CUT
        self._said += len(text)
        self._pending.append(text)

    def step(self, title: str) -> None:
        """Begin a step, with a line that people can find."""
        self.say(f"==> {title}\n")

    async def run(self) -> None:
        """Post every few seconds until cancelled, also when there is nothing to say. Raises LeaseLost."""
        period = min(_PERIOD_SECONDS, self._spec.lease_seconds / 4)
        while True:
            await self.post()
            await asyncio.sleep(period)

    async def post(self) -> bool:
        """Send what there is. False when the registry could not be reached. Raises LeaseLost."""
        async with self._posting:
            while True:
                if self._piece is None:
                    text = "".join(self._pending)
                    self._piece, rest = text[:_PIECE], text[_PIECE:]
                    self._pending = [rest] if rest else []
                try:
                    await self._registry.append_build_log(
                        self._spec.id,
                        BuildLog(lease_token=self._spec.lease_token, offset=self._sent, text=self._piece),
                    )
                except (problems.Conflict, problems.NotFound) as error:
                    raise LeaseLost(error.detail) from error
                except problems.Problem as error:
                    # It may have arrived: the same piece at the same offset is sent again.
                    log.info("build_log_not_posted", reason=error.detail)
                    return False
                self._sent += len(self._piece)
                self._piece = None
                if not self._pending:
                    return True
