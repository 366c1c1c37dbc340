"""Which of a service's addresses answers: they are tried by their challenge, the likeliest first."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from libs.common.connect.aliases import order, signed
from libs.common.contracts.joining import Alias, Instance

CHALLENGE_SECONDS = 3.0
HEAD_START_SECONDS = 0.3
"""How long one address is tried alone before the next one is tried beside it."""
FRESH_SECONDS = 10.0
"""How long an address that answered is taken to be alive."""


class Addresses:
    """Remembers what answered.

    Args:
        same_machine: the platform runs on this machine, so that its loopback addresses mean the same here.
        in_container: addresses of a container host's own network may be near.
    """

    def __init__(self, http: httpx.AsyncClient, *, same_machine: bool, in_container: bool | None = None) -> None:
        self._http = http
        self._same_machine = same_machine
        self._in_container = Path("/.dockerenv").exists() if in_container is None else in_container
        self._answered: dict[tuple[str, str], tuple[Alias, float]] = {}

    async def find(self, instance: Instance) -> Alias | None:
        """An address of the instance that answers now, or answered a moment ago; None when none does."""
        known, since = self._answered.get(_key(instance), (None, 0.0))
        if known is not None and known in instance.aliases and time.monotonic() < since + FRESH_SECONDS:
            return known
        tried = order(instance.aliases, same_machine=self._same_machine, in_container=self._in_container)
        if known in tried:
            tried = [known, *(alias for alias in tried if alias != known)]
        found = await self._first(tried, instance)
        if found is None:
            self._answered.pop(_key(instance), None)
        else:
            self._answered[_key(instance)] = found, time.monotonic()
        return found

    def forget(self, instance: Instance) -> None:
        """The address that was found last has stopped answering."""
        if (known := self._answered.get(_key(instance))) is not None:
            self._answered[_key(instance)] = known[0], -FRESH_SECONDS

    async def _first(self, aliases: Sequence[Alias], instance: Instance) -> Alias | None:
        """The first to answer; each gets a head start over those after it."""
        waiting = list(aliases)
        running: dict[asyncio.Task[bool], Alias] = {}
        try:
            while waiting or running:
                if waiting:
                    alias = waiting.pop(0)
                    running[asyncio.create_task(self._answers(alias, instance))] = alias
                done, _ = await asyncio.wait(
                    running,
                    timeout=HEAD_START_SECONDS if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    alias = running.pop(task)
                    if task.result():
                        return alias
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return None

    async def _answers(self, alias: Alias, instance: Instance) -> bool:
        """The challenge succeeds; where the instance has a key, only with its signature."""
        key = instance.challenge_key
        nonce = secrets.token_urlsafe(24)
        url = f"{alias.url}/{alias.challenge.lstrip('/')}"
        try:
            answer = await self._http.get(
                url, params={"nonce": nonce} if key else None, timeout=CHALLENGE_SECONDS, follow_redirects=False
            )
            if answer.status_code != 200:
                return False
            return key is None or signed(answer.json(), nonce, key)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return False


def _key(instance: Instance) -> tuple[str, str]:
    return instance.service, instance.identifier
