"""What the deployer is started with."""

from __future__ import annotations

from pydantic import Field

from libs.common.settings import ServiceSettings


class DeployerSettings(ServiceSettings):
    worker_lease_seconds: float = Field(default=15.0, ge=1, le=300)
    """A worker that is silent for longer is lost: its replicas are placed elsewhere. Workers report three times in
    this time, so that one lost report loses no worker."""
    demand_seconds: float = Field(default=5.0, ge=1, le=60)
    """How long a gateway's word on demand counts. Gateways repeat it every second."""
    pending_grace_seconds: float = Field(default=5.0, ge=0, le=300)
    """How long waiting calls hope for a worker with room before they are told that there is none."""
    history_seconds: float = Field(default=3600.0, ge=60)
    """How long a replica that ended stays in the lists."""
    events_kept: int = Field(default=200, ge=10, le=10_000)
    """Events kept of each deployment; the newest ones."""
    forget_seconds: float = Field(default=604_800.0, ge=3600)
    """A deployment that nobody needed, or a worker that was silent, for this long is forgotten."""
