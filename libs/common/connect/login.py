"""An access token that stays good: how the app gets in the first time, and how it stays in."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from libs.common.connect import protocol
from libs.common.connect.credentials import Store
from libs.common.connect.endpoints import Endpoints
from libs.common.connect.errors import ConnectFailed, Expired, NeedsLogin, Refused, Unreachable
from libs.common.connect.protocol import Credential, DeviceLogin, TokenAnswer
from libs.common.contracts.joining import Manifest

Prompt = Callable[[DeviceLogin], None]
"""Shows a person where to approve the app, and with which code. Returns at once."""

APPROVAL_SECONDS = 300.0


def in_terminal(login: DeviceLogin) -> None:
    """The prompt by default: three lines on standard error."""
    minutes = max(round(login.seconds / 60), 1)
    sys.stderr.write(
        f"To let this app in, open\n    {login.url}\nand see that it shows the code {login.code}. "
        f"There {'is 1 minute' if minutes == 1 else f'are {minutes} minutes'} for it.\n"
    )
    sys.stderr.flush()


class Login:
    """Args:
    mandate_key: stands for an approval, at every login; nothing is kept then.
    redeem_token: stands for an approval once; afterwards the login is kept and renewed.
    prompt: asks a person; None where nobody is there to ask.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        manifest: Manifest,
        store: Store,
        *,
        mandate_key: str | None = None,
        redeem_token: str | None = None,
        prompt: Prompt | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoints = endpoints
        self.manifest = manifest
        self._store = store
        self._mandate_key = mandate_key
        self._redeem_token = redeem_token
        self._prompt = prompt
        self._sleep = sleep
        self._credential: Credential | None = None
        self._renewing = asyncio.Lock()

    @property
    def credential(self) -> Credential:
        """What was granted last. Raises NeedsLogin."""
        if self._credential is None:
            raise NeedsLogin(f"'{self.manifest.identifier}' is not logged in at {self.endpoints.url}")
        return self._credential

    async def enter(self) -> None:
        """Go on with the login that is kept, or log in.

        Raises Denied, Expired, NeedsLogin, Refused or Unreachable.
        """
        if self._mandate_key is None:
            kept = self._store.read()
            if kept is not None and kept.asked == protocol.asked(self.manifest):
                self._credential = kept
                with suppress(NeedsLogin):
                    await self.token()
                    return
        await self.log_in()

    async def log_in(self) -> None:
        """Log in anew. Raises as `enter` does."""
        if self._mandate_key is not None:
            self._credential = await self._by_mandate(self._mandate_key)
            return
        if self._redeem_token is not None:
            answer = await self._redeemed(self._redeem_token)
        elif self._prompt is not None:
            answer = await self._approved(self._prompt)
        else:
            raise NeedsLogin(
                f"'{self.manifest.identifier}' is not logged in at {self.endpoints.url}, and there is nobody to ask; "
                "run it once in a terminal, or set FAKTS_MANDATE_KEY or FAKTS_REDEEM_TOKEN"
            )
        self._credential = self._kept(answer)
        async with self._store.locked():
            before = self._store.read()
            self._store.write(self._credential)
        if before is not None:
            with suppress(Refused, Unreachable):  # then it ends by itself
                await self.endpoints.revoke(before)

    async def token(self, *, refused: str | None = None) -> str:
        """An access token that is good for a while.

        Args:
            refused: a token that did not do: another one is wanted, with whatever is granted now.

        Raises NeedsLogin, Refused or Unreachable.
        """
        if not self._good(refused):
            async with self._renewing:
                if not self._good(refused):
                    await self._renewed(refused)
        return self.credential.access_token

    async def log_out(self) -> None:
        """Forget the login, here and on the platform. Raises Unreachable when the platform was not told."""
        async with self._renewing, self._store.locked():
            credential = self._store.read() or self._credential
            self._store.remove()
            self._credential = None
        if credential is not None:
            with suppress(Refused):  # it has ended already
                await self.endpoints.revoke(credential)

    def _good(self, refused: str | None) -> bool:
        credential = self.credential
        return credential.access_token != refused and time.time() < credential.renew_at

    async def _renewed(self, refused: str | None) -> None:
        try:
            if self._mandate_key is not None:
                self._credential = await self._by_mandate(self._mandate_key)
            else:
                await self._refreshed(refused)
        except Unreachable:
            if refused is not None or time.time() >= self.credential.expires_at:
                raise  # else the token at hand is good for a little longer

    async def _refreshed(self, refused: str | None) -> None:
        """Spend the refresh token, unless another process that shares the login did so meanwhile."""
        async with self._store.locked():
            kept = self._store.read()
            if kept is None or not kept.refresh_token:
                self._credential = None
                raise NeedsLogin(f"'{self.manifest.identifier}' was logged out of {self.endpoints.url}; log in again")
            if kept.asked != protocol.asked(self.manifest):
                self._credential = None
                raise NeedsLogin(
                    f"'{self.manifest.identifier}' was logged in at {self.endpoints.url} anew, for something else "
                    "than this process asks for; log in again"
                )
            self._credential = kept
            if self._good(refused):
                return
            try:
                answer = await self.endpoints.token(protocol.refresh_form(kept), again=True)
            except Refused as error:
                gone = protocol.lost(error)
                if isinstance(gone, NeedsLogin):
                    self._store.remove()
                    self._credential = None
                raise gone from None
            self._credential = self._kept(answer, kept)
            self._store.write(self._credential)

    async def _by_mandate(self, key: str) -> Credential:
        try:
            answer = await self.endpoints.token(protocol.mandate_form(key, self.manifest), again=True)
        except Refused as error:
            if error.error == "invalid_grant":
                raise NeedsLogin(f"the mandate key does not do: {error}") from None
            raise
        return self._kept(answer)

    async def _redeemed(self, token: str) -> TokenAnswer:
        try:
            return await self.endpoints.token(protocol.redeem_form(token, self.manifest))
        except Refused as error:
            if error.error == "invalid_grant":
                raise NeedsLogin(f"the redeem token does not do: {error}") from None
            raise

    async def _approved(self, prompt: Prompt) -> TokenAnswer:
        """Ask a person, and wait for the decision (RFC 8628, section 3.4)."""
        login = await self.endpoints.start(self.manifest, seconds=APPROVAL_SECONDS)
        prompt(login)
        form, interval, end = protocol.device_form(login), login.interval, time.monotonic() + login.seconds
        while time.monotonic() < end:
            await self._sleep(interval)
            try:
                return await self.endpoints.token(form)
            except Refused as refused:
                if refused.error == protocol.SLOW_DOWN:
                    interval += protocol.SLOW_DOWN_SECONDS
                elif refused.error != protocol.PENDING:
                    raise protocol.decision(refused) from None
            except Unreachable:
                continue  # a platform that restarts has not forgotten the code
        raise Expired("nobody decided in time; connect again for a new code")

    def _kept(self, answer: TokenAnswer, before: Credential | None = None) -> Credential:
        if not answer.access_token:
            raise ConnectFailed(f"{self.endpoints.url} answered with an empty token")
        return protocol.credential(answer, self.endpoints.url, self.manifest, now=time.time(), before=before)
