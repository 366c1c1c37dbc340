"""What may be called: the catalog feed as lookup tables, and references resolved in it.

Owner and name compare exactly, as they are published.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import Callability, CatalogEntry
from libs.common.contracts.references import Reference, resolve
from services.gateway.pool import Pool, Pools

_MOST_VERSIONS = 256
"""Version forms that are remembered for one algorithm; clients make them up."""


class Target:
    """One revision of one algorithm, with the replicas that serve it: its own, or those of a launch."""

    __slots__ = ("algorithm", "pool", "revision_id")

    def __init__(self, algorithm: Algorithm, revision_id: UUID, pool: Pool) -> None:
        self.algorithm = algorithm
        self.revision_id = revision_id
        self.pool = pool


class Algorithm:
    """One entry of the catalog. Replaced whole when the entry changes, and with it what was resolved."""

    __slots__ = ("id", "id_text", "is_public", "name", "owner", "pipeline_enabled", "revisions", "targets")

    def __init__(self, entry: CatalogEntry) -> None:
        self.id = entry.id
        self.id_text = str(entry.id)
        self.owner = entry.owner
        self.name = entry.name
        self.pipeline_enabled = entry.pipeline_enabled
        self.revisions = entry.revisions
        self.is_public = any(one.version and one.callability is Callability.PUBLIC for one in entry.revisions)
        """It has a version for everybody."""
        self.targets: dict[tuple[str, bool], Target | None] = {}


class Table:
    """`apply` is given to the follower of the catalog."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._by_id: dict[str, Algorithm] = {}
        self._by_name: dict[str, Algorithm] = {}
        self.changes = 0
        """Rises with every change, for caches built on top."""

    def __len__(self) -> int:
        return len(self._by_id)

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        """Raises ValueError for an entry that is none; the one before stays."""
        new = Algorithm(CatalogEntry.model_validate(body)) if body is not None else None
        self.changes += 1
        old = self._by_id.pop(key, None)
        if old is not None and self._by_name.get(_full_name(old)) is old:
            del self._by_name[_full_name(old)]
        if new is not None:
            self._by_id[key] = self._by_name[_full_name(new)] = new
        if old is not None:
            kept = {revision.id for revision in new.revisions} if new is not None else set()
            for revision in old.revisions:
                if revision.id not in kept:
                    self._pools.forget(revision.id)

    def find(self, reference: Reference) -> Algorithm | None:
        """The algorithm that the reference names, whoever may see it."""
        return (self._by_id if reference.is_id else self._by_name).get(reference.algorithm)

    def by_id(self, algorithm_id: UUID) -> Algorithm | None:
        return self._by_id.get(str(algorithm_id))

    def target(self, algorithm: Algorithm, version: str, *, insider: bool) -> Target | None:
        """The revision that a call of `version` runs, or None when there is none that the caller may see.

        Args:
            insider: the caller is the algorithm's owner, or belongs to it.
        """
        wanted = (version, insider)
        targets = algorithm.targets
        if wanted in targets:
            return targets[wanted]
        revision = resolve(version, algorithm.revisions, insider=insider)
        target = None
        if revision is not None:
            target = Target(algorithm, revision.id, self._pools.of(revision.id, algorithm.id))
        if len(targets) >= _MOST_VERSIONS:
            targets.clear()
        targets[wanted] = target
        return target


def _full_name(algorithm: Algorithm) -> str:
    return f"{algorithm.owner}/{algorithm.name}"
