"""Which instance answers for each requirement of a manifest, and at which addresses. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from libs.common.contracts.joining import Alias, Instance, Requirement
from services.fakts.where import Zone

GRANTED, DENIED, UNAVAILABLE = "granted", "denied", "unavailable"

_REACHED: Mapping[Zone, tuple[str | None, ...]] = {
    Zone.LOOPBACK: ("loopback", "lan", None, "public", "internal"),
    Zone.LAN: ("lan", None, "public", "internal"),
    Zone.PUBLIC: ("public", None),
}
"""What a caller reaches, the nearest first. `internal` is a container network, whose members have private addresses;
others do too, so it comes last. An alias that does not say is meant for all."""


@dataclass(frozen=True, slots=True)
class Composition:
    instances: Mapping[str, tuple[Instance, ...]]
    """All live instances of each requirement that is met, by its key."""
    statuses: Mapping[str, str]
    missing: tuple[str, ...]
    """Services that are required, not optional, and not offered."""


def compose(
    requirements: Iterable[Requirement],
    offered: Mapping[str, Sequence[Instance]],
    declined: Collection[str] = (),
) -> Composition:
    """Resolve requirements against what is offered, by service name.

    Args:
        declined: keys of requirements that the app was not given.
    """
    instances: dict[str, tuple[Instance, ...]] = {}
    statuses: dict[str, str] = {}
    missing: dict[str, None] = {}
    for requirement in requirements:
        found = offered.get(requirement.service, ())
        if requirement.key in declined and requirement.optional:
            statuses[requirement.key] = DENIED
        elif found:
            statuses[requirement.key] = GRANTED
            instances[requirement.key] = tuple(found)
        else:
            statuses[requirement.key] = UNAVAILABLE
            if not requirement.optional:
                missing[requirement.service] = None
    return Composition(instances, statuses, tuple(missing))


def within_reach(instance: Instance, zone: Zone) -> Instance | None:
    """The instance with the addresses that a caller from there reaches, best first; None if there is none."""
    reached = _REACHED[zone]
    aliases = sorted(
        (alias for alias in instance.aliases if alias.reach in reached), key=lambda alias: _distance(alias, reached)
    )
    return instance.model_copy(update={"aliases": tuple(aliases)}) if aliases else None


def _distance(alias: Alias, reached: Sequence[str | None]) -> int:
    return reached.index(alias.reach)
