"""The pods of a satellite: gateways, and replicas of algorithms. Pure.

They keep to the Pod Security Standard `restricted`: a user without rights, a root that cannot be written, no
capabilities, no way to more privileges, the runtime's seccomp profile. Nothing in them may ask the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.contracts.catalog import CatalogEntry
from services.deployer.kubernetes.satellite import TOKENS, Manifest, Site

PORT = 8080
HEALTH_PORT = 8081
GATEWAY_PORT = 8000
USER = 65532
LOAD_SECONDS = 300
OWN_VARIABLES = frozenset(
    {
        *("PORT", "HEALTH_PORT", "REPLICA_MUST_LOAD", "REPLICA_LOAD_TIMEOUT", "REPLICA_CONCURRENCY"),
        *("REPLICA_TOKEN", "REPLICA_GATEWAYS"),
    }
)
"""Of a replica's container: no secret of the algorithm can have such a name."""
START_SECONDS = LOAD_SECONDS + 60
"""For a pod to answer, once its image is there."""
PAUSE_SECONDS = 10
"""A pod that is to end takes calls for so long, until all others know that it ends."""
_LEAVE_SECONDS = 30
_PLAN_FOLDER = "/etc/constellation/satellite"
_TMP = "/tmp"  # noqa: S108 - the pod's own


def algorithm(image: str, entry: CatalogEntry, *, token: str, secret: str | None, gateway: str) -> Manifest:
    """The container of a replica (see services/worker/runner/container.py)."""
    variables = [
        {"name": "PORT", "value": str(PORT)},
        {"name": "HEALTH_PORT", "value": str(HEALTH_PORT)},
        {"name": "REPLICA_MUST_LOAD", "value": "1"},
        {"name": "REPLICA_LOAD_TIMEOUT", "value": str(LOAD_SECONDS)},
        {"name": "REPLICA_CONCURRENCY", "value": str(entry.scaling.concurrency)},
        _from_secret("REPLICA_TOKEN", token, "replica-token"),
    ]
    if entry.pipeline_enabled:
        variables.append({"name": "REPLICA_GATEWAYS", "value": gateway})
    container: Manifest = {
        **_container("algorithm", image, variables),
        "ports": [
            {"name": "calls", "containerPort": PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "resources": resources(entry),
        **_probes("health", alive="/health", ready="/ready"),
    }
    if secret is not None:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    return container


def gateway(image: str, site: Site, *, report: str | None) -> Manifest:
    """The container of a gateway."""
    variables = [
        {"name": "CONSTELLATION_HOST", "value": "0.0.0.0"},  # noqa: S104 - of the pod
        {"name": "CONSTELLATION_PORT", "value": str(GATEWAY_PORT)},
        {"name": "CONSTELLATION_DATA_DIR", "value": f"{_TMP}/constellation"},
        {"name": "CONSTELLATION_DRAIN_SECONDS", "value": str(site.drain_seconds)},
        {"name": "CONSTELLATION_SATELLITE_PLAN", "value": f"{_PLAN_FOLDER}/plan.json"},
        {"name": "CONSTELLATION_SATELLITE_REPLICAS", "value": f"{_PLAN_FOLDER}/replicas.json"},
        _from_secret("CONSTELLATION_REPLICA_SECRET", TOKENS, "replica-secret"),
        _from_secret("CONSTELLATION_CALL_TOKEN_SECRET", TOKENS, "call-token-secret"),
    ]
    if report is not None:
        variables.append(_from_secret("CONSTELLATION_REPORT_TOKEN", report, "report-token"))
    container = _container("gateway", image, variables)
    return {
        **container,
        "args": ["serve", "gateway"],
        "ports": [{"name": "http", "containerPort": GATEWAY_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [*container["volumeMounts"], {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True}],
        **_probes("http", alive="/healthz", ready="/readyz"),
    }


def resources(entry: CatalogEntry) -> Manifest:
    """Memory is kept and a limit; processors are kept, and more may be used; GPUs are its own."""
    scaling = entry.scaling
    memory = binary(scaling.memory_mib)
    requests, limits = {"memory": memory}, {"memory": memory}
    if scaling.cpus:
        requests["cpu"] = milli(scaling.cpus)
    if scaling.gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(scaling.gpus)
    return {"requests": requests, "limits": limits}


def template(
    labels: Mapping[str, str],
    notes: Mapping[str, str],
    container: Manifest,
    site: Site,
    selector: Mapping[str, str],
    *,
    plan: str | None = None,
) -> Manifest:
    """What a Deployment makes pods of.

    Args:
        selector: labels of the pods that are spread over hosts and zones.
        plan: the ConfigMap with what gateways know.
    """
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}}]
    if plan is not None:
        volumes.append({"name": "plan", "configMap": {"name": plan}})
    spec: dict[str, Any] = {
        "serviceAccountName": "constellation-satellite",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": PAUSE_SECONDS + site.drain_seconds + _LEAVE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "topologyKey": key,
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selector)},
                "matchLabelKeys": ["pod-template-hash"],
            }
            for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
        "containers": [container],
        "volumes": volumes,
    }
    if site.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in site.pull_secrets]
    return {"metadata": {"labels": dict(labels), "annotations": dict(notes)}, "spec": spec}


def binary(mib: int) -> str:
    """MiB as the cluster writes them: with the largest unit that divides them."""
    for unit, size in (("Ti", 1 << 20), ("Gi", 1 << 10)):
        if mib % size == 0:
            return f"{mib // size}{unit}"
    return f"{mib}Mi"


def milli(cpus: float) -> str:
    """Processors as the cluster writes them."""
    thousandths = max(1, round(cpus * 1000))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _container(name: str, image: str, variables: list[Manifest]) -> Manifest:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": variables,
        "volumeMounts": [{"name": "tmp", "mountPath": _TMP}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": PAUSE_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _probes(port: str, *, alive: str, ready: str) -> Manifest:
    return {
        "startupProbe": _probe(port, ready, period=2, failures=START_SECONDS // 2),
        "readinessProbe": _probe(port, ready, period=5, failures=2),
        "livenessProbe": _probe(port, alive, period=20, failures=6),
    }


def _probe(port: str, path: str, *, period: int, failures: int) -> Manifest:
    asked = {"path": path, "port": port, "scheme": "HTTP"}
    return {"httpGet": asked, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}


def _from_secret(name: str, secret: str, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
