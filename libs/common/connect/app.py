"""What the author of an app holds: a platform that let the app in, its algorithms, and the services it needs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from libs.common.connect import calls, protocol
from libs.common.connect.addresses import Addresses
from libs.common.connect.calls import Answer
from libs.common.connect.errors import (
    CallFailed,
    Refused,
    Unavailable,
    Unreachable,
)
from libs.common.connect.login import Login
from libs.common.contracts.joining import Alias, Instance

CONNECT_SECONDS = 10.0
_REDISCOVER_SECONDS = 3.0
"""At most so often is the platform asked anew where the services are."""
_log = logging.getLogger(__name__)


class App:
    """An app that was let in. All methods raise ConnectFailed in one of its kinds."""

    def __init__(self, http: httpx.AsyncClient, login: Login) -> None:
        self._http = http
        self._login = login
        self._auth = _Bearer(login)
        self._addresses = Addresses(
            http, same_machine=protocol.is_loopback(urlsplit(login.endpoints.url).hostname or "")
        )
        self._required = {one.key: one for one in login.manifest.requirements or ()}
        self._rediscovered = -_REDISCOVER_SECONDS
        self._rediscovering = asyncio.Lock()

    @property
    def url(self) -> str:
        """The platform's address."""
        return self._login.endpoints.url

    @property
    def account(self) -> str | None:
        """The name that the app acts as: its user's, or its own."""
        return self._login.credential.account

    @property
    def scopes(self) -> frozenset[str]:
        """What the app may do, which can be less than it asked for."""
        return frozenset(self._login.credential.scope.split())

    @property
    def statuses(self) -> Mapping[str, str]:
        """By the key of each requirement: `granted`, `denied` or `unavailable`."""
        return self._login.credential.statuses

    async def token(self) -> str:
        """An access token that is good for a while, for a client of one's own."""
        return await self._login.token()

    def algo(self, reference: str, *, seconds: float = calls.DEFAULT_SECONDS, stdout: bool = False) -> Algorithm:
        """An algorithm to call.

        Args:
            reference: OWNER/NAME[/VERSION], or any other spelling that the platform takes.
            seconds: how long it may run.
            stdout: its owner is told what it prints.
        """
        return Algorithm(self, reference, seconds=seconds, stdout=stdout)

    async def service(self, key: str) -> str:
        """The base URL, without a slash at its end, of a requirement of the manifest, at an address that answers.

        When none does, the platform is asked anew. Raises Unavailable.
        """
        alias = await self._address(key)
        if alias is None and await self._rediscover():
            alias = await self._address(key)
        if alias is None:
            raise Unavailable(key, f"no address of '{key}' ({self._required[key].service}) answers")
        return alias.url

    async def request(self, method: str, path: str, *, service: str | None = None, **options: Any) -> httpx.Response:
        """A request with the app's token: to the platform, or to a requirement of the manifest.

        One that reached nobody is sent again, to an address that answers; one whose token was refused, with a new
        token. The answer is returned whatever its status.

        Args:
            service: key of the requirement; None is the platform itself.
            options: as `httpx.AsyncClient.request` takes them.
        """
        unreached: httpx.HTTPError | None = None
        for _ in range(2):
            base = self.url if service is None else await self.service(service)
            try:
                return await self._http.request(method, f"{base}{path}", auth=self._auth, **options)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                unreached = error
            except httpx.HTTPError as error:
                raise Unreachable(f"{base} did not answer ({type(error).__name__})") from error
            if service is not None:
                self._addresses.forget(self._instance(service))
        raise Unreachable(f"{base} cannot be reached ({unreached})") from unreached

    async def logout(self) -> None:
        """End the login for good. Nothing else works afterwards."""
        await self._login.log_out()

    async def check(self) -> None:
        """Try the addresses of everything that was granted, and tell the platform what answers.

        Raises Unavailable when a requirement that is not optional was not granted.
        """
        if not self._required:
            return
        granted = {key: one for key, one in self._login.credential.instances.items() if key in self._required}
        found = dict(
            zip(granted, await asyncio.gather(*(self._addresses.find(one) for one in granted.values())), strict=True)
        )
        functional = all(one.optional or found.get(key) is not None for key, one in self._required.items())
        reports = {key: self._report(key, found) for key in self._required}
        try:
            await self._login.endpoints.report(await self.token(), reports, functional=functional)
        except (Unreachable, Refused) as error:
            _log.info("the platform was not told what answers: %s", error)
        for key, one in self._required.items():
            if not one.optional:
                self._instance(key)

    def _report(self, key: str, found: Mapping[str, Alias | None]) -> dict[str, Any]:
        alias = found.get(key)
        if alias is not None:
            return {"alias_id": alias.id, "reason": None, "valid": True}
        if key in found:
            return {"alias_id": None, "reason": "no address answers", "valid": False}
        return {"alias_id": None, "reason": "not granted", "valid": self._required[key].optional}

    async def _address(self, key: str) -> Alias | None:
        return await self._addresses.find(self._instance(key))

    def _instance(self, key: str) -> Instance:
        """What was granted for a requirement. Raises Unavailable."""
        if key not in self._required:
            known = ", ".join(self._required) or "none"
            raise Unavailable(key, f"the manifest has no requirement '{key}'; its keys: {known}")
        instance = self._login.credential.instances.get(key)
        if instance is None:
            status, name = self.statuses.get(key), self._required[key].service
            why = {
                "denied": f"whoever approved the app declined '{key}' ({name})",
                "unavailable": f"this platform offers no {name}, which is required as '{key}'",
            }
            raise Unavailable(key, why.get(status or "", f"'{key}' ({name}) was not granted"))
        return instance

    async def _rediscover(self) -> bool:
        """Have what was granted rendered anew. False when that was done just now."""
        async with self._rediscovering:
            if time.monotonic() < self._rediscovered + _REDISCOVER_SECONDS:
                return False
            self._rediscovered = time.monotonic()
            await self._login.token(refused=self._login.credential.access_token)
            return True


class Algorithm:
    """One algorithm, as it is called by an app."""

    def __init__(self, app: App, reference: str, *, seconds: float, stdout: bool) -> None:
        self._app = app
        self._reference = reference
        self._seconds = seconds
        self._stdout = stdout

    async def pipe(self, value: Any) -> Answer:
        """Call it: a str goes as text, bytes as they are, anything else as JSON.

        Raises CallFailed for an error of the algorithm or of the platform, TypeError or ValueError for a value that
        JSON has no form of.
        """
        content, media_type = calls.content(value)
        answer = await self._app.request(
            "POST",
            calls.path(self._reference),
            content=content,
            params=calls.options(self._seconds, stdout=self._stdout),
            headers={"content-type": media_type},
            timeout=httpx.Timeout(self._seconds + calls.GRACE_SECONDS, connect=CONNECT_SECONDS),
        )
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, dict) and ("error" in document or answer.is_success):
            return calls.answer(document, answer.status_code)
        raise CallFailed(
            f"{self._app.url} answered {answer.status_code} and not as a platform does",
            kind="SystemError",
            status=answer.status_code,
        )


class _Bearer(httpx.Auth):
    """Shows the app's token, which is renewed when it is refused."""

    def __init__(self, login: Login) -> None:
        self._login = login

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        whole = isinstance(request.stream, httpx.ByteStream)  # a body that arrives in pieces is sent once
        token = await self._login.token()
        request.headers["authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == 401 and whole:
            request.headers["authorization"] = f"Bearer {await self._login.token(refused=token)}"
            yield request
