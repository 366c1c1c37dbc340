"""The catalog feed as the deployer uses it: what a revision's replicas are made of, and which algorithms changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import Callability, CatalogEntry, Revision
from libs.common.contracts.references import semantic
from libs.common.contracts.replicas import ReplicaSpec
from services.deployer.view import Room, Wish, millicpus


class Catalog:
    """What the catalog said so far. `apply` is given to a FeedFollower."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Told of every change."""
        self._entries: dict[UUID, CatalogEntry] = {}
        self._revisions: dict[UUID, tuple[CatalogEntry, Revision]] = {}
        self._warm: dict[UUID, UUID] = {}
        self._changed: set[UUID] = set()

    def apply(self, key: str, body: Mapping[str, Any] | None) -> None:
        """One change of the feed. Raises ValueError for a body that is none of its kind."""
        algorithm_id = UUID(key)
        entry = CatalogEntry.model_validate(body) if body is not None else None
        self._forget(algorithm_id)
        if entry is not None:
            self._entries[algorithm_id] = entry
            for revision in entry.revisions:
                self._revisions[revision.id] = (entry, revision)
            if (warm := kept_warm(entry)) is not None:
                self._warm[algorithm_id] = warm.id
        self._changed.add(algorithm_id)
        self.on_change()

    def take_changed(self) -> set[UUID]:
        """Algorithms that changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def put_back(self, changed: Iterable[UUID]) -> None:
        """What was taken could not be used."""
        self._changed.update(changed)

    def warm(self, algorithm_id: UUID) -> UUID | None:
        """The algorithm's revision that has replicas whether or not it is called."""
        return self._warm.get(algorithm_id)

    def wish(self, revision_id: UUID) -> Wish | None:
        """How a revision is served, or None when there is none of that id."""
        found = self._revisions.get(revision_id)
        if found is None:
            return None
        entry, revision = found
        scaling = entry.scaling
        return Wish(
            language=revision.language,
            room=Room(slots=1, memory_mib=scaling.memory_mib, millicpus=millicpus(scaling.cpus), gpus=scaling.gpus),
            concurrency=scaling.concurrency,
            min_replicas=scaling.min_replicas if self._warm.get(entry.id) == revision_id else 0,
            max_replicas=scaling.max_replicas,
            idle_seconds=scaling.idle_seconds,
        )

    def spec(self, revision_id: UUID, replica_id: UUID, *, must_load: bool = False) -> ReplicaSpec | None:
        """What a replica that is started now is made of, or None when there is no such revision."""
        found = self._revisions.get(revision_id)
        if found is None:
            return None
        entry, revision = found
        return ReplicaSpec(
            id=replica_id,
            revision_id=revision_id,
            algorithm_id=entry.id,
            owner=entry.owner,
            name=entry.name,
            commit=revision.commit,
            language=revision.language,
            artifact=revision.artifact,
            network_access=entry.network_access,
            pipeline_enabled=entry.pipeline_enabled,
            concurrency=entry.scaling.concurrency,
            memory_mib=entry.scaling.memory_mib,
            cpus=entry.scaling.cpus,
            gpus=entry.scaling.gpus,
            secrets_version=entry.secrets_version,
            must_load=must_load,
        )

    def is_current(self, spec: Mapping[str, Any]) -> bool:
        """Is a replica of this stored spec what one that were started now would be?"""
        stored = ReplicaSpec.model_validate(spec)
        return self.spec(stored.revision_id, stored.id, must_load=stored.must_load) == stored

    def name(self, revision_id: UUID) -> str | None:
        """`owner/name` of a revision's algorithm."""
        found = self._revisions.get(revision_id)
        return f"{found[0].owner}/{found[0].name}" if found is not None else None

    def _forget(self, algorithm_id: UUID) -> None:
        self._warm.pop(algorithm_id, None)
        entry = self._entries.pop(algorithm_id, None)
        for revision in entry.revisions if entry is not None else ():
            self._revisions.pop(revision.id, None)


def kept_warm(entry: CatalogEntry) -> Revision | None:
    """The revision that `min_replicas` applies to: the newest public version, else the newest private one."""
    if entry.scaling.min_replicas == 0:
        return None
    published = [revision for revision in entry.revisions if revision.version]
    public = [revision for revision in published if revision.callability is Callability.PUBLIC]
    return max(public or published, key=lambda revision: semantic(revision.version), default=None)
