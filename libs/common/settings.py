"""Settings common to all services: environment variables `CONSTELLATION_...`, read once by the root and passed in."""

from __future__ import annotations

import socket
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service is started with. One URL and one token are enough; the rest has defaults."""

    model_config = SettingsConfigDict(env_prefix="CONSTELLATION_", frozen=True, extra="ignore")

    fakts_url: str = "http://127.0.0.1:8001"
    """Where Fakts answers. Everything else is learnt from there."""
    join_token: SecretStr = SecretStr("")
    """The mandate key with which the service joins."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    advertise_host: str | None = None
    """Host name or address under which other hosts reach this service. Default: `host`, or this
    machine's name when the service listens on every address."""
    data_dir: Path = Path(".constellation")
    """Where the service keeps what it must not lose, or what is cheaper to keep than to make again."""
    log_level: str = "INFO"
    log_human: bool = False
    """Log for people instead of JSON lines."""
    drain_seconds: float = 10.0
    """How long requests under way may take to finish when the service stops."""

    @property
    def logs_to_stdout(self) -> bool:
        """Log to standard output, as the platforms that containers run on want it."""
        return False

    @property
    def advertised(self) -> str:
        if self.advertise_host:
            return self.advertise_host
        return socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
