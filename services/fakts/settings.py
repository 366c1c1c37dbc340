"""Settings of fakts. It is started with what the other services learn from it: database, bus and blob URLs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from libs.common.settings import ServiceSettings
from services.fakts import where

MIN_JOIN_TOKEN = 16
MAX_ACCESS_TOKEN_SECONDS = 86_400


class FaktsSettings(ServiceSettings):
    """Environment variables `CONSTELLATION_...`, besides those of every service."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    join_token: SecretStr
    """The mandate key that this platform's services join with: fakts accepts it, and takes a new one over."""
    database_url: SecretStr
    """PostgreSQL. Fakts uses it itself, and gives it to the services that keep tables."""
    bus_url: SecretStr | None = None
    """The broker that services are told to use. None where all share one process and its bus."""
    blob_url: SecretStr | None = None
    """Where the registry keeps blobs, and gateways the files of hosted data. None leaves it to each."""
    public_url: str | None = None
    """The address of the platform for its clients, without a path: the gateway's. Also the issuer of tokens."""
    deployment_name: str = Field(default="constellation", min_length=1, max_length=100)
    """What client apps call this deployment."""

    master_key: SecretStr | None = None
    """Base64 of the 32 bytes that all keys at rest are encrypted with. None keeps them in DATA_DIR/master.key."""
    admin_username: str = "admin"
    """Name of the first administrator, made on the first start."""
    admin_password: SecretStr | None = None
    """The first administrator's password. None makes one up."""
    admin_file: Path | None = None
    """Where the first administrator's credentials are written, once."""
    admin_recover: bool = False
    """Start once with this to give the first administrator a new password and new keys; the old ones end."""

    rules_file: Path | None = None
    """JSON: who may approve which app, as in `PUT /admin/v1/rules`. Read while there are no rules yet."""
    code_seconds: int = Field(default=900, ge=1, le=900)
    """How long an app's code may wait for a person, at most. Apps ask for less."""
    starts_per_minute: int = Field(default=30, ge=1)
    """How often apps at one address may ask to be let in."""
    guesses_per_minute: int = Field(default=20, ge=1)
    """How many codes and tokens that nobody issued one address may try."""
    trusted_proxies: str = ""
    """Networks of proxies whose word on the address of a client is taken, besides gateways'; commas between them."""
    providers_file: Path | None = None
    """Upstream OpenID Connect providers that people may sign in with; TOML or JSON, readable by its owner only."""

    access_token_seconds: int = Field(default=3600, ge=60, le=MAX_ACCESS_TOKEN_SECONDS)
    refresh_token_seconds: int = Field(default=30 * 86_400, ge=60)
    """How long a refresh token is good that nobody uses."""
    login_seconds: int = Field(default=180 * 86_400, ge=60)
    """How long an app stays logged in by refreshing."""
    refresh_grace_seconds: float = Field(default=60.0, ge=0, le=3600)
    """How long a spent refresh token is good once more: processes that share one refresh at the same time."""
    authorization_code_seconds: int = Field(default=60, ge=10, le=600)
    device_interval_seconds: int = Field(default=5, ge=1, le=60)
    """How often an app may ask whether it was approved."""
    token_requests_per_minute: int = Field(default=240, ge=1)
    """From one address, at the token endpoint and for revocations; and as many introspections that are refused."""
    lease_seconds: float = Field(default=15.0, ge=0.5, le=300)
    """How long an instance is in answers after it last offered itself."""
    signing_key_seconds: float = Field(default=90 * 86_400, ge=3600)
    """How long one key signs before the next takes over."""
    signing_key_lead_seconds: float = Field(default=600, ge=1)
    """How long a key is published before it signs: longer than anybody keeps a copy of the key set."""
    signing_key_grace_seconds: float = Field(default=3600, ge=0)
    """How long a key is published after the last token that it signed has expired."""

    @field_validator(
        "bus_url",
        "blob_url",
        "public_url",
        "master_key",
        "admin_password",
        "admin_file",
        "rules_file",
        "providers_file",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return value or None

    @field_validator("join_token")
    @classmethod
    def _long_enough(cls, token: SecretStr) -> SecretStr:
        if len(token.get_secret_value()) < MIN_JOIN_TOKEN:
            raise ValueError(f"CONSTELLATION_JOIN_TOKEN must have at least {MIN_JOIN_TOKEN} characters")
        return token

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        try:
            where.networks(text)
        except ValueError as error:
            raise ValueError(f"CONSTELLATION_TRUSTED_PROXIES: {error}") from None
        return text

    @cached_property
    def trusted_networks(self) -> tuple[where.Network, ...]:
        return where.networks(self.trusted_proxies)

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"CONSTELLATION_PUBLIC_URL must be like https://host or http://host:port, not '{url}'")
        return f"{parts.scheme}://{parts.netloc}"
