"""How a service enters the platform: one URL and one token in, credential, configuration and addresses out.

The protocol is the Fakts protocol, version 2, with a mandate key (`libs.common.contracts.joining`). A member
offers its own addresses and keeps a lease by repeating the offer; the answer always holds the live addresses of
what it requires, so rediscovery is the heartbeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from libs.common import logs
from libs.common.contracts.joining import (
    MANDATE_GRANT,
    Alias,
    Instance,
    InstanceLease,
    InstanceOffer,
    JoinAnswer,
    Manifest,
    Requirement,
    ServiceConfiguration,
)
from libs.common.loops import tasks

log = logs.get(__name__)

RENEW_BEFORE_SECONDS = 60.0


class JoinRefused(Exception):
    """Fakts refused the token or the manifest. Trying again will not help; the message says why."""


class Membership:
    """A service's place in the platform, as long as it is kept."""

    def __init__(self, http: httpx.AsyncClient, fakts_url: str, token: str, manifest: Manifest) -> None:
        self._http = http
        self._fakts_url = fakts_url.rstrip("/")
        self._join_token = token
        self.manifest = manifest
        self._token_endpoint = ""
        self._base_url = ""
        self.jwks_uri = ""
        self.issuer = ""
        self._access_token = ""
        self._expires = 0.0
        self._logging_in = asyncio.Lock()
        self._beating = asyncio.Lock()
        self._aliases: tuple[Alias, ...] = ()
        self._last_lease = time.monotonic()
        self.instance_id = ""
        self.configuration = ServiceConfiguration()
        self.instances: dict[str, tuple[Instance, ...]] = {}
        """Live instances of each requirement, by its key."""
        self.updated = asyncio.Event()

    async def enter(self) -> None:
        """Discover and log in. Raises JoinRefused, or httpx.HTTPError where it is not Fakts that answers."""
        url = f"{self._fakts_url}/.well-known/fakts"
        document = await self._get(url)
        with _read(url):
            self._base_url = str(document["base_url"])
            self._token_endpoint = str(document["token_endpoint"])
            self.jwks_uri = str(document["jwks_uri"])
            self.issuer = str(document.get("issuer", ""))
        await self._login()

    async def token(self) -> str:
        """An access token that is good for at least a minute."""
        if time.monotonic() > self._expires - RENEW_BEFORE_SECONDS:
            async with self._logging_in:
                if time.monotonic() > self._expires - RENEW_BEFORE_SECONDS:
                    await self._login()
        return self._access_token

    async def jwks(self) -> dict[str, Any]:
        """The platform's public signing keys (RFC 7517)."""
        return await self._get(self.jwks_uri)

    def urls(self, requirement: str) -> list[str]:
        """Base URLs of all live instances of a requirement, in the order in which to try them."""
        return [alias.url for instance in self.instances.get(requirement, ()) for alias in instance.aliases]

    async def offer(self, *aliases: Alias) -> None:
        """Say where this instance can be reached, at once and from now on with every heartbeat."""
        self._aliases = aliases
        await self._beat()

    async def wait_for(self, *requirements: str, seconds: float = 60.0) -> None:
        """Wait until each requirement has an instance. Raises TimeoutError that names what is missing."""
        end = time.monotonic() + seconds
        while missing := [key for key in requirements if not self.urls(key)]:
            if time.monotonic() > end:
                raise TimeoutError(f"no instance of {', '.join(missing)} joined within {seconds:.0f} s")
            await asyncio.sleep(0.1)
            await self._beat()

    async def keep(self) -> None:
        """Renew the lease until cancelled."""
        pause = 1.0
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await self._beat() / 3
            except Exception as error:  # whatever it is, without a lease nobody would be sent here
                pause = 1.0
                log.warning("lease_not_renewed", reason=logs.redact(str(error)), exc_info=False)

    async def leave(self) -> None:
        """End the lease, so that nobody is sent here any more. Best effort: it would lapse by itself."""
        try:
            url = f"{self._base_url}instances/{self.instance_id}"
            await self._http.delete(url, headers=await self._headers(), timeout=2.0)
        except (httpx.HTTPError, JoinRefused):
            log.info("lease_left_to_lapse")

    async def _beat(self) -> float:
        async with self._beating:  # one at a time: what is said last is what counts
            return await self._renew()

    async def _renew(self) -> float:
        offer = InstanceOffer(
            service=self.manifest.identifier,
            version=self.manifest.version,
            aliases=self._aliases,
            requirements=tuple(self.manifest.requirements or ()),
        )
        url = f"{self._base_url}instances/{self.instance_id}"
        answer = await self._http.put(
            url,
            json=offer.model_dump(mode="json"),
            headers=await self._headers(),
            timeout=5.0,
        )
        if answer.status_code == 401:
            self._expires = 0.0
        answer.raise_for_status()
        with _read(url):
            lease = InstanceLease.model_validate_json(answer.content)
        self.instances = dict(lease.instances)
        self.updated.set()
        self._last_lease = time.monotonic()
        return lease.lease_seconds

    async def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {await self.token()}"}

    async def _login(self) -> None:
        form = {
            "grant_type": MANDATE_GRANT,
            "key": self._join_token,
            "manifest": self.manifest.model_dump_json(),
            "requested_client_kind": "development",
            "requested_client_role": "agent",
            "request_auth_key": "false",
        }
        answer = await self._http.post(self._token_endpoint, data=form, timeout=10.0)
        if answer.status_code >= 500:
            answer.raise_for_status()
        if answer.status_code != 200:
            raise JoinRefused(_reason(answer))
        with _read(self._token_endpoint):
            joined = JoinAnswer.model_validate_json(answer.content)
        self._access_token = joined.access_token
        self._expires = time.monotonic() + joined.expires_in
        self.instance_id = self.instance_id or joined.client_id
        # The next login names the id, so that it stays the same.
        self.manifest = self.manifest.model_copy(update={"device_id": self.instance_id})
        self.configuration = joined.configuration or self.configuration

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self._http.get(url, headers={"accept": "application/json"}, timeout=5.0)
        answer.raise_for_status()
        with _read(url):
            document: dict[str, Any] = answer.json()
        return document


@asynccontextmanager
async def membership(
    http: httpx.AsyncClient,
    *,
    fakts_url: str,
    token: str,
    identifier: str,
    version: str,
    requires: Sequence[str] = (),
    instance_id: str | None = None,
    patience: float = 60.0,
) -> AsyncIterator[Membership]:
    """Join, keep the lease while the context is open, leave at its end.

    Args:
        identifier: such as ``constellation.registry``.
        instance_id: a UUID that this instance keeps over restarts; None takes one that Fakts makes up.
        requires: names of the platform's services that this one asks, such as ``deployer``. They may join later.
        patience: seconds to wait for Fakts to answer at all.

    Raises:
        JoinRefused: the token or manifest is not accepted.
        httpx.HTTPError: Fakts could not be reached within `patience`, or something else answered in its place.
    """
    manifest = Manifest(
        identifier=identifier,
        version=version,
        scopes=("service",),
        device_id=instance_id,
        requirements=tuple(
            Requirement(key=name, service=f"constellation.{name}", optional=True) for name in requires
        ),
    )
    member = Membership(http, fakts_url, token, manifest)
    end = time.monotonic() + patience
    while True:
        try:
            await member.enter()
            break
        except httpx.HTTPError as error:
            if time.monotonic() > end:
                raise
            log.info("waiting_for_fakts", reason=logs.redact(str(error)))
            await asyncio.sleep(0.3)
    try:
        async with tasks(member.keep()):
            yield member
    finally:
        await member.leave()


@contextmanager
def _read(url: str) -> Iterator[None]:
    """Raises httpx.DecodingError for an answer that Fakts does not give: something else stands in its place, such as
    the page of a proxy."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise httpx.DecodingError(f"what answers at {url} is not Fakts ({type(error).__name__})") from error


def _reason(answer: httpx.Response) -> str:
    with _read(str(answer.request.url)):
        body = answer.json()
        return f"{body['error']}: {body.get('error_description', '')}"
