"""How a gateway enters the platform: like every service, but if it was in before, it serves calls meanwhile.

What it followed and learnt the last time is on disk. So a gateway that is restarted while fakts, the registry or the
deployer is down goes on with calls, and joins when they are back.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version as package_version
from typing import Any

import httpx

from libs.common import logs
from libs.common.bus import Bus, BusRefused, open_bus
from libs.common.contracts.joining import SERVICE_PREFIX, SERVICE_SCOPE, Alias, Manifest, Requirement
from libs.common.join import JoinRefused, Membership
from services.gateway import kept
from services.gateway.call_tokens import CallTokens
from services.gateway.callers import Callers
from services.gateway.records import Records
from services.gateway.settings import GatewaySettings

log = logs.get(__name__)

REQUIRES = ("fakts", "registry", "deployer")
PATIENCE_SECONDS = 60.0
"""For fakts to answer, at the first start."""
_PAUSE = 0.3
_LONG_PAUSE = 5.0


class Entry:
    """This gateway's place in the platform.

    Attributes:
        refused: why fakts does not let it in, or None.
        inside: set once it has joined.
    """

    def __init__(self, http: httpx.AsyncClient, settings: GatewaySettings) -> None:
        self._settings = settings
        self._kept = kept.load(settings.data_dir)
        self.member = Membership(
            http,
            settings.fakts_url,
            settings.join_token.get_secret_value(),
            Manifest(
                identifier=f"{SERVICE_PREFIX}gateway",
                version=package_version("constellation"),
                scopes=(SERVICE_SCOPE,),
                device_id=self._kept.instance_id,
                requirements=tuple(
                    Requirement(key=name, service=f"{SERVICE_PREFIX}{name}", optional=True) for name in REQUIRES
                ),
            ),
        )
        self.refused: str | None = None
        self.inside = asyncio.Event()

    def instance_id(self) -> str:
        return self.member.instance_id

    async def join(self, callers: Callers) -> None:
        """For the first start: come in, or say why not.

        Raises:
            JoinRefused: fakts does not accept the token.
            httpx.HTTPError: fakts could not be reached for a minute.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await self._enter(callers)
                except httpx.HTTPError as error:
                    log.info("waiting_for_fakts", reason=logs.redact(str(error)))
                    await asyncio.sleep(_PAUSE)
                else:
                    return

    async def stay(self, callers: Callers) -> None:
        """Come in if that was not done yet, and keep the lease. Runs until cancelled."""
        pause = _PAUSE
        while not self.inside.is_set():
            try:
                await self._enter(callers)
            except JoinRefused as error:
                self.refused = str(error)
                log.error("join_refused", reason=logs.redact(str(error)))  # noqa: TRY400 - the reason is all there is
                await asyncio.sleep(_LONG_PAUSE)
            except httpx.HTTPError as error:
                log.info("waiting_for_fakts", reason=logs.redact(str(error)))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONG_PAUSE)
            except Exception:
                log.exception("not_joined")
                await asyncio.sleep(_LONG_PAUSE)
        await self.member.keep()

    def use_kept(self, callers: Callers) -> None:
        """Go on with what fakts said the last time."""
        if self._kept.call_token_secret:
            callers.tokens = CallTokens(self._kept.call_token_secret)

    async def jwks(self) -> dict[str, Any]:
        """The platform's public signing keys; those of the last time while fakts does not answer."""
        try:
            keys = await self.member.jwks()
        except httpx.HTTPError:
            if self._kept.jwks is None:
                raise
            return self._kept.jwks
        self._keep(jwks=keys)
        return keys

    async def check(self) -> None:
        """Raises RuntimeError while the gateway is not in. It serves calls nevertheless."""
        if not self.inside.is_set():
            raise RuntimeError(self.refused or "fakts has not answered yet")

    async def _enter(self, callers: Callers) -> None:
        member = self.member
        await member.enter()
        await member.offer(
            Alias(id=f"gateway-{member.instance_id}", host=self._settings.advertised, port=self._settings.port)
        )
        secret = member.configuration.call_token_secret
        if secret:
            callers.tokens = CallTokens(secret)
        else:
            log.warning("no_call_token_secret", consequence="algorithms cannot call for their callers")
        self._keep(instance_id=member.instance_id, call_token_secret=secret)
        self.refused = None
        self.inside.set()

    def _keep(self, **members: Any) -> None:
        new = self._kept.model_copy(update=members)
        if new != self._kept:
            self._kept = new
            kept.save(self._settings.data_dir, new)


async def announce(entry: Entry, records: Records, bus: Bus | None) -> None:
    """Announce records of calls: on `bus`, or on that which fakts names. Runs until cancelled."""
    if bus is not None:
        await records.run(bus)
    await entry.inside.wait()
    url = entry.member.configuration.bus_url
    if url is None:
        log.error("no_bus", consequence="calls are not recorded", remedy="set the bus URL in fakts")
        return
    while True:
        try:
            async with open_bus(url) as opened:
                await records.run(opened)
        except BusRefused as error:
            log.warning("bus_refused", reason=logs.redact(str(error)))
            await asyncio.sleep(_LONG_PAUSE)
