"""What became of a satellite in its namespace, and in words why something of it does not run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from libs.common.contracts.launches import EntryStatus
from services.deployer.kubernetes.satellite import (
    ALGORITHM,
    COMPONENT,
    DEPLOYMENT,
    ENTRY,
    GATEWAY,
    LAUNCH,
    PLAN,
    VANITY_URL,
    VERSION,
    Manifest,
)

MAX_WORDS = 500
_UNPULLED = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_MAKING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Part:
    """The gateways, or the replicas of one entry.

    Attributes:
        settled: all that should run is what was last applied, and is ready.
        draining: pods of before, and pods that are ending.
    """

    desired: int
    ready: int
    starting: int
    draining: int
    settled: bool
    reason: str | None = None


@dataclass(frozen=True)
class Observation:
    """A launch in its namespace at one moment.

    Attributes:
        ready: all that was asked for is applied and ready, and nothing of before is left. Only `ensure` can tell.
        running: something of it is there.
        satellite_version: that gateways serve, or are being brought to serve.
        told: what was found and done meanwhile, for people.
    """

    launch_id: UUID
    ready: bool = False
    running: bool = False
    satellite_version: int | None = None
    deployment_id: UUID | None = None
    plan: str | None = None
    gateway: Part | None = None
    entries: tuple[EntryStatus, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def obstacle(self) -> str | None:
        """Why it is not ready."""
        parts = [("gateways", self.gateway)] if self.gateway is not None else []
        faults = [
            f"{one.vanity_url}: {one.ready} of {one.desired} are ready" + (f" ({one.reason})" if one.reason else "")
            for one in self.entries
            if one.ready < one.desired or one.reason
        ]
        faults += [
            f"{name}: {part.ready} of {part.desired} are ready" + (f" ({part.reason})" if part.reason else "")
            for name, part in parts
            if not part.settled
        ]
        return "; ".join(faults[:5]) or None


def observe(
    launch_id: UUID, deployments: Iterable[Manifest], pods: Sequence[Manifest], events: Sequence[Manifest] = ()
) -> Observation:
    """
    Args:
        deployments: of the launch.
        pods: of the launch.
        events: warnings of the namespace, newest last.
    """
    warnings = {event["involvedObject"].get("uid"): event.get("message") or "" for event in events}
    entries: list[EntryStatus] = []
    gateway: Manifest | None = None
    for one in sorted(deployments, key=lambda body: str(body["metadata"]["name"])):
        labels = one["metadata"]["labels"]
        if labels.get(COMPONENT) == "gateway":
            gateway = one
        elif ENTRY in labels:
            own = [pod for pod in pods if pod["metadata"]["labels"].get(ENTRY) == labels[ENTRY]]
            entries.append(_entry_status(one, _part(one, own, warnings)))
    said = _notes(gateway) if gateway is not None else {}
    gateways = [pod for pod in pods if pod["metadata"]["labels"].get(COMPONENT) == "gateway"]
    return Observation(
        launch_id=launch_id,
        running=bool(entries or gateway is not None or pods),
        satellite_version=int(said[VERSION]) if VERSION in said else None,
        deployment_id=UUID(said[DEPLOYMENT]) if DEPLOYMENT in said else None,
        plan=said.get(PLAN),
        gateway=_part(gateway, gateways, warnings) if gateway is not None else None,
        entries=tuple(entries),
    )


def part(deployment: Manifest) -> Part:
    """One Deployment by itself."""
    return _part(deployment, (), {})


def launch_of(body: Manifest) -> UUID | None:
    """The launch that an object belongs to, by its label."""
    text = body["metadata"].get("labels", {}).get(LAUNCH, "")
    try:
        return UUID(text)
    except ValueError:
        return None


def is_gateway(body: Manifest) -> bool:
    return bool(body["kind"] == "Deployment" and body["metadata"]["name"] == GATEWAY)


def _notes(body: Manifest) -> Mapping[str, str]:
    found: Mapping[str, str] = body["metadata"].get("annotations") or {}
    return found


def _entry_status(deployment: Manifest, found: Part) -> EntryStatus:
    notes = _notes(deployment)
    return EntryStatus(
        vanity_url=notes.get(VANITY_URL, deployment["metadata"]["name"]),
        algorithm=notes.get(ALGORITHM, ""),
        desired=found.desired,
        ready=found.ready,
        starting=found.starting,
        draining=found.draining,
        reason=found.reason,
    )


def _part(deployment: Manifest, pods: Sequence[Manifest], warnings: Mapping[str | None, str]) -> Part:
    status: Mapping[str, Any] = deployment.get("status") or {}
    desired = int(deployment["spec"].get("replicas", 1))
    known = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0))
    total, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    updated = updated if known else 0
    old = max(0, total - updated)
    ready = min(desired, max(0, int(status.get("availableReplicas", 0)) - old))
    settled = known and updated == total == desired == ready
    ending = sum("deletionTimestamp" in pod["metadata"] for pod in pods)
    return Part(
        desired=desired,
        ready=ready,
        starting=max(0, updated - ready),
        draining=old + ending,
        settled=settled,
        reason=None if settled else _reason(status, pods, warnings),
    )


def _reason(status: Mapping[str, Any], pods: Sequence[Manifest], warnings: Mapping[str | None, str]) -> str | None:
    """What keeps a part from being ready. What the cluster refuses comes before what fails, and that before waits."""
    for condition in status.get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _short(_refusal(condition.get("message") or condition.get("reason") or "the cluster refuses it"))
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    reasons = [
        reason
        for pod in newest_first
        if "deletionTimestamp" not in pod["metadata"]
        and (reason := _pod_reason(pod, warnings.get(pod["metadata"].get("uid"), ""))) is not None
    ]
    return _short(reasons[0]) if reasons else None


def _refusal(message: str) -> str:
    if "exceeded quota" in message:
        return f"the namespace's quota is used up: {message}"
    return f"the cluster refuses its pods: {message}"


def _pod_reason(pod: Manifest, warning: str) -> str | None:
    status: Mapping[str, Any] = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message") or "the scheduler does not say why"
            if "nvidia.com/gpu" in message:
                return f"no node has the GPUs that it asks for: {message}"
            return f"no node takes it: {message}"
    if status.get("phase") == "Failed":
        return f"its pod was ended: {status.get('message') or status.get('reason') or 'no reason is given'}"
    for container in status.get("containerStatuses") or ():
        if not container.get("ready"):
            return _container_reason(pod, container, warning)
    return None


def _container_reason(pod: Manifest, container: Mapping[str, Any], warning: str) -> str | None:
    state: Mapping[str, Any] = container.get("state") or {}
    waiting: Mapping[str, Any] = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if reason in _UNPULLED:
        return f"its image {container.get('image')} cannot be pulled: {waiting.get('message') or reason}"
    if ended is not None:
        return _ending(pod, container, ended)
    if reason not in _MAKING:
        return f"its container cannot be started: {waiting.get('message') or reason}"
    return warning or None


def _ending(pod: Manifest, container: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    restarts = int(container.get("restartCount", 0))
    again = f", {restarts} times by now" if restarts > 1 else ""
    if ended.get("reason") == "OOMKilled":
        return f"it used more memory than its {_memory(pod, container.get('name'))}{again}"
    lines = [line.strip() for line in (ended.get("message") or "").splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines else ""
    return f"it ended with status {ended.get('exitCode')}{again}{said}"


def _memory(pod: Manifest, name: str | None) -> str:
    for container in pod["spec"]["containers"]:
        if container["name"] == name:
            return str(container.get("resources", {}).get("limits", {}).get("memory", "limit"))
    return "limit"


def _short(text: str) -> str:
    return text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 1]}…"
