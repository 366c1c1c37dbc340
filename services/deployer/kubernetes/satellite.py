"""A satellite that is to run in a namespace, and the namespace as its operator describes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.launches import LaunchEntry, LaunchOrder
from libs.common.contracts.satellites import SatellitePlan

Manifest = dict[str, Any]
"""A Kubernetes object as its API takes it."""

MANAGER = "constellation"
"""The field manager, and the value of `app.kubernetes.io/managed-by`."""
MANAGED_BY = "app.kubernetes.io/managed-by"
LAUNCH = "constellation.dev/launch"
ENTRY = "constellation.dev/entry"
REVISION = "constellation.dev/revision"
NETWORK = "constellation.dev/network"
COMPONENT = "app.kubernetes.io/component"
VERSION = "constellation.dev/satellite-version"
DEPLOYMENT = "constellation.dev/deployment"
VANITY_URL = "constellation.dev/vanity-url"
ALGORITHM = "constellation.dev/algorithm"
TOKENS_CHECKSUM = "constellation.dev/tokens"
PLAN = "constellation.dev/plan"
APPLIED = "constellation.dev/applied"

GATEWAY = "execution-engine"
"""Name of the gateways' Deployment, Service and Ingress."""
TOKENS = "execution-engine-tokens"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Unfit(ValueError):
    """The satellite cannot be run so. The text says what to change."""


@dataclass(frozen=True)
class Satellite:
    """One order of a launch, with where its images are and what its algorithms keep secret.

    Attributes:
        images: reference of the image of each revision, by revision id.
        secrets: environment variables of each algorithm, by its id.
        report_token: with which its gateways report to the platform that made it, if they do.
    """

    plan: SatellitePlan
    images: Mapping[UUID, str]
    gateway_image: str
    secrets: Mapping[UUID, Mapping[str, str]] = field(default_factory=dict, repr=False)
    report_token: str | None = field(default=None, repr=False)

    @property
    def order(self) -> LaunchOrder:
        return self.plan.order

    @property
    def launch_id(self) -> UUID:
        return self.plan.order.launch_id

    def algorithm(self, entry: LaunchEntry) -> CatalogEntry:
        """Raises Unfit."""
        for one in self.plan.catalog:
            if one.id == entry.algorithm_id and any(found.id == entry.revision_id for found in one.revisions):
                return one
        raise Unfit(f"the plan of satellite '{self.order.satellite}' lacks {entry.algorithm}; render it anew")

    def image(self, entry: LaunchEntry) -> str:
        """Raises Unfit."""
        reference = self.images.get(entry.revision_id)
        if reference is None:
            raise Unfit(f"there is no image of {entry.algorithm}")
        return reference


@dataclass(frozen=True)
class Site:
    """The place in a cluster.

    Attributes:
        fqdn: host name of the Ingress. Without one there is none, and calls come over the Service alone.
        ingress_class: the ingress controller; None leaves it to the cluster.
        tls_secret: name of a Secret with the certificate for `fqdn`; None leaves TLS to the controller.
        pull_secrets: names of Secrets with which images are pulled. They are there already.
        name_servers: networks of the cluster's name service where it is neither pods nor link-local.
        gateway_replicas: gateways that run, at least.
        drain_seconds: how long a call that is under way may go on in what is replaced.
        create_namespace: make the namespace when there is none.
    """

    namespace: str
    fqdn: str | None = None
    ingress_class: str | None = None
    ingress_annotations: Mapping[str, str] = field(default_factory=dict)
    tls_secret: str | None = None
    pull_secrets: tuple[str, ...] = ()
    name_servers: tuple[str, ...] = ()
    gateway_replicas: int = 2
    drain_seconds: int = 3000
    create_namespace: bool = True

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise Unfit(
                f"'{self.namespace}' is no name of a namespace: at most 63 lower-case letters, digits and inner '-'"
            )


@dataclass(frozen=True)
class Tokens:
    """By which gateways and replicas of one launch know each other. Made once, and kept in the cluster alone."""

    replica: str = field(repr=False)
    calls: str = field(repr=False)
