"""What the cluster says, as states and reasons."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.launches import EntryStatus
from services.deployer.kubernetes import observed
from services.deployer.kubernetes.observed import Observation, Part, launch_of, observe, part
from services.deployer.kubernetes.satellite import Manifest

LAUNCH = UUID(int=1)
ENTRY = "constellation.dev/entry"


def deployment(name: str = "algo", desired: int = 2, *, generation: int = 1, **status: Any) -> Manifest:
    component = "gateway" if name == "execution-engine" else "algorithm"
    labels = {"constellation.dev/launch": str(LAUNCH), "app.kubernetes.io/component": component}
    notes = {
        "constellation.dev/satellite-version": "3",
        "constellation.dev/deployment": str(UUID(int=9)),
        "constellation.dev/plan": "p",
    }
    if component == "algorithm":
        labels[ENTRY] = name
        notes = {"constellation.dev/vanity-url": f"a/{name}", "constellation.dev/algorithm": "joe/echo/1"}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": notes, "generation": generation},
        "spec": {"replicas": desired},
        "status": status,
    }


def counts(updated: int, total: int, available: int, observed: int = 1) -> dict[str, Any]:
    return {
        "observedGeneration": observed,
        "updatedReplicas": updated,
        "replicas": total,
        "availableReplicas": available,
    }


def pod(*statuses: Manifest, of: str = "algo", uid: str = "u", ending: bool = False, **status: Any) -> Manifest:
    metadata: Manifest = {"name": f"{of}-{uid}", "uid": uid, "labels": {ENTRY: of}}
    if ending:
        metadata["deletionTimestamp"] = "now"
    limits = {"resources": {"limits": {"memory": "1Gi"}}}
    containers = [{"name": "side"}, {"name": "main", **limits}, {"name": "bare"}]
    return {
        "metadata": metadata,
        "spec": {"containers": containers},
        "status": {"containerStatuses": list(statuses), **status},
    }


def container(state: Manifest | None = None, **more: Any) -> Manifest:
    return {"name": "main", "image": "r/i", "ready": False, "state": state or {}, **more}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, Part(2, 0, 0, 0, settled=False)),
        (counts(2, 2, 2), Part(2, 2, 0, 0, settled=True)),
        (counts(1, 3, 2), Part(2, 0, 1, 2, settled=False)),
        (counts(2, 3, 3), Part(2, 2, 0, 1, settled=False)),
        (counts(2, 2, 1), Part(2, 1, 1, 0, settled=False)),
        (counts(2, 2, 2, observed=0), Part(2, 0, 0, 2, settled=False)),
    ],
)
def test_only_what_is_new_and_ready_counts(status: dict[str, Any], expected: Part) -> None:
    assert part(deployment(**status)) == expected


def reason(*pods: Manifest, events: list[Manifest] | None = None, **status: Any) -> str | None:
    found = observe(LAUNCH, [deployment(**counts(0, 0, 0), **status)], pods, events or [])
    return found.entries[0].reason


WAITING = "waiting"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pod(), None),
        (pod(container(ready=True)), None),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            "no node takes it: 0/3 nodes",
        ),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False"}]),
            "no node takes it: the scheduler does not say why",
        ),
        (pod(conditions=[{"type": "PodScheduled", "status": "True"}]), None),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "1 Insufficient nvidia.com/gpu"}]),
            "no node has the GPUs that it asks for: 1 Insufficient nvidia.com/gpu",
        ),
        (pod(phase="Failed", message="The node was low on memory"), "its pod was ended: The node was low on memory"),
        (pod(phase="Failed", reason="Evicted"), "its pod was ended: Evicted"),
        (pod(phase="Failed"), "its pod was ended: no reason is given"),
        (
            pod(container({WAITING: {"reason": "ErrImagePull", "message": "denied"}})),
            "its image r/i cannot be pulled: denied",
        ),
        (
            pod(container({WAITING: {"reason": "InvalidImageName"}})),
            "its image r/i cannot be pulled: InvalidImageName",
        ),
        (
            pod(container({WAITING: {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}})),
            'its container cannot be started: secret "x" not found',
        ),
        (
            pod(container({WAITING: {"reason": "RunContainerError"}})),
            "its container cannot be started: RunContainerError",
        ),
        (pod(container({WAITING: {"reason": "ContainerCreating"}})), None),
        (
            pod(container({"terminated": {"exitCode": 1, "message": "Traceback\n  ValueError: no model\n\n"}})),
            "it ended with status 1: ValueError: no model",
        ),
        (
            pod(
                container(
                    {WAITING: {"reason": "CrashLoopBackOff"}},
                    restartCount=4,
                    lastState={"terminated": {"exitCode": 2}},
                )
            ),
            "it ended with status 2, 4 times by now",
        ),
        (
            pod(container({WAITING: {"reason": "CrashLoopBackOff", "message": "back-off"}})),
            "its container cannot be started: back-off",
        ),
        (
            pod(container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            "it used more memory than its 1Gi",
        ),
        (
            pod(container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, name="bare")),
            "it used more memory than its limit",
        ),
        (
            pod(container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, name="gone")),
            "it used more memory than its limit",
        ),
        (pod(container({"running": {}}, lastState=None)), None),
    ],
)
def test_why_a_pod_is_not_ready(found: Manifest, expected: str | None) -> None:
    assert reason(found) == expected


def test_a_probes_warning_is_the_reason_where_there_is_no_better_one() -> None:
    event = {"involvedObject": {"uid": "u"}, "message": "Readiness probe failed: 503"}
    other = {"involvedObject": {}, "message": "other"}
    silent = {"involvedObject": {"uid": "v"}}
    assert reason(pod(container({"running": {}})), events=[other, silent, event]) == "Readiness probe failed: 503"
    assert reason(pod(container({"running": {}}), uid="v"), events=[silent]) is None
    assert reason(pod(container({"running": {}})), pod(uid="w", of="another"), events=[event]) is not None


def test_what_the_cluster_refuses_comes_first() -> None:
    def failing(**said: str) -> list[Manifest]:
        return [{"type": "Progressing", "status": "True"}, {"type": "ReplicaFailure", "status": "True", **said}]

    pulling = pod(container({WAITING: {"reason": "ErrImagePull", "message": "denied"}}))
    quota = "pods is forbidden: exceeded quota: q"
    assert reason(pulling, conditions=failing(message=quota)) == f"the namespace's quota is used up: {quota}"
    assert reason(conditions=failing(reason="FailedCreate")) == "the cluster refuses its pods: FailedCreate"
    assert reason(conditions=failing()) == "the cluster refuses its pods: the cluster refuses it"
    assert reason(conditions=[{"type": "ReplicaFailure", "status": "False"}]) is None
    long = reason(pod(phase="Failed", message="x" * 2000))
    assert long is not None
    assert (len(long), long[-1]) == (500, "…")


def test_pods_that_end_are_no_reason_and_count_as_draining() -> None:
    dying = pod(container({"terminated": {"exitCode": 1}}), ending=True)
    found = observe(LAUNCH, [deployment(**counts(0, 0, 0))], [dying])
    assert (found.entries[0].reason, found.entries[0].draining) == (None, 1)


def test_a_launch_as_a_whole() -> None:
    gateway = deployment("execution-engine", **counts(1, 2, 2))
    front = pod(container({WAITING: {"reason": "ErrImagePull", "message": "denied"}}))
    front["metadata"]["labels"] = {"app.kubernetes.io/component": "gateway"}
    algorithm, other = deployment(**counts(2, 2, 2)), deployment("other", **counts(2, 2, 1))
    foreign = deployment("foreign")
    del foreign["metadata"]["labels"][ENTRY]
    found = observe(LAUNCH, [other, gateway, algorithm, foreign], [front])
    assert (found.satellite_version, found.deployment_id, found.plan) == (3, UUID(int=9), "p")
    assert [one.vanity_url for one in found.entries] == ["a/algo", "a/other"]
    assert found.obstacle == (
        "a/other: 1 of 2 are ready; gateways: 1 of 2 are ready (its image r/i cannot be pulled: denied)"
    )
    assert found.running
    bare = deployment(**counts(2, 2, 2))
    bare["metadata"]["annotations"] = None
    bare["status"] = None
    assert observe(LAUNCH, [bare], []).entries[0].vanity_url == "algo"
    empty = observe(LAUNCH, [], [])
    assert (empty.running, empty.obstacle, empty.gateway) == (False, None, None)
    assert observe(LAUNCH, [], [front]).running, "something of it is still there"
    stuck = EntryStatus(vanity_url="a/b", algorithm="x", desired=1, ready=1, reason="why")
    assert Observation(LAUNCH, entries=(stuck,)).obstacle == "a/b: 1 of 1 are ready (why)"
    unready = deployment("execution-engine", **counts(0, 0, 0))
    unready["metadata"]["annotations"] = {}
    assert observe(LAUNCH, [unready], []).satellite_version is None


def test_whose_an_object_is() -> None:
    body = deployment()
    assert launch_of(body) == LAUNCH
    assert observed.is_gateway(deployment("execution-engine"))
    assert not observed.is_gateway(body)
    body["metadata"]["labels"]["constellation.dev/launch"] = "mine"
    assert launch_of(body) is None
    assert launch_of({"metadata": {}}) is None
