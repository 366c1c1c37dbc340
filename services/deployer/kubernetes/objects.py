"""The objects of which a satellite consists in its namespace, in the order in which they are applied. Pure.

Per entry of the satellite one Deployment with a headless Service, by which gateways find its replicas; in front of
them gateways with a Service and an Ingress. Configuration and secrets are immutable objects that are named by their
content: what changes has another name, so pods are replaced one after the other, and what runs keeps what it was
started with until then.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import UUID

from libs.common.contracts.launches import LaunchEntry, entry_id
from libs.common.contracts.replicas import derived_token
from services.deployer.kubernetes import pods, policies
from services.deployer.kubernetes.drift import marked
from services.deployer.kubernetes.satellite import (
    ALGORITHM,
    COMPONENT,
    DEPLOYMENT,
    ENTRY,
    GATEWAY,
    LAUNCH,
    MANAGED_BY,
    MANAGER,
    NETWORK,
    PLAN,
    REVISION,
    TOKENS,
    TOKENS_CHECKSUM,
    VANITY_URL,
    VERSION,
    Manifest,
    Satellite,
    Site,
    Tokens,
    Unfit,
)

MAX_CONTENT = 1_000_000
"""Bytes that a ConfigMap or a Secret may hold; the API's own limit of 1 MiB is for the whole object."""
MAX_CALL_SECONDS = 3000
_WORDS = re.compile(r"[^a-z0-9]+")


class Stage(IntEnum):
    """When an object is applied. Gateways learn of entries when those are ready."""

    BASE = 0
    ALGORITHMS = 1
    GATEWAYS = 2


@dataclass(frozen=True)
class Object:
    stage: Stage
    body: Manifest

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return str(self.body["kind"]), str(self.body["metadata"]["name"])

    @property
    def words(self) -> str:
        return "{} '{}'".format(*self.key)


@dataclass(frozen=True)
class Entry:
    """An entry with the names of its objects."""

    said: LaunchEntry
    id: UUID
    name: str

    @property
    def token_name(self) -> str:
        """Of the Secret with what its replicas want to be shown."""
        return f"{self.name}-token"


def entries(satellite: Satellite) -> tuple[Entry, ...]:
    return tuple(_entry(satellite.launch_id, one) for one in satellite.order.entries)


def render(satellite: Satellite, site: Site, tokens: Tokens) -> tuple[Object, ...]:
    """All objects. The same arguments give the same.

    Raises:
        Unfit: it cannot be run so.
    """
    made: list[Object] = []
    launch = _labels(satellite)
    found = entries(satellite)
    plan = _plan(satellite, found, launch)
    secrets = {one.id: _secret(satellite, one, tokens, launch) for one in found}
    report = _report(satellite, tokens, launch)

    made.append(Object(Stage.BASE, _service_account(launch)))
    made.append(Object(Stage.BASE, _tokens(tokens, launch)))
    made.extend(Object(Stage.BASE, _replica_token(one, tokens, launch)) for one in found)
    made.extend(Object(Stage.BASE, body) for body in (*secrets.values(), report) if body is not None)
    made.append(Object(Stage.BASE, plan))
    reports, servers = satellite.report_token is not None, site.name_servers
    for body in policies.policies(satellite.launch_id, launch, reports=reports, name_servers=servers):
        made.append(Object(Stage.BASE, body))
    made.extend(Object(Stage.BASE, _headless(one, launch)) for one in found)
    for one in found:
        made.extend(Object(Stage.ALGORITHMS, body) for body in _algorithm(satellite, site, one, secrets, tokens))
    made.extend(Object(Stage.GATEWAYS, body) for body in _gateways(satellite, site, plan, report, tokens))
    return tuple(Object(one.stage, marked(one.body)) for one in made)


def namespace(site: Site) -> Manifest:
    """The namespace, where it is to be made."""
    labels = {MANAGED_BY: MANAGER, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace, "labels": labels}}


def _entry(launch_id: UUID, said: LaunchEntry) -> Entry:
    key = entry_id(launch_id, said.vanity_url)
    words = _WORDS.sub("-", said.vanity_url.lower()).strip("-")[:40].strip("-")
    return Entry(said, key, f"algo-{words}-{key.hex[:8]}")


def _labels(satellite: Satellite) -> dict[str, str]:
    launch = str(satellite.launch_id)
    return {MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "constellation", LAUNCH: launch}


def _named(labels: Mapping[str, str], component: str) -> dict[str, str]:
    return {**labels, "app.kubernetes.io/name": component, COMPONENT: component}


def _service_account(labels: Mapping[str, str]) -> Manifest:
    """Pods have one without any right, and do not get its token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata("constellation-satellite", labels),
        "automountServiceAccountToken": False,
    }


def _tokens(tokens: Tokens, labels: Mapping[str, str]) -> Manifest:
    content = {"replica-secret": tokens.replica, "call-token-secret": tokens.calls}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(TOKENS, labels),
        "type": "Opaque",
        "data": _base64(content),
    }


def _replica_token(entry: Entry, tokens: Tokens, labels: Mapping[str, str]) -> Manifest:
    """What the replicas of one entry want to be shown. It does for no other's."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(entry.token_name, {**_named(labels, "algorithm"), ENTRY: str(entry.id)}),
        "type": "Opaque",
        "data": _base64({"replica-token": derived_token(tokens.replica, entry.id)}),
    }


def _secret(satellite: Satellite, entry: Entry, tokens: Tokens, labels: Mapping[str, str]) -> Manifest | None:
    """The environment of one entry's algorithm."""
    content = satellite.secrets.get(entry.said.algorithm_id)
    if not content:
        return None
    if taken := sorted(pods.OWN_VARIABLES & content.keys()):
        raise Unfit(f"{entry.said.algorithm} has secrets by names of the pod's own: {', '.join(taken)}; rename them")
    labels = {**_named(labels, "algorithm"), ENTRY: str(entry.id)}
    return _sealed(entry.name, content, tokens, labels, f"the secrets of {entry.said.algorithm}")


def _report(satellite: Satellite, tokens: Tokens, labels: Mapping[str, str]) -> Manifest | None:
    if satellite.report_token is None:
        return None
    content = {"report-token": satellite.report_token}
    return _sealed(f"{GATEWAY}-report", content, tokens, _named(labels, "gateway"), "the report token")


def _sealed(
    prefix: str, content: Mapping[str, str], tokens: Tokens, labels: Mapping[str, str], what: str
) -> Manifest:
    """A Secret that is named by its content, in a way that tells nothing of it to who lacks the launch's tokens."""
    text = json.dumps(content, sort_keys=True).encode()
    _check_size(text, what)
    digest = hmac.digest(tokens.calls.encode(), text, "sha256").hex()[:10]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(f"{prefix}-{digest}", labels),
        "type": "Opaque",
        "immutable": True,
        "data": _base64(content),
    }


def _plan(satellite: Satellite, found: Sequence[Entry], labels: Mapping[str, str]) -> Manifest:
    """What gateways know."""
    order = satellite.order.model_copy(update={"paused": False})  # which no gateway needs to know, nor how often
    plan_of_gateways = satellite.plan.model_copy(update={"order": order})
    said = plan_of_gateways.model_dump(mode="json", exclude={"order": {"revision"}})
    plan = json.dumps(said, sort_keys=True, separators=(",", ":"))
    _check_size(plan.encode(), f"the plan of satellite '{satellite.order.satellite}'")
    replicas = {str(one.id): {"host": one.name, "port": pods.PORT} for one in found}
    content = {"plan.json": plan, "replicas.json": json.dumps(replicas, sort_keys=True)}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(f"{GATEWAY}-{digest}", _named(labels, "gateway")),
        "immutable": True,
        "data": content,
    }


def _headless(entry: Entry, labels: Mapping[str, str]) -> Manifest:
    """Its name stands for the addresses of all ready replicas."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(entry.name, {**_named(labels, "algorithm"), ENTRY: str(entry.id)}),
        "spec": {
            "clusterIP": "None",
            "selector": _selector(labels, entry.id),
            "ports": [{"name": "calls", "port": pods.PORT, "targetPort": "calls", "protocol": "TCP"}],
        },
    }


def _algorithm(
    satellite: Satellite, site: Site, entry: Entry, secrets: Mapping[UUID, Manifest | None], tokens: Tokens
) -> Iterator[Manifest]:
    said = entry.said
    algorithm = satellite.algorithm(said)
    launch = _labels(satellite)
    labels = {**_named(launch, "algorithm"), ENTRY: str(entry.id)}
    secret = secrets[entry.id]
    template = pods.template(
        {**labels, REVISION: str(said.revision_id), NETWORK: algorithm.network_access.value},
        {VANITY_URL: said.vanity_url, ALGORITHM: said.algorithm, TOKENS_CHECKSUM: _checksum(tokens)},
        pods.algorithm(
            satellite.image(said),
            algorithm,
            token=entry.token_name,
            secret=secret["metadata"]["name"] if secret is not None else None,
            gateway=f"http://{GATEWAY}:80",
        ),
        site,
        _selector(launch, entry.id),
    )
    notes = {VANITY_URL: said.vanity_url, ALGORITHM: said.algorithm}
    yield _deployment(entry.name, labels, notes, said.replicas, _selector(launch, entry.id), template)
    if said.replicas > 1:
        yield _disruption_budget(entry.name, labels, _selector(launch, entry.id))


def _gateways(
    satellite: Satellite, site: Site, plan: Manifest, report: Manifest | None, tokens: Tokens
) -> Iterator[Manifest]:
    launch = _labels(satellite)
    labels = _named(launch, "gateway")
    selector = {LAUNCH: launch[LAUNCH], COMPONENT: "gateway"}
    order = satellite.order
    name = plan["metadata"]["name"]
    container = pods.gateway(
        satellite.gateway_image,
        site,
        report=report["metadata"]["name"] if report is not None else None,
    )
    template = pods.template(labels, {TOKENS_CHECKSUM: _checksum(tokens)}, container, site, selector, plan=name)
    notes = {
        VERSION: str(order.satellite_version),
        DEPLOYMENT: str(order.deployment_id),
        PLAN: name,
        "constellation.dev/satellite": f"{order.satellite} ({order.satellite_id})",
        "constellation.dev/name": order.name,
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(GATEWAY, labels),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    yield _deployment(GATEWAY, labels, notes, site.gateway_replicas, selector, template)
    if site.gateway_replicas > 1:
        yield _disruption_budget(GATEWAY, labels, selector)
    if site.fqdn is not None:
        yield _ingress(site, labels)


def _deployment(
    name: str,
    labels: Mapping[str, str],
    notes: Mapping[str, str],
    replicas: int,
    selector: Mapping[str, str],
    template: Manifest,
) -> Manifest:
    """One pod more than there should be while pods are replaced, and never one less."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(name, labels), "annotations": dict(notes)},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": pods.START_SECONDS + 240,
            "selector": {"matchLabels": dict(selector)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def _disruption_budget(name: str, labels: Mapping[str, str], selector: Mapping[str, str]) -> Manifest:
    """Nodes are emptied one pod after the other. One that never became ready holds up nobody."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(name, labels),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": dict(selector)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _ingress(site: Site, labels: Mapping[str, str]) -> Manifest:
    """Controllers end a connection after a minute without an answer, if they are not told that calls take longer."""
    patience = MAX_CALL_SECONDS + 60
    notes = {
        "nginx.ingress.kubernetes.io/proxy-read-timeout": str(patience),
        "nginx.ingress.kubernetes.io/proxy-send-timeout": str(patience),
        "nginx.ingress.kubernetes.io/proxy-body-size": "16m",
        "haproxy.org/timeout-server": f"{patience}s",
        **site.ingress_annotations,
    }
    backend = {"service": {"name": GATEWAY, "port": {"name": "http"}}}
    spec: dict[str, Any] = {
        "rules": [
            {
                "host": site.fqdn,
                "http": {"paths": [{"path": "/v1/algo/", "pathType": "Prefix", "backend": backend}]},
            }
        ]
    }
    if site.ingress_class is not None:
        spec["ingressClassName"] = site.ingress_class
    if site.tls_secret is not None:
        spec["tls"] = [{"hosts": [site.fqdn], "secretName": site.tls_secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {**_metadata(GATEWAY, labels), "annotations": notes},
        "spec": spec,
    }


def _selector(labels: Mapping[str, str], entry: UUID) -> dict[str, str]:
    return {LAUNCH: labels[LAUNCH], ENTRY: str(entry)}


def _metadata(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "labels": dict(labels)}


def _base64(content: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in sorted(content.items())}


def _checksum(tokens: Tokens) -> str:
    """They are random, so that it tells nothing of them."""
    return hashlib.sha256(f"{tokens.replica} {tokens.calls}".encode()).hexdigest()[:16]


def _check_size(content: bytes, what: str) -> None:
    if len(content) > MAX_CONTENT:
        raise Unfit(
            f"{what} has {len(content)} bytes, and a cluster keeps at most {MAX_CONTENT} in one object; split the"
            " satellite, or give fewer keys access to its algorithms"
        )
