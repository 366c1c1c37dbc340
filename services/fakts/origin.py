"""The origin that a request came to: what the addresses in its answer start with. Pure.

Clients of the Fakts protocol insist that all endpoints are on the origin they asked, so services that ask fakts
directly get its own address, and clients behind the gateway, which passes their `Host` header on, the gateway's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from libs.common.contracts.joining import Alias
from libs.common.problems import Invalid

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Origin:
    scheme: str
    host: str
    """In brackets if it is an IPv6 address."""
    port: int | None

    @property
    def url(self) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{self.host}{port}"

    def alias(self, alias_id: str) -> Alias:
        """The origin as an address of the Fakts protocol; its `/healthz` is the challenge."""
        return Alias(id=alias_id, host=self.host, port=self.port, ssl=self.scheme == "https")


def origin_of(host: str | None, scheme: str, public_url: str | None) -> Origin:
    """The origin of a request.

    TLS ends at the edge, which leaves no trace of it but the host's name: a request for the public host is one for
    the public URL, with its scheme.

    Args:
        host: the `Host` header.
        scheme: the scheme that fakts itself was asked with.
        public_url: of the platform, without a path.

    Raises:
        Invalid: there is no usable `Host` header.
    """
    found = _HOST.fullmatch(host or "")
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        raise Invalid("the request needs a Host header like 'name' or 'name:port'")
    public = urlsplit(public_url or "")
    if host and public.netloc.lower() == host.lower():
        scheme = public.scheme
    return Origin(scheme, found[1], int(found[2]) if found[2] else None)
