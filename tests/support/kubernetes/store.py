"""What an API server keeps: objects with versions, and what happened to them, so that it can be followed."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.support.kubernetes.apply import Owners, managed

Body = dict[str, Any]
Key = tuple[str, str | None, str]
"""Kind, namespace, name."""


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Happened:
    version: int
    kind: str
    namespace: str | None
    type: str
    body: Body


@dataclass
class Store:
    objects: dict[Key, Body] = field(default_factory=dict)
    owners: dict[Key, Owners] = field(default_factory=dict)
    history: list[Happened] = field(default_factory=list)
    compacted: int = 0
    """What happened up to here is forgotten."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._versions = itertools.count(1)
        self.version = 0

    def find(self, kind: str, namespace: str | None, labels: Mapping[str, str] | None = None) -> Iterator[Body]:
        """In the order in which they were made."""
        for key, body in list(self.objects.items()):
            if key[0] == kind and (namespace is None or key[1] == namespace) and matches(body, labels or {}):
                yield body

    def put(self, body: Body, owners: Owners | None = None) -> Body:
        """Make an object, or another of it. Gives it as it is kept."""
        key = key_of(body)
        before = self.objects.get(key)
        body = copy.deepcopy(body)
        metadata = body["metadata"]
        if owners is not None:
            self.owners[key] = owners
            metadata["managedFields"] = managed(owners)
        if before is not None:
            kept = before["metadata"]
            metadata["uid"], metadata["creationTimestamp"] = kept["uid"], kept["creationTimestamp"]
            moved = before.get("spec") != body.get("spec")
            metadata["generation"] = kept.get("generation", 1) + moved
            metadata["resourceVersion"] = kept["resourceVersion"]
            if before == body:
                return before
        else:
            metadata |= {"uid": str(uuid4()), "creationTimestamp": moment(), "generation": 1}
        self._happen("ADDED" if before is None else "MODIFIED", key, body)
        self.objects[key] = body
        return body

    def remove(self, key: Key) -> None:
        body = self.objects.pop(key, None)
        self.owners.pop(key, None)
        if body is not None:
            self._happen("DELETED", key, copy.deepcopy(body))

    def compact(self) -> None:
        """Forget what happened so far: who follows from before must list anew."""
        self.compacted = self.version
        self.history.clear()
        self.wake()

    def _happen(self, what: str, key: Key, body: Body) -> None:
        self.version = next(self._versions)
        body["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Happened(self.version, key[0], key[1], what, body))
        self.wake()

    def wake(self) -> None:
        """Have those who follow look."""
        self.changed.set()
        self.changed = asyncio.Event()


def key_of(body: Body) -> Key:
    return body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]


def matches(body: Body, labels: Mapping[str, str]) -> bool:
    own: Mapping[str, str] = body["metadata"].get("labels") or {}
    return all(own.get(key) == value for key, value in labels.items())
