"""Server-side apply (kubernetes.io/docs/reference/using-api/server-side-apply), by fields and their managers.

An object is looked at as leaves: paths with their values. Elements of lists that the API merges are named by their
keys, all other lists are one leaf.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[Any, ...]
_KEYS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("*", "containers"): ("name",),
    ("containers", "env"): ("name",),
    ("containers", "ports"): ("containerPort", "protocol"),
    ("containers", "volumeMounts"): ("mountPath",),
    ("*", "volumes"): ("name",),
    ("*", "imagePullSecrets"): ("name",),
    ("*", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
    ("spec", "ports"): ("port", "protocol"),
}
_IGNORED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_SERVERS = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "deletionTimestamp")


@dataclass(frozen=True)
class Element:
    """An element of a list, by the members that tell it apart."""

    keys: tuple[tuple[str, Any], ...]

    @property
    def text(self) -> str:
        return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in self.keys) + "]"


@dataclass
class Conflict(Exception):
    """Others own these fields, with other values."""

    causes: list[tuple[str, str]] = field(default_factory=list)
    """Manager and path of each."""


@dataclass
class Owner:
    operation: str
    api_version: str
    paths: set[Path]


Owners = dict[str, Owner]


def apply(
    live: dict[str, Any], body: Mapping[str, Any], owners: Owners, manager: str, *, force: bool
) -> dict[str, Any]:
    """The object as it is after a manager applied `body`; changes `owners`. Raises Conflict."""
    before, wanted = dict(leaves(live)), dict(leaves(body))
    mine = {path for path in wanted if path not in _IGNORED}
    causes = [
        (name, path)
        for name, owner in owners.items()
        if name != manager
        for path in sorted(owner.paths & mine, key=words)
        if before.get(path) != wanted[path]
    ]
    if causes and not force:
        raise Conflict([(name, words(path)) for name, path in causes])
    for name, path in causes:
        owners[name].paths.discard(path)
    earlier = owners[manager].paths if manager in owners else set()
    others = {path for name, owner in owners.items() if name != manager for path in owner.paths}
    for path in earlier - mine - others:
        before.pop(path, None)
    owners[manager] = Owner("Apply", str(body["apiVersion"]), mine)
    return built({**before, **wanted})


def update(live: Mapping[str, Any], new: Mapping[str, Any], owners: Owners, manager: str) -> None:
    """A manager wrote the object as a whole: what is different is its own from now on."""
    before, after = dict(leaves(live)), dict(leaves(new))
    changed = {path for path, value in after.items() if before.get(path) != value and path not in _IGNORED}
    gone = before.keys() - after.keys()
    for owner in owners.values():
        owner.paths -= changed | gone
    if changed:
        owner = owners.setdefault(manager, Owner("Update", str(new.get("apiVersion", "")), set()))
        owner.paths |= changed


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if path and path[0] == "status":
        return
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            if not (path == ("metadata",) and key in _SERVERS):
                yield from leaves(below, (*path, key))
    elif isinstance(value, list) and value and (keys := _keys(path)) and isinstance(value[0], dict):
        for element in value:
            named = Element(tuple((key, element.get(key, "TCP")) for key in keys))
            yield from leaves(element, (*path, named))
    elif path:
        yield path, value


def built(found: Mapping[Path, Any]) -> dict[str, Any]:
    root: dict[Any, Any] = {}
    for path, value in found.items():
        place = root
        for part in path[:-1]:
            place = place.setdefault(part, {})
        if value == {}:  # there may be more of it
            place.setdefault(path[-1], {})
        else:
            place[path[-1]] = copy.deepcopy(value)
    made: dict[str, Any] = _plain(root)
    return made


def managed(owners: Owners) -> list[dict[str, Any]]:
    """As `metadata.managedFields`."""
    return [
        {
            "manager": name,
            "operation": owner.operation,
            "apiVersion": owner.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields(owner.paths),
        }
        for name, owner in sorted(owners.items())
        if owner.paths
    ]


def words(path: Path) -> str:
    return "".join(part.text if isinstance(part, Element) else f".{part}" for part in path)


def _keys(path: Path) -> tuple[str, ...] | None:
    names = [part for part in path if isinstance(part, str)]
    above = names[-2] if len(names) > 1 else ""
    return _KEYS.get((above, names[-1])) or _KEYS.get(("*", names[-1])) if names else None


def _plain(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(key, Element) for key in node):
        return [_plain(below) for below in node.values()]
    return {key: _plain(below) for key, below in node.items()}


def _fields(paths: set[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in paths:
        place = root
        for part in path:
            name = f"k:{json.dumps(dict(part.keys))}" if isinstance(part, Element) else f"f:{part}"
            place = place.setdefault(name, {})
    return root
