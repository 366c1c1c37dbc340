"""What a cluster makes of an object that it takes: values that were left out, and quantities as it writes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

_addresses = itertools.count(1)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_QUANTITY = re.compile(r"(\d+)(Ki|Mi|Gi|Ti|m)?")


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """Changes the object."""
    kind, spec = body["kind"], body.get("spec", {})
    if kind == "Deployment":
        spec.setdefault("replicas", 1)
        for template in (spec["template"],):
            _complete_pod(template["spec"])
    elif kind == "Pod":
        _complete_pod(spec)
    elif kind == "Service":
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if "clusterIP" not in spec:
            spec["clusterIP"] = f"10.96.0.{next(_addresses) % 250 + 1}"
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    elif kind == "Secret":
        body.setdefault("type", "Opaque")
    return body


def canonical(quantity: str) -> str:
    """As the API writes a quantity back: with the largest unit that divides it."""
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        return quantity
    number, unit = int(found[1]), found[2]
    if unit == "m":
        return quantity if number % 1000 else str(number // 1000)
    if unit not in _BINARY:
        return quantity
    size = number << _BINARY[unit]
    for name, shift in reversed(_BINARY.items()):
        if size % (1 << shift) == 0:
            return f"{size >> shift}{name}"
    return quantity


def _complete_pod(spec: dict[str, Any]) -> None:
    for name, value in (
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("terminationGracePeriodSeconds", 30),
    ):
        spec.setdefault(name, value)
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            volume["configMap"].setdefault("defaultMode", 420)
        if "sizeLimit" in volume.get("emptyDir", {}):
            volume["emptyDir"]["sizeLimit"] = canonical(volume["emptyDir"]["sizeLimit"])
    for container in spec["containers"]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
        for probe in _probes(container):
            probe.setdefault("successThreshold", 1)
        resources = container.setdefault("resources", {})
        for bound in resources.values():
            for name, quantity in bound.items():
                bound[name] = canonical(str(quantity))


def _probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield container[name]
