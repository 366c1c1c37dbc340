"""The clusters that launches may name: which place an order means, and who manages it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from libs.common.contracts.identity import Wire
from libs.common.contracts.launches import EntryStatus, KubernetesTarget, LaunchOrder
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import connect
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.problems import Refused
from services.deployer.kubernetes.satellite import Site
from services.deployer.settings import ClusterSettings

IN_CLUSTER = "in-cluster"


class Place(Wire):
    """A namespace of a cluster."""

    cluster: str
    namespace: str
    fqdn: str | None = None

    @property
    def words(self) -> str:
        return f"namespace '{self.namespace}' of cluster '{self.cluster}'"

    def is_same(self, other: Place) -> bool:
        return (self.cluster, self.namespace) == (other.cluster, other.namespace)


class Seen(Wire):
    """What was seen last of a launch in its cluster."""

    serving_version: int | None = None
    entries: tuple[EntryStatus, ...] = ()
    obstacle: str | None = None
    """Why not all is as it should be."""


def place(order: LaunchOrder | None) -> Place | None:
    """Where an order is to run; None if not in a cluster."""
    if order is None or not isinstance(order.target, KubernetesTarget):
        return None
    target = order.target
    return Place(cluster=target.cluster, namespace=target.namespace, fqdn=target.fqdn)


def seen(found: Observation | None, obstacle: str | None) -> Seen:
    if found is None:
        return Seen(obstacle=obstacle)
    serving = found.satellite_version if found.gateway is not None and found.gateway.ready else None
    return Seen(serving_version=serving, entries=found.entries, obstacle=obstacle)


class Clusters:
    """Managers of places, by the deployer's settings."""

    def __init__(self, settings: Mapping[str, ClusterSettings]) -> None:
        self._settings = {IN_CLUSTER: ClusterSettings(), **settings}

    @asynccontextmanager
    async def manager(self, place: Place) -> AsyncIterator[KubernetesManager]:
        """Reads the kubeconfig anew each time: credentials change.

        Raises:
            Refused: no cluster of that name is known, or its kubeconfig cannot be used.
            Unfit: the place cannot be one.
        """
        known = self._settings.get(place.cluster)
        if known is None:
            names = ", ".join(f"'{name}'" for name in sorted(self._settings))
            raise Refused(
                f"the deployer knows no cluster '{place.cluster}', but {names}; name its kubeconfig in"
                " CONSTELLATION_CLUSTERS, or another cluster in the launch's target"
            )
        site = Site(
            namespace=place.namespace,
            fqdn=place.fqdn,
            ingress_class=known.ingress_class,
            ingress_annotations=known.ingress_annotations,
            tls_secret=known.tls_secret,
            pull_secrets=known.pull_secrets,
            name_servers=tuple(str(network) for network in known.name_servers),
            gateway_replicas=known.gateway_replicas,
            drain_seconds=known.drain_seconds,
            create_namespace=known.create_namespaces,
        )
        async with connect(Access(place.cluster, known.kubeconfig, known.context)) as cluster:
            yield KubernetesManager(cluster, site)
