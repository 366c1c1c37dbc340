"""Clusters on which tests may launch: the double, always; and a real one, where KUBECONFIG names it.

A real cluster needs no image of Constellation's. Its pods are stand-ins: an image with Python, of which each
container answers probes on the ports of the real one. Variables choose another one:

CONSTELLATION_TEST_IMAGE    the image; docker.io/library/python:3.11-slim by default
CONSTELLATION_TEST_COMMAND  its command, a JSON list
CONSTELLATION_TEST_PROBE    how the cluster asks it: `{"tcpSocket": {"port": 80}}` or the like, or `none`
CONSTELLATION_TEST_CONTEXT  the kubeconfig's context; its current one by default
CONSTELLATION_TEST_INGRESS_CLASS
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.deployer.kubernetes import objects
from services.deployer.kubernetes.cluster import Access, Cluster, connect
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.objects import Object
from services.deployer.kubernetes.satellite import Satellite, Site, Tokens
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.controllers import Outcome

_STAND_IN = """
import http.server, os, signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
for port in (8000, 8080, 8081):
    server = http.server.ThreadingHTTPServer(("", port), Answer)
    threading.Thread(target=server.serve_forever).start()
print(os.environ.get("HOSTNAME"), "begins", flush=True)
"""
REAL_SECONDS = 600.0


@dataclass(frozen=True)
class Place:
    """A namespace of a cluster."""

    cluster: Cluster
    namespace: str
    patience: float
    """Seconds for what a cluster does."""
    double: KubernetesDouble | None = None
    """None for a real cluster."""

    @property
    def site(self) -> Site:
        ingress_class = os.environ.get("CONSTELLATION_TEST_INGRESS_CLASS") if self.double is None else None
        return Site(self.namespace, fqdn=f"{self.namespace}.test", ingress_class=ingress_class, drain_seconds=5)

    def manager(self) -> KubernetesManager:
        """As another process would have one."""
        return KubernetesManager(self.cluster, self.site, render=stand_ins)


def stand_ins(satellite: Satellite, site: Site, tokens: Tokens) -> Sequence[Object]:
    """The objects of a satellite, with pods that need nothing of Constellation's."""
    found = []
    for one in objects.render(satellite, site, tokens):
        body = copy.deepcopy(one.body)
        if body["kind"] == "Deployment":
            (container,) = body["spec"]["template"]["spec"]["containers"]
            _stand_in(container)
        found.append(Object(one.stage, body))
    return found


def _stand_in(container: dict[str, Any]) -> None:
    container.pop("args", None)
    container["command"] = json.loads(
        os.environ.get("CONSTELLATION_TEST_COMMAND", json.dumps(["python3", "-c", _STAND_IN]))
    )
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    container["resources"] = {"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    asked = os.environ.get("CONSTELLATION_TEST_PROBE")
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if asked == "none":
            del container[name]
        elif asked is not None:
            del container[name]["httpGet"]
            container[name].update(json.loads(asked))


def unpullable() -> Outcome:
    """What the double makes of an image that is nowhere."""
    return Outcome(pull_error="failed to resolve reference: no such host")


def real() -> Access:
    """The real cluster. Without one, the test is skipped."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if not named:
        pytest.skip("NOT TRIED ON A REAL CLUSTER: KUBECONFIG names none")
    return Access("real", Path(named), os.environ.get("CONSTELLATION_TEST_CONTEXT"))


def image() -> str:
    return os.environ.get("CONSTELLATION_TEST_IMAGE", "docker.io/library/python:3.11-slim")


@asynccontextmanager
async def place(kind: str, folder: Path) -> AsyncIterator[Place]:
    """A namespace of a name of its own, in a `double` or a `cluster`. It is removed in the end.

    A test of a real cluster is skipped where KUBECONFIG names none.
    """
    namespace = f"constellation-test-{uuid4().hex[:8]}"
    if kind == "double":
        async with (
            KubernetesDouble().serve() as double,
            connect(Access("double", double.kubeconfig(folder / "kubeconfig"))) as cluster,
        ):
            yield Place(cluster, namespace, 60.0, double)
        return
    async with connect(real()) as cluster:
        try:
            yield Place(cluster, namespace, REAL_SECONDS)
        finally:
            await cluster.delete("Namespace", namespace)
            await eventually(lambda: _gone(cluster, namespace), REAL_SECONDS, every=1.0)


async def _gone(cluster: Cluster, namespace: str) -> bool:
    return await cluster.get("Namespace", namespace) is None
