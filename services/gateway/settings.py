"""What a gateway is started with."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from libs.common.settings import ServiceSettings

MIB = 1 << 20


class GatewaySettings(ServiceSettings):
    """The public address and its limits. Sizes are in bytes, times in seconds."""

    port: int = Field(default=8000, ge=0, le=65535)
    """The public port; 0 takes a free one."""
    max_body_bytes: int = Field(default=10 * MIB, gt=0)
    """Of a call's input."""
    max_file_bytes: int = Field(default=1024 * MIB, gt=0)
    """Of a file of hosted data."""
    data_page: int = Field(default=1000, gt=0, le=10_000)
    """Most entries in one answer that lists hosted data."""
    max_buffered_bytes: int = Field(default=512 * MIB, gt=0)
    """Inputs of all calls together, while they arrive, wait or run. Past it further ones are refused with 503."""
    max_connections: int = Field(default=10_000, gt=0)
    """Of clients. Further ones are closed at once."""
    queue_limit: int = Field(default=1000, ge=0)
    """Calls of one revision that wait for a replica. Further ones are refused with 429."""
    keep_alive_seconds: float = Field(default=75.0, gt=0)
    """How long a connection may stay open without a request."""
    head_seconds: float = Field(default=20.0, gt=0)
    """For a client to send a request's head."""
    body_seconds: float = Field(default=120.0, gt=0)
    """For a client to send a call's input."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """A client that takes nothing of its answer for so long is disconnected."""
    answer_grace_seconds: float = Field(default=10.0, gt=0)
    """A replica that has not answered so long after a call's timeout is given up."""
    start_patience_seconds: float = Field(default=5.0, ge=0)
    """A call of an algorithm whose replicas failed to start waits so long for another attempt."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """To connect to a replica or a service."""
    record_backlog: int = Field(default=10_000, gt=0)
    """Records of calls that are kept while the bus does not take them; then the oldest are dropped."""
    satellite_plan: Path | None = None
    """File with the plan of a satellite. With one, the gateway serves that, apart from the platform, and needs
    neither fakts nor a join token. Read again when it changes."""
    satellite_replicas: Path | None = None
    """File that says where the replicas of a satellite are: `{ROUTE: {"host": NAME, "port": 8080}}`. Each address of
    the name is a replica. Read again when it changes."""
    replica_secret: SecretStr | None = None
    """Of which the tokens are made that those replicas want to be shown, each entry's another."""
    call_token_secret: SecretStr | None = None
    """Of a satellite, the same for all its gateways. Without it its algorithms cannot call one another."""
    report_token: SecretStr | None = None
    """Mandate key with which a satellite's gateway reports to the platform that made it. Without one it does not."""
    report_token_file: Path | None = None
    """File that holds it, read at each login."""
    mothership: str | None = None
    """URL of that platform, where it is another one from here than the plan says."""
    report_insecure: bool = False
    """The key may go there without TLS, to another host. Only in a network that is trusted."""
    report_seconds: float = Field(default=10.0, gt=0)
    """From one report to the next, when something has changed."""
    report_heartbeat_seconds: float = Field(default=60.0, gt=0)
    """The same when nothing has; also the longest pause between attempts while the platform cannot be reached."""
    report_spool_mib: int = Field(default=64, ge=1)
    """Room for reports that wait for the platform. Past it the oldest lose their records of calls."""
    trust_forwarded: bool = False
    """Pass `X-Forwarded-*` of clients on. Only for a gateway that clients reach through another proxy alone."""

    @property
    def logs_to_stdout(self) -> bool:
        return self.satellite_plan is not None
