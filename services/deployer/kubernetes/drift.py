"""What of an object differs from how it was applied. Pure.

A cluster adds to an object what it defaults, and others may add what is theirs: only what is wanted is compared. A
digest of what is applied goes with the object, so that what is wanted no more is a difference too, and is taken away
by applying anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from services.deployer.kubernetes.satellite import APPLIED, Manifest

MARK = f"metadata.annotations.{APPLIED}"
"""Path of the digest."""

_KEYS = ("name", "mountPath", "containerPort", "ip", "topologyKey")
"""Members that tell the elements of a list apart, as the API merges them."""


def marked(body: Manifest) -> Manifest:
    """With its digest. Secrets have none: it would tell of what they hold, and they never have fewer members."""
    if body["kind"] == "Secret":
        return body
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), APPLIED: digest}}}


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Paths of what is wanted and is not so, such as `spec.replicas`."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            below = f"{path}.{key}" if path else key
            if key in live:
                yield from differences(value, live[key], below)
            elif value not in ({}, []):
                yield below
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _of_lists(wanted, live, path)
    elif wanted != live:
        yield path


def _of_lists(wanted: list[Any], live: list[Any], path: str) -> Iterator[str]:
    key = next((one for one in _KEYS if wanted and all(isinstance(e, dict) and one in e for e in wanted)), None)
    if key is not None and all(isinstance(element, dict) for element in live):
        found = {element.get(key): element for element in live}
        for element in wanted:
            below = f"{path}[{element[key]}]"
            if element[key] in found:
                yield from differences(element, found[element[key]], below)
            else:
                yield below
    elif len(wanted) != len(live):
        yield path
    else:
        for number, (one, other) in enumerate(zip(wanted, live, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
