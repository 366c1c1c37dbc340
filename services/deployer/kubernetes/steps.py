"""What is to be done next with a satellite in its namespace. Pure.

Algorithms come first. Gateways that serve an order go on with it until all that the new one names is ready, and only
when they have it too does what it does not name end. Another plan of the order that they serve, with other keys, they
are given at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from services.deployer.kubernetes.drift import MARK, differences
from services.deployer.kubernetes.objects import Object, Stage
from services.deployer.kubernetes.observed import part
from services.deployer.kubernetes.satellite import DEPLOYMENT, GATEWAY, Manifest

Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Difference:
    """An object that is not as it should be, and where; no paths for one that is not there."""

    wanted: Object
    paths: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        if not self.paths:
            return self.wanted.words
        said = [one for one in self.paths if one != MARK][:3] or ["it was applied otherwise"]
        return f"{self.wanted.words} ({', '.join(said)})"


@dataclass(frozen=True)
class Step:
    """
    Attributes:
        differing: all that is to be changed, now or later.
        now: what is to be changed now, in this order.
        settled: all is as it should be, and ready.
        strays: what is to end.
    """

    differing: tuple[Difference, ...]
    now: tuple[Difference, ...]
    settled: bool
    strays: frozenset[Key]


def step(wanted: Iterable[Object], mine: Mapping[Key, Manifest]) -> Step:
    """
    Args:
        wanted: what the satellite consists of.
        mine: what there is of its launch.
    """
    by_key = {one.key: one for one in wanted}
    differing = tuple(
        Difference(one, paths) for key, one in by_key.items() if (paths := _paths(one, mine.get(key))) is not None
    )
    switch = _may_switch(by_key, mine, {one.wanted.key for one in differing})
    now = tuple(one for one in differing if one.wanted.stage is not Stage.GATEWAYS or switch)
    settled = not differing and all(part(mine[key]).settled for key in by_key if key[0] == "Deployment")
    return Step(differing, now, settled, frozenset(mine.keys() - by_key.keys()) if settled else frozenset())


def _paths(wanted: Object, live: Manifest | None) -> tuple[str, ...] | None:
    """None when it is as it should be."""
    if live is None:
        return ()
    return tuple(differences(wanted.body, live)) or None


def _may_switch(wanted: Mapping[Key, Object], mine: Mapping[Key, Manifest], differing: Collection[Key]) -> bool:
    """Gateways may be given what is wanted: there are none yet, they serve that order already, or all that it names
    is ready."""
    gateway = ("Deployment", GATEWAY)
    if gateway not in mine or _order(mine[gateway]) == _order(wanted[gateway].body):
        return True
    algorithms = [key for key, one in wanted.items() if one.stage is Stage.ALGORITHMS and key[0] == "Deployment"]
    return not any(key in differing for key in algorithms) and all(part(mine[key]).settled for key in algorithms)


def _order(gateway: Manifest) -> str | None:
    notes: Mapping[str, str] = gateway["metadata"].get("annotations") or {}
    return notes.get(DEPLOYMENT)
