"""Launches: what a satellite's launch instance should run, and what it runs.

Two feeds carry it. `launches` is the registry's word, followed by deployers: what every launch that was ever deployed
should run. `launched` is the deployer's, followed by gateways: which addresses a launch answers to, and with which
replicas. Keys of `launches` and `launched`:

* ``launch:<launch id>`` holds a :class:`LaunchOrder`, in `launched` a :class:`Launched`.
* ``keys:<digest>`` holds a :class:`KeySet`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, Field

from libs.common.contracts.identity import Wire

LAUNCHES_FEED = "launches"
LAUNCHED_FEED = "launched"
LAUNCH_PREFIX = "launch:"
KEYS_PREFIX = "keys:"
MAX_REPLICAS = 1000
MAX_ASKED = 1000
"""Launches that a deployer is asked of at once."""
VANITY = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38}[A-Za-z0-9_])?/[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38}[A-Za-z0-9_])?"
)
"""A vanity URL: `word/word`, letters, digits, `_` and inner `-`, at most 40 characters each."""


class LaunchEntry(Wire):
    """One algorithm of a satellite version, resolved."""

    vanity_url: str
    owner: str
    name: str
    commit: str
    algorithm_id: UUID
    revision_id: UUID
    replicas: int = Field(ge=1, le=MAX_REPLICAS)

    @property
    def algorithm(self) -> str:
        """`OWNER/NAME/HASH`."""
        return f"{self.owner}/{self.name}/{self.commit}"


class WorkersTarget(Wire):
    """Replicas run on the platform's own workers."""

    kind: Literal["workers"] = "workers"
    labels: Mapping[str, str] = {}
    """Only workers that carry all of these take its replicas, such as `{"region": "eu"}`."""
    deadline_seconds: int = Field(default=600, ge=10, le=86_400)
    """A deployment that is not ready by then is rolled back."""


class KubernetesTarget(Wire):
    """Replicas run in a namespace of a cluster. Its credential is named, never told."""

    kind: Literal["kubernetes"] = "kubernetes"
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    cluster: str = Field(default="in-cluster", max_length=63)
    """Name of a cluster that the deployer's settings know."""
    fqdn: str | None = Field(default=None, max_length=253)
    container_registry: str | None = Field(default=None, max_length=255)
    deadline_seconds: int = Field(default=900, ge=10, le=86_400)


class BundleTarget(Wire):
    """Nowhere yet: an operator fetches the bundle and runs it elsewhere."""

    kind: Literal["bundle"] = "bundle"


Target = Annotated[WorkersTarget | KubernetesTarget | BundleTarget, Field(discriminator="kind")]


class OrderAction(StrEnum):
    DEPLOY = "deploy"
    STOP = "stop"


class LaunchOrder(Wire):
    """What a launch should run. The newest order counts; its id is that of the deployment that it asks for."""

    deployment_id: UUID
    launch_id: UUID
    number: int
    """Rises with every order of the launch."""
    revision: int = 0
    """Rises whenever this order is paused or resumed."""
    action: OrderAction
    satellite_id: UUID
    satellite: str
    satellite_version: int
    name: str
    entries: tuple[LaunchEntry, ...] = ()
    keys: str
    """Digest of the accepted keys: the :class:`KeySet` below ``keys:``."""
    target: Target
    paused: bool = False
    """Nothing is started or ended until this is lifted."""
    is_addressed: bool = True
    """Its entries answer at addresses of their own. Those of an application's versions do not: it has the address."""
    by: str
    at: AwareDatetime

    def is_older_than(self, other: LaunchOrder) -> bool:
        """Of the same launch."""
        return (self.number, self.revision) < (other.number, other.revision)


class KeySet(Wire):
    """API keys that a satellite version accepts: SHA-256 of each, with the name of the account it acts for."""

    keys: Mapping[str, str] = {}


class LaunchState(StrEnum):
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    """The version before is running again, as this one was not ready in time."""
    FAILED = "failed"
    """It was not ready in time, and there was nothing to roll back to. It is tried further."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    """A later order took its place before it was done."""


LAUNCH_TRANSITIONS: Mapping[LaunchState, frozenset[LaunchState]] = {
    LaunchState.DEPLOYING: frozenset(
        {LaunchState.DEPLOYED, LaunchState.ROLLING_BACK, LaunchState.FAILED, LaunchState.SUPERSEDED}
    ),
    LaunchState.DEPLOYED: frozenset(),
    LaunchState.ROLLING_BACK: frozenset({LaunchState.ROLLED_BACK, LaunchState.SUPERSEDED}),
    LaunchState.ROLLED_BACK: frozenset(),
    LaunchState.FAILED: frozenset({LaunchState.DEPLOYED, LaunchState.SUPERSEDED}),
    LaunchState.STOPPING: frozenset({LaunchState.STOPPED, LaunchState.SUPERSEDED}),
    LaunchState.STOPPED: frozenset(),
    LaunchState.SUPERSEDED: frozenset(),
}
UNFINISHED = frozenset(state for state, following in LAUNCH_TRANSITIONS.items() if following)


class LaunchedEntry(Wire):
    vanity_url: str
    owner: str
    name: str
    algorithm_id: UUID
    revision_id: UUID
    route: UUID
    """Key of its replicas in the feed `routes`."""

    @classmethod
    def of(cls, launch_id: UUID, entry: LaunchEntry) -> LaunchedEntry:
        """An entry as its launch answers for it."""
        return cls(
            vanity_url=entry.vanity_url,
            owner=entry.owner,
            name=entry.name,
            algorithm_id=entry.algorithm_id,
            revision_id=entry.revision_id,
            route=entry_id(launch_id, entry.vanity_url),
        )


class Launched(Wire):
    """A launch that runs on workers, for those who route its calls.

    Its entries answer below ``/launches/<launch id>/v1/algo/``, and those that `plain` names below ``/v1/algo/``
    too: of several launches with the same vanity URL, the one that was deployed first.
    """

    launch_id: UUID
    satellite_version: int
    entries: tuple[LaunchedEntry, ...] = ()
    keys: str
    plain: tuple[str, ...] = ()


def entry_id(launch_id: UUID, vanity_url: str) -> UUID:
    """The id under which the deployer keeps the replicas of one entry of a launch."""
    return uuid5(launch_id, vanity_url.lower())


class EntryStatus(Wire):
    """One entry of a launch as it runs."""

    vanity_url: str
    algorithm: str
    desired: int
    ready: int = 0
    starting: int = 0
    draining: int = 0
    reason: str | None = None
    """Why fewer are ready than should be."""


class LaunchStatus(Wire):
    """What the deployer makes of a launch's newest order."""

    launch_id: UUID
    deployment_id: UUID
    number: int
    state: LaunchState
    satellite_version: int
    """That the order asks for."""
    serving_version: int | None = None
    """That calls are answered by; null while nothing runs."""
    reason: str | None = None
    paused: bool = False
    desired: int = 0
    ready: int = 0
    entries: tuple[EntryStatus, ...] = ()
    changed_at: AwareDatetime
