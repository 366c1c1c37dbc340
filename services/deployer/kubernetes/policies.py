"""Who may talk to whom in a satellite's namespace. Pure.

They select nothing but pods of the launch. Nobody reaches an algorithm but the launch's gateways; an algorithm
reaches gateways and the cluster's name service, and the network only where its settings give it the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import NetworkAccess
from services.deployer.kubernetes import pods
from services.deployer.kubernetes.satellite import COMPONENT, GATEWAY, LAUNCH, NETWORK, Manifest

_LINK_LOCAL = "169.254.0.0/16"
"""Where clouds tell machines their credentials, and where some clusters have a name service on each node."""


def policies(launch_id: UUID, labels: Mapping[str, str], *, reports: bool) -> Iterator[Manifest]:
    """
    Args:
        reports: gateways send reports to the platform, wherever it is.
    """
    launch = {LAUNCH: str(launch_id)}
    gateways, algorithms = {**launch, COMPONENT: "gateway"}, {**launch, COMPONENT: "algorithm"}
    yield _policy("constellation-deny-all", labels, launch, ingress=[], egress=[])
    outgoing = [_to(algorithms, pods.PORT), _NAMES, *([_ANYWHERE] if reports else [])]
    yield _policy(GATEWAY, labels, gateways, ingress=[{"ports": [_port(pods.GATEWAY_PORT)]}], egress=outgoing)
    yield _policy(
        "constellation-algorithms",
        labels,
        algorithms,
        ingress=[{"from": [_pods(gateways)], "ports": [_port(pods.PORT)]}],
        egress=[_to(gateways, pods.GATEWAY_PORT), _NAMES],
    )
    networked = {**algorithms, NETWORK: NetworkAccess.FULL.value}
    yield _policy("constellation-network", labels, networked, ingress=None, egress=[_ANYWHERE])


def _policy(
    name: str,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    *,
    ingress: list[Manifest] | None,
    egress: list[Manifest],
) -> Manifest:
    spec: dict[str, Any] = {"podSelector": {"matchLabels": dict(selector)}, "policyTypes": ["Egress"]}
    if ingress is not None:
        spec["policyTypes"] = ["Ingress", "Egress"]
        if ingress:
            spec["ingress"] = ingress
    if egress:
        spec["egress"] = egress
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": spec,
    }


def _pods(selector: Mapping[str, str]) -> Manifest:
    return {"podSelector": {"matchLabels": dict(selector)}}


def _to(selector: Mapping[str, str], port: int) -> Manifest:
    return {"to": [_pods(selector)], "ports": [_port(port)]}


def _port(number: int, protocol: str = "TCP") -> Manifest:
    return {"port": number, "protocol": protocol}


_NAMES: Manifest = {
    "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _LINK_LOCAL}}],
    "ports": [_port(53, "UDP"), _port(53)],
}
_ANYWHERE: Manifest = {
    "to": [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [_LINK_LOCAL]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}},
    ]
}
