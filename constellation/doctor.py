"""Whether a platform can be used from here, and what to do where it cannot."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import httpx

from constellation.rest import Authorization, Key
from libs.common.connect.errors import ConnectFailed
from libs.common.contracts.joining import SERVICE_PREFIX, Alias

SERVICES = ("fakts", "registry", "deployer", "worker", "gateway")
_SECONDS = 5.0
_SKEW_SECONDS = 30.0
"""What tokens' times may be off without harm."""


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Cannot be told from here, or may be meant."""
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    detail: str
    """What was seen; for a bad one, what to do."""


class Doctor:
    """Args:
    url: the platform's public address.
    key: an API key or login; None when there is none.
    transport: how requests are carried; the network's by default.
    """

    def __init__(self, url: str, key: Key | None, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._key = key
        self._http = httpx.Client(timeout=_SECONDS, transport=transport)

    def examine(self) -> Iterator[Finding]:
        """Findings as they are made, those first without which the others say nothing."""
        with self._http:
            yield _git()
            try:
                sent = time.time()
                answer = self._http.get(f"{self._url}/.well-known/fakts")
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                yield Finding(
                    "address",
                    State.BAD,
                    f"{self._url} cannot be reached ({error}); start the platform, or give its address with --url",
                )
                return
            document = _json(answer)
            if answer.status_code != 200 or "token_endpoint" not in document:
                yield Finding("address", State.BAD, f"{self._url} answers {answer.status_code} and is no platform")
                return
            yield Finding("address", State.OK, f"{self._url} is '{document.get('name')}'")
            yield _versions(str(document.get("version")), version("constellation"))
            yield clock(answer.headers.get("date"), sent, time.time())
            yield self._readiness("readiness", self._url)
            yield from self._authorized()

    def _authorized(self) -> Iterator[Finding]:
        if self._key is None:
            yield Finding("credential", State.BAD, f"there is none; run `constellation login {self._url}`")
            return
        try:
            seen = self._get("/v1/algorithms?limit=1")
            if seen.status_code != 200:
                said = _json(seen).get("error", {}).get("message", f"status {seen.status_code}")
                yield Finding("credential", State.BAD, f"{said}; run `constellation login {self._url}` or name a key")
                return
            yield Finding("credential", State.OK, "accepted")
            listed = self._get("/admin/v1/services?limit=100")
        except (ConnectFailed, httpx.HTTPError) as error:
            yield Finding("credential", State.BAD, str(error))
            return
        if listed.status_code == 403:
            yield Finding("services", State.NOTE, "only an administrator's key or login sees them")
        elif listed.status_code != 200:
            yield Finding("services", State.BAD, f"fakts answers {listed.status_code}; is it running?")
        else:
            yield from self._services(_json(listed).get("items", ()))

    def _services(self, instances: Any) -> Iterator[Finding]:
        for name in SERVICES:
            of_service = [one for one in instances if one.get("service") == f"{SERVICE_PREFIX}{name}"]
            live = [one for one in of_service if one.get("live")]
            if not live and (of_service or name != "fakts"):
                yield Finding(name, State.BAD, f"no instance is live; start one: constellation serve {name}")
            for instance in live:
                yield self._instance(name, instance)

    def _instance(self, name: str, instance: Mapping[str, Any]) -> Finding:
        aliases = [Alias.model_validate(one) for one in instance.get("aliases", ())]
        for alias in aliases:
            found = self._readiness(name, alias.url)
            if found.state is not State.NOTE:
                return found
        where = ", ".join(alias.url for alias in aliases) or "no address"
        return Finding(name, State.NOTE, f"has a lease, and cannot be asked from here ({where})")

    def _readiness(self, name: str, url: str) -> Finding:
        """What a service says of the database, the broker and whatever else it needs."""
        try:
            answer = self._http.get(f"{url}/readyz")
        except httpx.HTTPError as error:
            return Finding(name, State.NOTE, f"{url} cannot be reached from here ({type(error).__name__})")
        if answer.status_code == 200:
            return Finding(name, State.OK, f"{url} is ready")
        failing = _json(answer).get("failing") or {"status": answer.status_code}
        return Finding(name, State.BAD, f"{url}: {', '.join(f'{what}: {why}' for what, why in failing.items())}")

    def _get(self, path: str) -> httpx.Response:
        assert self._key is not None  # noqa: S101 - nothing is asked without one
        return self._http.get(f"{self._url}{path}", auth=Authorization(self._key))


def clock(date: str | None, sent: float, received: float) -> Finding:
    """How far this machine's clock is from the platform's. Pure.

    Args:
        date: the `Date` header of an answer, whole seconds.
        sent, received: Unix times of the request and its answer.
    """
    there = _time(date)
    if there is None:
        return Finding("clock", State.NOTE, "the platform does not say what time it is")
    stamp = there.timestamp()
    off = max(sent - (stamp + 1.0), stamp - received, 0.0)
    if off > _SKEW_SECONDS:
        way = "ahead of" if sent > stamp else "behind"
        return Finding(
            "clock", State.BAD, f"this machine's is {off:.0f} s {way} the platform's; synchronise both (NTP)"
        )
    return Finding("clock", State.OK, "agrees with the platform's")


def _versions(there: str, here: str) -> Finding:
    if there == here:
        return Finding("version", State.OK, here)
    return Finding("version", State.NOTE, f"the platform is {there} and this command {here}; better use the same")


def _git() -> Finding:
    found = shutil.which("git")
    if found is None:
        return Finding("git", State.BAD, "is not installed; `constellation algo push` needs it")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603
    return Finding("git", State.OK, said.stdout.strip() or found)


def _time(date: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(date or "")
    except ValueError:
        return None


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
