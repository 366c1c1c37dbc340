"""How a service or an app enters the platform: manifest, composition and lease (the Fakts protocol, version 2).

A service logs in with a mandate key (`grant_type=urn:fakts:grant-type:mandate-key` at the token endpoint), as
any headless Fakts client does. The token answer is the published one (`access_token`, `self`, `instances`,
`statuses`) plus `configuration` for services. It then keeps an instance with a lease:
`PUT {base_url}instances/{id}` with :class:`InstanceOffer`, answered by :class:`InstanceLease`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from libs.common.contracts.identity import Wire

MANDATE_GRANT = "urn:fakts:grant-type:mandate-key"
SERVICE_SCOPE = "service"
SERVICE_PREFIX = "constellation."
"""Identifiers of the platform's own services: `constellation.registry` and so on."""


class Requirement(Wire):
    key: str
    service: str
    optional: bool = False
    description: str | None = None


class Manifest(Wire):
    identifier: str = Field(min_length=1, max_length=255, pattern="^[^/]+$")
    version: str
    author: str = "unknown"
    description: str | None = None
    logo: str | None = None
    scopes: tuple[str, ...] | None = ("openid",)
    entrypoint: str = "app"
    requirements: tuple[Requirement, ...] | None = ()
    device_id: str | None = None
    node_id: str | None = None
    public_sources: tuple[Mapping[str, Any], ...] | None = ()


class Alias(Wire):
    """One address of an instance: `http(s)://host[:port]/path`, alive when GET of `/challenge` below it is 200."""

    id: str
    host: str
    port: int | None = None
    ssl: bool = False
    path: str | None = None
    challenge: str = "healthz"
    kind: Literal["absolute"] = "absolute"
    reach: Literal["loopback", "internal", "lan", "public"] | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self.ssl else "http"
        port = f":{self.port}" if self.port is not None else ""
        path = f"/{self.path.strip('/')}" if self.path and self.path.strip("/") else ""
        return f"{scheme}://{self.host}{port}{path}"


class Instance(Wire):
    """One requirement, resolved. `aliases` are in the order in which to try them."""

    service: str
    identifier: str
    aliases: tuple[Alias, ...] = ()
    challenge_key: Mapping[str, str] | None = None


class SelfDescription(Wire):
    deployment_name: str
    alias: Alias


class ServiceConfiguration(Wire):
    """What a service of the platform may use. Members that a service has no use for are absent."""

    database_url: str | None = None
    bus_url: str | None = None
    blob_url: str | None = None
    call_token_secret: str | None = None
    """Key of the short-lived tokens with which algorithms call as their caller (gateways only)."""
    edge_secret: str | None = None
    """Key of the codes with which gateways vouch for addresses of clients (gateways only)."""
    secrets_key: str | None = None
    """Key that secrets of algorithms are encrypted with at rest (the registry only)."""
    public_url: str | None = None


class JoinAnswer(Wire):
    access_token: str
    expires_in: float
    token_type: str = "Bearer"  # noqa: S105 - the OAuth token type, not a secret
    client_id: str
    scope: str = ""
    self_: SelfDescription = Field(alias="self")
    instances: Mapping[str, tuple[Instance, ...] | Instance] = {}
    statuses: Mapping[str, str] = {}
    configuration: ServiceConfiguration | None = None


class InstanceOffer(Wire):
    """`PUT {base_url}instances/{id}`: this instance is alive and can be reached there."""

    service: str
    version: str
    aliases: tuple[Alias, ...] = ()
    requirements: tuple[Requirement, ...] = ()


class InstanceLease(Wire):
    lease_seconds: float
    """Offer again within a third of this. A lapsed instance is in nobody's answers."""
    instances: Mapping[str, tuple[Instance, ...]] = {}
    """All live instances of each requirement, by its key."""
    statuses: Mapping[str, str] = {}
