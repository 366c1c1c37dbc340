"""Upstream OpenID Connect providers: who else may vouch for people, by a configuration file.

The file holds client secrets, so only its owner may read it. `docs/howto/sign-in-with-a-provider.md` describes it.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from services.fakts.identity.claims import ClaimNames, Match, MembershipRule

METADATA = "/.well-known/openid-configuration"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProvidersFault(Exception):
    """The file of providers cannot be used. The message says why, and what to do."""


class Provider(BaseModel):
    """One provider, as the file describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,49}$")]
    """Its name in addresses: people come back to `/signin/with/NAME/callback`."""
    label: Annotated[str, Field(min_length=1, max_length=100)]
    """What the sign-in page calls it."""
    discovery: str
    """Its OpenID Connect discovery document."""
    issuer: str | None = None
    """Who it says it is, where that is not what stands before `METADATA` in `discovery`."""
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr | None = None
    """None for a public client, which PKCE protects alone."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    claims: ClaimNames = ClaimNames()
    admit: tuple[Match, ...] = ()
    """Who may come in: whoever meets one of these. Empty lets everybody in whom the provider knows."""
    memberships: tuple[MembershipRule, ...] = ()
    """Whom its claims put into which organization."""

    @field_validator("discovery", "issuer")
    @classmethod
    def _secure(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("must be an https:// URL")
        return url

    @field_validator("scopes")
    @classmethod
    def _with_openid(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        return scopes if "openid" in scopes else ("openid", *scopes)

    @model_validator(mode="after")
    def _with_issuer(self) -> Self:
        if self.issuer is None and not self.discovery.endswith(METADATA):
            raise ValueError(
                f"its issuer cannot be told from discovery, which does not end with {METADATA}: add issuer"
            )
        return self

    @property
    def realm(self) -> str:
        """Its issuer, but for a slash at the end."""
        return (self.issuer or self.discovery.removesuffix(METADATA)).removesuffix("/")

    def is_issuer(self, said: object) -> bool:
        """May its document say that it is this issuer (OpenID Connect Discovery 1.0, section 4.3)?

        People are known by their issuer, so a provider that could say what it likes could sign in those of another.
        """
        if self.issuer is not None:
            return said == self.issuer
        return isinstance(said, str) and said.removesuffix("/") == self.realm


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    provider: tuple[Provider, ...]


def load(file: Path) -> tuple[Provider, ...]:
    """The providers of a TOML file, or of a JSON one of the same shape. Raises ProvidersFault."""
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ProvidersFault(f"CONSTELLATION_PROVIDERS_FILE: {file} cannot be read: {error}") from None
    if mode & 0o077:
        raise ProvidersFault(f"{file} holds secrets, and others than its owner can use it; run: chmod 600 {file}")
    try:
        content: Any = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        found = _File.model_validate(content).provider
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ProvidersFault(f"{file}: {told}") from None
    except ValueError as error:
        raise ProvidersFault(f"{file} is neither TOML nor, if it is named .json, JSON: {error}") from None
    names = [provider.name for provider in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ProvidersFault(f"{file} names a provider twice: {', '.join(twice)}")
    realms: dict[str, str] = {}
    for provider in found:
        if (other := realms.setdefault(provider.realm, provider.name)) != provider.name:
            raise ProvidersFault(f"{file}: {other} and {provider.name} have one issuer, {provider.realm}")
    return found
