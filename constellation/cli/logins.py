"""The logins of the command line itself: an app like any other, which a person lets in once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from constellation.cli.connection import KeptLogin

if TYPE_CHECKING:
    from libs.common.connect.login import Login, Prompt
    from libs.common.connect.protocol import Credential

IDENTIFIER = "constellation-cli"
SCOPES = ("openid", "offline_access", "algo:call", "algo:manage", "data:read", "data:write", "admin")
"""`admin` reaches administrators' routes only if the person who approves is an administrator."""


def kept(environment: Mapping[str, str], transport: Any = None) -> Iterator[KeptLogin]:
    """What is kept, the login that was renewed last first.

    Args:
        transport: carries requests; None is the network.
    """
    from libs.common.connect import credentials  # noqa: PLC0415 - only a command that runs needs it

    for found in credentials.logins(credentials.folder(environment), IDENTIFIER):
        yield KeptLogin(found.server, found.account, partial(token, environment, found.server, transport))


def token(environment: Mapping[str, str], url: str, transport: Any = None, refused: str | None = None) -> str:
    """An access token of the login that is kept for a platform. Raises ConnectFailed.

    Args:
        refused: a token that did not do: another one is wanted.
    """
    return asyncio.run(_token(environment, url, transport, refused))


def log_in(
    environment: Mapping[str, str], url: str, prompt: Prompt, *, allow_insecure: bool, transport: Any = None
) -> Credential:
    """Ask a person, and keep the login. Raises ConnectFailed."""
    from libs.common.connect import protocol  # noqa: PLC0415 - see above

    server = protocol.server_url(url, allow_insecure=allow_insecure)
    return asyncio.run(_log_in(environment, server, prompt, transport))


def log_out(environment: Mapping[str, str], url: str, transport: Any = None) -> None:
    """End the login. Raises ConnectFailed when the platform could not be told; it is forgotten here all the same."""
    asyncio.run(_log_out(environment, url, transport))


async def _token(environment: Mapping[str, str], url: str, transport: Any, refused: str | None) -> str:
    from libs.common.connect.errors import NeedsLogin  # noqa: PLC0415 - see above

    async with _login(environment, url, None, transport) as login:
        try:
            await login.enter()
            return await login.token(refused=refused)
        except NeedsLogin:
            raise NeedsLogin(f"the login at {url} is over; run `constellation login {url}`") from None


async def _log_in(environment: Mapping[str, str], url: str, prompt: Prompt, transport: Any) -> Credential:
    async with _login(environment, url, prompt, transport) as login:
        await login.log_in()
        return login.credential


async def _log_out(environment: Mapping[str, str], url: str, transport: Any) -> None:
    async with _login(environment, url, None, transport) as login:
        await login.log_out()


@asynccontextmanager
async def _login(
    environment: Mapping[str, str], url: str, prompt: Prompt | None, transport: Any
) -> AsyncIterator[Login]:
    import httpx  # noqa: PLC0415 - see above

    from libs.common.connect import credentials  # noqa: PLC0415 - see above
    from libs.common.connect.endpoints import Endpoints  # noqa: PLC0415 - see above
    from libs.common.connect.login import Login  # noqa: PLC0415 - see above
    from libs.common.contracts.joining import Manifest  # noqa: PLC0415 - see above

    directory = credentials.folder(environment)
    manifest = Manifest(
        identifier=IDENTIFIER,
        version=version("constellation"),
        description="The constellation command.",
        scopes=SCOPES,
        device_id=credentials.device(directory),
    )
    store = credentials.file_for(directory, url, IDENTIFIER)
    async with httpx.AsyncClient(transport=transport) as http:
        yield Login(Endpoints(http, url), manifest, store, prompt=prompt)
