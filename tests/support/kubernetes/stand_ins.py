"""Pods that stand in for a satellite's on a real cluster, which needs no image of Constellation's for them.

Usually an image with Python, whose containers answer probes on the ports of the real ones. Variables choose another:

CONSTELLATION_TEST_IMAGE    the image; docker.io/library/python:3.11-slim by default
CONSTELLATION_TEST_COMMAND  its command, a JSON list
CONSTELLATION_TEST_PROBE    how the cluster asks it: `{"tcpSocket": {"port": 80}}` or the like, or `none`

Where no image is named and the cluster cannot pull the usual one, it is the image of which nodes make every pod.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from kubernetes_asyncio import client, config

from services.deployer.kubernetes import objects
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Cluster
from services.deployer.kubernetes.objects import Object
from services.deployer.kubernetes.satellite import Manifest, Satellite, Site, Tokens
from tests.support.eventually import eventually

_SCRIPT = """
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
_CANARY_SECONDS = 300.0
_LIMITS = {"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}}
_WORKS: dict[Access, StandIn] = {}
"""What was found to run, by cluster: nodes are asked once in a run of tests."""


@dataclass(frozen=True)
class StandIn:
    """Attributes:
    probe: how it is asked; None as the real one is, and with no member not at all.
    speaks: it prints a line that says `begins`.
    """

    image: str
    command: Sequence[str]
    probe: Mapping[str, Any] | None = None
    speaks: bool = True

    def render(self, satellite: Satellite, site: Site, tokens: Tokens) -> Sequence[Object]:
        """The objects of a satellite, with pods that need nothing of Constellation's."""
        found = []
        for one in objects.render(satellite, site, tokens):
            body = copy.deepcopy(one.body)
            if body["kind"] == "Deployment":
                (container,) = body["spec"]["template"]["spec"]["containers"]
                self._takes_the_place_of(container)
            found.append(Object(one.stage, body))
        return found

    def _takes_the_place_of(self, container: dict[str, Any]) -> None:
        container.pop("args", None)
        container |= {
            "command": [*self.command],
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
            "resources": _LIMITS,
        }
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if self.probe is not None:
                del container[name]["httpGet"]
                container[name] |= self.probe
                if not self.probe:
                    del container[name]

    def canary(self) -> Manifest:
        """A pod that shows whether the cluster can run it."""
        safe = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
        safe |= {"runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
        container = {"name": "canary", "image": self.image, "command": [*self.command], "securityContext": safe}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "canary"},
            "spec": {"containers": [container | {"resources": _LIMITS}], "terminationGracePeriodSeconds": 0},
        }


PYTHON = StandIn("docker.io/library/python:3.11-slim", ("python3", "-c", _SCRIPT))


async def that_runs(access: Access, cluster: Cluster) -> StandIn:
    """The test fails with the cluster's words where there is none."""
    if access not in _WORKS:
        chosen = _named() or PYTHON
        obstacle = await _obstacle(cluster, chosen)
        if obstacle is not None and _named() is None and (there := await _pause(access)) is not None:
            chosen, obstacle = there, await _obstacle(cluster, there)
        if obstacle is not None:
            pytest.fail(
                f"the cluster cannot run {chosen.image}: {obstacle}; name another in CONSTELLATION_TEST_IMAGE"
            )
        _WORKS[access] = chosen
    return _WORKS[access]


def _named() -> StandIn | None:
    image, command, probe = (os.environ.get(f"CONSTELLATION_TEST_{name}") for name in ("IMAGE", "COMMAND", "PROBE"))
    if not (image or command or probe):
        return None
    return StandIn(
        image or PYTHON.image,
        json.loads(command) if command else PYTHON.command,
        {} if probe == "none" else json.loads(probe) if probe else None,
        speaks=not command,
    )


async def _pause(access: Access) -> StandIn | None:
    """Of the images that nodes have, the one that keeps the namespaces of pods."""
    reached = await config.new_client_from_config(str(access.kubeconfig), access.context)
    async with reached:
        nodes = (await client.CoreV1Api(reached).list_node()).items
    names = [name for node in nodes for image in node.status.images or () for name in image.names or ()]
    found = sorted(name for name in names if name.rpartition("/")[2].partition(":")[0] in ("pause", "mirrored-pause"))
    return StandIn(found[0], ("/pause",), {}, speaks=False) if found else None


async def _obstacle(cluster: Cluster, stand_in: StandIn) -> str | None:
    """Why it does not run; None when it does."""
    namespace = f"constellation-test-{uuid4().hex[:8]}"
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        await eventually(lambda: _has_account(cluster, namespace), _CANARY_SECONDS, every=0.2)
        await cluster.apply(stand_in.canary(), namespace)

        async def told() -> str:
            pod = await cluster.get("Pod", "canary", namespace) or {}
            status = pod.get("status", {})
            for one in status.get("containerStatuses", ()):
                waiting = one["state"].get("waiting", {})
                if waiting.get("message"):
                    return f"{waiting['reason']}: {waiting['message']}"
                if "running" in one["state"]:
                    return "it runs"
            assert status.get("phase") in (None, "Pending"), status
            conditions = [one.get("message") for one in status.get("conditions", ())]
            raise AssertionError([one for one in conditions if one] or "it has not begun")

        try:
            said = await eventually(told, _CANARY_SECONDS, every=0.5)
        except AssertionError as error:
            return str(error)
        return None if said == "it runs" else said
    finally:
        await cluster.delete("Namespace", namespace)


async def _has_account(cluster: Cluster, namespace: str) -> bool:
    return await cluster.get("ServiceAccount", "default", namespace) is not None
