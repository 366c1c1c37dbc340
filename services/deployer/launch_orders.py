"""The feed `launches` as the deployer uses it: the newest order of each launch, and the keys it accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from libs.common.contracts.launches import KEYS_PREFIX, LAUNCH_PREFIX, KubernetesTarget, LaunchOrder


class LaunchOrders:
    """What the feed said so far. `apply` is given to a FeedFollower."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Told of every change."""
        self._orders: dict[UUID, LaunchOrder] = {}
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._changed: set[UUID] = set()
        self._changed_in_clusters: set[UUID] = set()

    def apply(self, key: str, body: Mapping[str, Any] | None) -> None:
        """One change of the feed. Raises ValueError for a body that is none of its kind."""
        if key.startswith(KEYS_PREFIX):
            digest = key.removeprefix(KEYS_PREFIX)
            if body is None:
                self._keys.pop(digest, None)
            else:
                self._keys[digest] = body
        elif key.startswith(LAUNCH_PREFIX):
            launch_id = UUID(key.removeprefix(LAUNCH_PREFIX))
            if body is None:
                self._orders.pop(launch_id, None)
            else:
                self._orders[launch_id] = LaunchOrder.model_validate(body)
                self._changed.add(launch_id)
                if isinstance(self._orders[launch_id].target, KubernetesTarget):
                    self._changed_in_clusters.add(launch_id)
        self.on_change()

    def order(self, launch_id: UUID) -> LaunchOrder | None:
        return self._orders.get(launch_id)

    def keys(self, digest: str) -> Mapping[str, Any] | None:
        """The body of a set of keys."""
        return self._keys.get(digest)

    def take_changed(self) -> set[UUID]:
        """Launches that were ordered since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def take_changed_in_clusters(self) -> set[UUID]:
        """Likewise, of those that are to run in a cluster."""
        changed, self._changed_in_clusters = self._changed_in_clusters, set()
        return changed

    def put_back_in_clusters(self, changed: Iterable[UUID]) -> None:
        """What was taken could not be used."""
        self._changed_in_clusters.update(changed)

    def put_back(self, changed: Iterable[UUID]) -> None:
        """What was taken could not be used."""
        self._changed.update(changed)
