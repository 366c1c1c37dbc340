"""Who may talk to whom in a satellite's namespace. Pure.

They select nothing but pods of the launch. Nobody reaches an algorithm but the launch's gateways; an algorithm
reaches gateways and the cluster's name service, and the network only where its settings give it the network. What
asks pods how they are runs on their nodes, which policies do not keep out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import NetworkAccess
from services.deployer.kubernetes import pods
from services.deployer.kubernetes.satellite import COMPONENT, GATEWAY, LAUNCH, NETWORK, Manifest

_LINK_LOCAL = "169.254.0.0/16"
"""Where clouds tell machines their credentials, and where some clusters have a name service on each node."""
_MACHINES = (_LINK_LOCAL, "100.100.100.200/32", "168.63.129.16/32")
_MACHINES_V6 = ("fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128")
"""Where clouds tell machines what is not for pods: the usual place, Alibaba Cloud's, Azure's WireServer; and for IPv6
the usual place, and those of AWS and Google Cloud. By their manuals."""


def policies(
    launch_id: UUID, labels: Mapping[str, str], *, reports: bool, name_servers: Sequence[str] = ()
) -> Iterator[Manifest]:
    """
    Args:
        reports: gateways send reports to the platform, wherever it is.
        name_servers: networks of the cluster's name service where it is neither pods nor link-local, such as
            `10.96.0.10/32`.
    """
    names = _names(name_servers)
    launch = {LAUNCH: str(launch_id)}
    gateways, algorithms = {**launch, COMPONENT: "gateway"}, {**launch, COMPONENT: "algorithm"}
    yield _policy("constellation-deny-all", labels, launch, ingress=[], egress=[])
    outgoing = [_to(algorithms, pods.PORT), *names, *([_ANYWHERE] if reports else [])]
    yield _policy(GATEWAY, labels, gateways, ingress=[{"ports": [_port(pods.GATEWAY_PORT)]}], egress=outgoing)
    yield _policy(
        "constellation-algorithms",
        labels,
        algorithms,
        ingress=[{"from": [_pods(gateways)], "ports": [_port(pods.PORT)]}],
        egress=[_to(gateways, pods.GATEWAY_PORT), *names],
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


def _names(servers: Sequence[str]) -> list[Manifest]:
    """Policies see the port of the pod to which a Service leads: OpenShift's name service listens at 5353."""
    pods_ports = [_port(number, protocol) for number in (53, 5353) for protocol in ("UDP", "TCP")]
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in (_LINK_LOCAL, *servers)]
    return [
        {"to": [_ANY_POD], "ports": pods_ports},
        {"to": blocks, "ports": [_port(53, "UDP"), _port(53)]},
    ]


_ANY_POD: Manifest = {"namespaceSelector": {}}
_ANYWHERE: Manifest = {
    "to": [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*_MACHINES]}},
        {"ipBlock": {"cidr": "::/0", "except": [*_MACHINES_V6]}},
        _ANY_POD,
    ]
}
"""Blocks are for addresses outside of the cluster: some network plugins, Cilium among them, count no pod in."""
