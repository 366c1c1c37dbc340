"""What makes Deployments so: replica sets, pods that start, become ready, fail and end, as kubelets would tell it.

Nothing really runs, and what the container of an image does is said by an Outcome; unless there is a `node`, which
runs the pods and tells what became of them (see `kubelet.py`).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from tests.support.kubernetes.defaults import complete
from tests.support.kubernetes.store import Body, Store, key_of, moment

HASH = "pod-template-hash"


@dataclass(frozen=True)
class Outcome:
    """What becomes of a pod with some image."""

    ready: bool = True
    pull_error: str | None = None
    exit_status: int | None = None
    """It ends again and again, with this status."""
    last_words: str = ""
    out_of_memory: bool = False
    warning: str | None = None
    """Of its probes."""
    holds: bool = False
    """A call is under way that does not end: it does not leave before it is forced to."""


class Node(Protocol):
    """Runs pods."""

    async def log(self, body: Body, *, previous: bool) -> str:
        """What a pod's container printed, or the one before it."""


class Controllers:
    """`turn` does one round of all controllers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.outcomes: dict[str, Outcome] = {}
        """By a part of the image's reference."""
        self.quotas: dict[str, int] = {}
        """Most pods, by namespace."""
        self.gpus = 0
        """Of all nodes together."""
        self.rollouts = True
        """Deployments are seen to."""
        self.printed: dict[str, str] = {}
        """By name of the pod."""
        self.node: Node | None = None

    async def log(self, pod: Body, *, previous: bool) -> str:
        if self.node is not None:
            return await self.node.log(pod, previous=previous)
        return self.printed.get(pod["metadata"]["name"], "")

    def turn(self) -> None:
        for namespace in list(self._store.find("Namespace", None)):
            if "deletionTimestamp" in namespace["metadata"]:
                self._empty(namespace["metadata"]["name"])
        for deployment in list(self._store.find("Deployment", None)):
            if self.rollouts:
                self._roll_out(deployment)
        for kept in list(self._store.find("ReplicaSet", None)):
            self._scale(kept)
        for pod in list(self._store.find("Pod", None)):
            self._live(pod)
        for deployment in list(self._store.find("Deployment", None)):
            if self.rollouts:
                self._report(deployment)

    def end(self, pod: Body, *, grace: int | None) -> None:
        """Somebody deletes it."""
        if grace == 0:
            self._store.remove(key_of(pod))
        elif "deletionTimestamp" not in pod["metadata"]:
            fresh = copy.deepcopy(pod)
            fresh["metadata"]["deletionTimestamp"] = moment()
            self._store.put(fresh)

    # Deployments

    def _roll_out(self, deployment: Body) -> None:
        template = deployment["spec"]["template"]
        name = _hash(template)
        found = self._sets(deployment)
        current = next((one for one in found if one["metadata"]["labels"][HASH] == name), None)
        if current is None:
            current = self._store.put(_replica_set(deployment, template, name))
            found.append(current)
        desired, surge = deployment["spec"]["replicas"], 1
        others = [one for one in found if one is not current]
        old = sum(one["spec"]["replicas"] for one in others)
        self._resize(current, min(desired, max(0, desired + surge - old)))
        available = sum(self._available(one) for one in found)
        spare = available - desired
        for one in others:
            unready = one["spec"]["replicas"] - self._available(one)
            give = min(one["spec"]["replicas"], unready + max(0, spare))
            spare -= give - unready
            self._resize(one, one["spec"]["replicas"] - give)
            if one["spec"]["replicas"] == 0 and not list(self._pods(one)):
                self._store.remove(key_of(one))

    def _resize(self, kept: Body, replicas: int) -> None:
        if kept["spec"]["replicas"] != replicas:
            fresh = copy.deepcopy(self._store.objects[key_of(kept)])
            fresh["spec"]["replicas"] = kept["spec"]["replicas"] = replicas
            self._store.put(fresh)

    def _report(self, deployment: Body) -> None:
        deployment = self._store.objects[key_of(deployment)]
        found = self._sets(deployment)
        name = _hash(deployment["spec"]["template"])
        pods = {one["metadata"]["labels"][HASH]: list(self._pods(one)) for one in found}
        status: Body = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": sum(len(some) for some in pods.values()),
            "updatedReplicas": len(pods.get(name, ())),
            "readyReplicas": sum(_is_ready(pod) for some in pods.values() for pod in some),
            "availableReplicas": sum(_is_ready(pod) for some in pods.values() for pod in some),
            "conditions": [],
        }
        failures = [one["status"]["failure"] for one in found if one.get("status", {}).get("failure")]
        if failures:
            status["conditions"].append(
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failures[0]}
            )
        fresh = {**copy.deepcopy(deployment), "status": status}
        self._store.put(fresh)

    def _sets(self, deployment: Body) -> list[Body]:
        namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
        return [one for one in self._store.find("ReplicaSet", namespace) if _owner(one) == uid]

    # Replica sets

    def _scale(self, kept: Body) -> None:
        if self._store.objects.get(key_of(kept)) is None:
            return
        if _owner(kept) not in {one["metadata"]["uid"] for one in self._store.find("Deployment", None)}:
            self._store.remove(key_of(kept))
            return
        pods = list(self._pods(kept))
        missing = kept["spec"]["replicas"] - len(pods)
        failure = None
        for _ in range(missing):
            failure = self._make_pod(kept)
        for pod in sorted(pods, key=_is_ready)[: max(0, -missing)]:
            self.end(pod, grace=None)
        if kept.get("status", {}).get("failure") != failure:
            self._store.put({**copy.deepcopy(self._store.objects[key_of(kept)]), "status": {"failure": failure}})

    def _make_pod(self, kept: Body) -> str | None:
        """Gives why it is not to be had."""
        namespace = kept["metadata"]["namespace"]
        name = f"{kept['metadata']['name']}-{uuid4().hex[:5]}"
        most = self.quotas.get(namespace)
        used = len(list(self._store.find("Pod", namespace)))
        if most is not None and used >= most:
            figures = f"requested: pods=1, used: pods={used}, limited: pods={most}"
            return f'pods "{name}" is forbidden: exceeded quota: small, {figures}'
        template = copy.deepcopy(kept["spec"]["template"])
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": kept["metadata"]["name"]}
        metadata = {**template["metadata"], "name": name, "namespace": namespace}
        metadata["ownerReferences"] = [{**owner, "uid": kept["metadata"]["uid"], "controller": True}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self._store.put(complete({**pod, "status": {"phase": "Pending"}}))
        self.printed[name] = f"{name} begins\n"
        return None

    def _pods(self, kept: Body) -> Iterator[Body]:
        """Those that are not ending."""
        for pod in self._store.find("Pod", kept["metadata"]["namespace"]):
            if _owner(pod) == kept["metadata"]["uid"] and "deletionTimestamp" not in pod["metadata"]:
                yield pod

    def _available(self, kept: Body) -> int:
        return sum(_is_ready(pod) for pod in self._pods(kept))

    # Pods

    def _live(self, pod: Body) -> None:
        outcome = self._outcome(pod)
        if "deletionTimestamp" in pod["metadata"]:
            if not outcome.holds and self.node is None:
                self._store.remove(key_of(pod))
            return
        if _owner(pod) is not None and _owner(pod) not in {
            one["metadata"]["uid"] for one in self._store.find("ReplicaSet", None)
        }:
            self.end(pod, grace=None)
            return
        if self.node is not None:
            return
        status = self._status(pod, outcome)
        if pod.get("status") != status:
            self._store.put({**copy.deepcopy(pod), "status": status})
        if outcome.warning is not None and not status["containerStatuses"][0]["ready"]:
            self.warn(pod, outcome.warning)

    def _status(self, pod: Body, outcome: Outcome) -> Body:
        asked = _gpus(pod)
        others = sum(
            _gpus(one)
            for one in self._store.find("Pod", None)
            if one is not pod and one.get("status", {}).get("phase") == "Running"
        )
        if asked and asked + others > self.gpus:
            message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: not helpful."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            return {"phase": "Pending", "conditions": [condition]}
        container = pod["spec"]["containers"][0]
        base = {"name": container["name"], "image": container["image"], "restartCount": 0}
        said = {**base, **_container_status(outcome, pod["metadata"]["creationTimestamp"])}
        ready = bool(said["ready"])
        return {
            "phase": "Pending" if outcome.pull_error else "Running",
            "podIP": "10.0.0.1",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
            "containerStatuses": [said],
        }

    def warn(self, pod: Body, message: str) -> None:
        """An Event about a pod."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        about = {"kind": "Pod", "name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]}
        self._store.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{name}.warning", "namespace": namespace},
                "involvedObject": about,
                "type": "Warning",
                "reason": "Unhealthy",
                "message": message,
                "lastTimestamp": pod["metadata"]["creationTimestamp"],
            }
        )

    def _outcome(self, pod: Body) -> Outcome:
        image = pod["spec"]["containers"][0]["image"]
        return next((one for part, one in self.outcomes.items() if part in image), Outcome())

    def _empty(self, namespace: str) -> None:
        for key in [key for key in self._store.objects if key[1] == namespace]:
            self._store.remove(key)
        self._store.remove(("Namespace", None, namespace))


def _container_status(outcome: Outcome, since: str) -> Body:
    if outcome.pull_error is not None:
        waiting = {"reason": "ImagePullBackOff", "message": outcome.pull_error}
        return {"ready": False, "started": False, "state": {"waiting": waiting}}
    if outcome.exit_status is not None:
        ended: Body = {"exitCode": outcome.exit_status, "reason": "Error", "message": outcome.last_words}
        if outcome.out_of_memory:
            ended["reason"] = "OOMKilled"
        return {
            "ready": False,
            "started": False,
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
            "lastState": {"terminated": ended},
        }
    return {"ready": outcome.ready, "started": outcome.ready, "state": {"running": {"startedAt": since}}}


def _replica_set(deployment: Body, template: Body, name: str) -> Body:
    metadata: dict[str, Any] = {
        "name": f"{deployment['metadata']['name']}-{name}",
        "namespace": deployment["metadata"]["namespace"],
        "labels": {**template["metadata"].get("labels", {}), HASH: name},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": deployment["metadata"]["name"],
                "uid": deployment["metadata"]["uid"],
                "controller": True,
            }
        ],
    }
    made = copy.deepcopy(template)
    made["metadata"].setdefault("labels", {})[HASH] = name
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {"replicas": 0, "selector": deployment["spec"]["selector"], "template": made},
    }


def _hash(template: Body) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _owner(body: Body) -> str | None:
    return next((one["uid"] for one in body["metadata"].get("ownerReferences") or ()), None)


def _is_ready(pod: Body) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _gpus(pod: Body) -> int:
    return sum(
        int(one.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0)) for one in pod["spec"]["containers"]
    )
