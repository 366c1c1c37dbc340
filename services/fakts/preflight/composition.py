"""Which instance answers for each requirement of a manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from libs.common.contracts.joining import Instance, Requirement

GRANTED, UNAVAILABLE = "granted", "unavailable"


@dataclass(frozen=True, slots=True)
class Composition:
    instances: Mapping[str, tuple[Instance, ...]]
    """All live instances of each requirement that is met, by its key."""
    statuses: Mapping[str, str]
    missing: tuple[str, ...]
    """Services that are required, not optional, and not offered."""


def compose(requirements: Iterable[Requirement], offered: Mapping[str, Sequence[Instance]]) -> Composition:
    """Resolve requirements against what is offered, by service name."""
    instances: dict[str, tuple[Instance, ...]] = {}
    statuses: dict[str, str] = {}
    missing: list[str] = []
    for requirement in requirements:
        found = offered.get(requirement.service, ())
        statuses[requirement.key] = GRANTED if found else UNAVAILABLE
        if found:
            instances[requirement.key] = tuple(found)
        elif not requirement.optional:
            missing.append(requirement.service)
    return Composition(instances, statuses, tuple(missing))
