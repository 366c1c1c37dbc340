"""JSON documents that fakts fetches from outside of the platform: small, in seconds, and not from just anywhere.

An address that an administrator wrote down is asked as it is. One that only a document names must be public, and
https, unless it is of the very origin that the administrator wrote: a provider does not lead fakts into the network
that it is in. What is checked is the address that is then connected to. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

_HOLD_IPV4 = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""An IPv4 address is the end of theirs (RFC 4291, section 2.5.5.1; RFC 6052, section 2.1)."""
_LOCAL = (ipaddress.IPv6Network("fec0::/10"), ipaddress.IPv6Network("64:ff9b:1::/48"))
"""Of a site (RFC 3879), and of a site's own translation to IPv4 (RFC 8215)."""
SECONDS = 5.0
MAX_BYTES = 512 * 1024


class FetchFailed(Exception):
    """The message says what is wrong with the address or its answer."""


class Outgoing:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def json(self, url: str, *, configured: str) -> dict[str, Any]:
        """The JSON object at `url`. Raises FetchFailed.

        Args:
            configured: the address that an administrator wrote down; `url` itself, or what led to it.
        """
        try:
            async with asyncio.timeout(SECONDS):
                if _origin(url) == _origin(configured):
                    return await self._fetch(url, headers={}, extensions={})
                host = urlsplit(url).hostname or ""
                address = await _public_address(url)
                pinned = httpx.URL(url).copy_with(host=address)
                return await self._fetch(
                    str(pinned), headers={"host": urlsplit(url).netloc}, extensions={"sni_hostname": host}
                )
        except TimeoutError:
            raise FetchFailed(f"{url} did not answer within {SECONDS:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise FetchFailed(f"{url} cannot be reached ({type(error).__name__})") from error

    async def _fetch(self, url: str, *, headers: dict[str, str], extensions: dict[str, str]) -> dict[str, Any]:
        headers = {"accept": "application/json", **headers}
        async with self._http.stream("GET", url, headers=headers, extensions=extensions) as answer:
            if answer.status_code != 200:
                raise FetchFailed(f"{url} answered with status {answer.status_code}")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise FetchFailed(f"{url} answered with more than {MAX_BYTES} bytes")
        try:
            document = orjson.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise FetchFailed(f"{url} did not answer with a JSON object")
        return document


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchFailed(f"'{url[:200]}' is no address") from None
    return parts.scheme, parts.hostname, port


async def _public_address(url: str) -> str:
    """An address of the URL's host, if all of them are public."""
    scheme, host, port = _origin(url)
    if scheme != "https" or not host:
        raise FetchFailed(f"'{url[:200]}' is not an https address, and no administrator wrote it down")
    found = await asyncio.get_running_loop().getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(_is_public(ipaddress.ip_address(address)) for address in addresses):
        raise FetchFailed(f"{host} is not a public address, and no administrator wrote it down")
    return addresses[0]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Is it one host's, and reached from anywhere? One that stands for an IPv4 address is what that is."""
    if isinstance(address, ipaddress.IPv6Address):
        held = address.ipv4_mapped or address.sixtofour
        if held is None and any(address in network for network in _HOLD_IPV4):
            held = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if held is not None:
            return _is_public(held)
        if any(address in network for network in _LOCAL):
            return False
    return address.is_global and not address.is_multicast
