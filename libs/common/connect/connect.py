"""Entering a platform as an app."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import httpx
from pydantic import ValidationError

from libs.common.connect import credentials, protocol
from libs.common.connect.app import CONNECT_SECONDS, App
from libs.common.connect.credentials import Memory, Store
from libs.common.connect.endpoints import Endpoints
from libs.common.connect.errors import ConnectFailed
from libs.common.connect.login import Login, Prompt, in_terminal
from libs.common.connect.protocol import DeviceLogin
from libs.common.contracts.joining import Manifest

URL, MANDATE_KEY, REDEEM_TOKEN = "FAKTS_URL", "FAKTS_MANDATE_KEY", "FAKTS_REDEEM_TOKEN"
ALLOW_INSECURE = "FAKTS_ALLOW_INSECURE_TRANSPORT"
_REQUEST_SECONDS = 60.0


class Options(TypedDict, total=False):
    """How to enter, besides where and as what: see `connect`."""

    mandate_key: str | None
    redeem_token: str | None
    prompt: Prompt | None
    open_browser: bool
    keep: bool | Path
    allow_insecure: bool | None
    transport: httpx.AsyncBaseTransport | None


@asynccontextmanager
async def connect(
    url: str | None = None,
    manifest: Manifest | Mapping[str, Any] | None = None,
    *,
    mandate_key: str | None = None,
    redeem_token: str | None = None,
    prompt: Prompt | None = in_terminal,
    open_browser: bool = False,
    keep: bool | Path = True,
    allow_insecure: bool | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[App]:
    """Enter a platform as an app, and leave it at the end of the context. The login stays for the next time.

    The first of these that there is lets the app in: a mandate key, the login that is kept, a redeem token, a person
    who is asked by `prompt`.

    Args:
        url: the platform's address. None takes FAKTS_URL.
        manifest: what the app is and asks for; at least `identifier` and `version`.
        mandate_key, redeem_token: for where nobody is there to ask. None takes FAKTS_MANDATE_KEY and
            FAKTS_REDEEM_TOKEN.
        prompt: shows a person where to approve the app. None asks nobody.
        open_browser: also open that page in a browser here.
        keep: keep the login in the user's configuration, or in a folder of one's own; or not at all.
        allow_insecure: send tokens over plain HTTP to other machines. None takes FAKTS_ALLOW_INSECURE_TRANSPORT.
        transport: carries requests; the network's by default.

    Raises:
        Denied, Expired: what the person, or a rule, decided or did not.
        NeedsLogin: there is nobody to ask, or the key or token does not do.
        Unavailable: a requirement that is not optional was not granted.
        Unreachable, Refused: the platform does not answer, or takes the manifest for wrong.
        ConnectFailed: the address or the manifest is malformed, or the login cannot be kept.
    """
    environment = os.environ
    if allow_insecure is None:
        allow_insecure = environment.get(ALLOW_INSECURE, "").lower() in ("1", "true", "yes")
    address = url or environment.get(URL)
    if not address:
        raise ConnectFailed(f"which platform? Give its address, or set {URL}")
    server = protocol.server_url(address, allow_insecure=allow_insecure)
    asking = read_manifest(manifest or {})
    mandate = mandate_key or (None if redeem_token else environment.get(MANDATE_KEY)) or None
    redeem = redeem_token or environment.get(REDEEM_TOKEN) or None
    store: Store = Memory()
    if keep is not False and mandate is None:
        directory = credentials.folder(environment) if keep is True else keep
        store = credentials.file_for(directory, server, asking.identifier)
        asking = asking.model_copy(update={"device_id": asking.device_id or credentials.device(directory)})
    async with httpx.AsyncClient(
        transport=transport, timeout=httpx.Timeout(_REQUEST_SECONDS, connect=CONNECT_SECONDS)
    ) as http:
        login = Login(
            Endpoints(http, server),
            asking,
            store,
            mandate_key=mandate,
            redeem_token=redeem,
            prompt=_with_browser(prompt) if prompt is not None and open_browser else prompt,
        )
        await login.enter()
        app = App(http, login)
        await app.check()
        yield app


def read_manifest(manifest: Manifest | Mapping[str, Any]) -> Manifest:
    """Raises ConnectFailed that says what is wrong with it."""
    try:
        return Manifest.model_validate(manifest)
    except ValidationError as error:
        parts = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConnectFailed(f"the manifest is malformed: {'; '.join(parts)}") from None


def _with_browser(prompt: Prompt) -> Prompt:
    def both(login: DeviceLogin) -> None:
        prompt(login)
        webbrowser.open(login.url)

    return both
