"""What the deployer is started with."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

from libs.common.settings import ServiceSettings


class ClusterSettings(BaseModel):
    """A Kubernetes cluster that launches may name, and how satellites are set up there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kubeconfig: Path | None = None
    """Default: the cluster in which the deployer itself runs, with the rights of its service account."""
    context: str | None = None
    """Of the kubeconfig; its current one by default."""
    create_namespaces: bool = True
    """Make a launch's namespace when there is none."""
    ingress_class: str | None = None
    ingress_annotations: dict[str, str] = {}
    tls_secret: str | None = None
    """Name of a Secret in the launch's namespace with the certificate of its Ingress."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the launch's namespace with which images are pulled."""
    name_servers: tuple[IPvAnyNetwork, ...] = ()
    """Where pods ask for names, if neither other pods nor a link-local address answer."""
    gateway_replicas: int = Field(default=2, ge=1, le=100)
    drain_seconds: int = Field(default=3000, ge=0, le=3600)
    """How long a call may go on in a pod that is replaced."""


class DeployerSettings(ServiceSettings):
    worker_lease_seconds: float = Field(default=15.0, ge=1, le=300)
    """A worker that is silent for longer is lost: its replicas are placed elsewhere. Workers report three times in
    this time, so that one lost report loses no worker."""
    demand_seconds: float = Field(default=5.0, ge=1, le=60)
    """How long a gateway's word on demand counts. Gateways repeat it every second."""
    pending_grace_seconds: float = Field(default=5.0, ge=0, le=300)
    """How long waiting calls hope for a worker with room before they are told that there is none."""
    clusters: dict[str, ClusterSettings] = Field(default_factory=dict)
    """Clusters by the names that launches use, such as `{"prod": {"kubeconfig": "/etc/constellation/prod.yaml"}}`.
    `in-cluster`, the one around the deployer, needs none."""
    cluster_look_seconds: float = Field(default=15.0, gt=0, le=3600)
    """How often a launch in a cluster that runs as it should is looked at, besides when the cluster tells of a
    change."""
    history_seconds: float = Field(default=3600.0, ge=60)
    """How long a replica that ended stays in the lists."""
    events_kept: int = Field(default=200, ge=10, le=10_000)
    """Events kept of each deployment; the newest ones."""
    forget_seconds: float = Field(default=604_800.0, ge=3600)
    """A deployment that nobody needed, or a worker that was silent, for this long is forgotten."""
