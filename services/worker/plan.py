"""What a worker does about its orders: desired against actual, without any I/O.

The orders are all replicas that should run here, each time. What they do not name must not run. Nothing is ever
planned without orders: a deployer that does not answer changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from libs.common.contracts.replicas import TERMINAL, ReplicaState


@dataclass(frozen=True)
class Actions:
    """Each replica is in at most one of them."""

    accept: tuple[UUID, ...] = ()
    """To be started here; not known until now."""
    decline: tuple[UUID, ...] = ()
    """To be drained, but not known here: to be reported as stopped."""
    drain: tuple[UUID, ...] = ()
    """Finish the calls under way, then stop."""
    stop: tuple[UUID, ...] = ()
    """End now."""
    forget: tuple[UUID, ...] = ()
    """Ended, and the deployer knows it: not to be reported any more."""


def plan(orders: Mapping[UUID, bool], local: Mapping[UUID, ReplicaState]) -> Actions:
    """What to do now.

    Args:
        orders: every replica that the deployer has for this worker; True for one that is to drain.
        local: every replica that this worker knows, with its state.
    """
    accept: list[UUID] = []
    decline: list[UUID] = []
    drain: list[UUID] = []
    stop: list[UUID] = []
    forget: list[UUID] = []
    for replica, draining in orders.items():
        state = local.get(replica)
        if state is None:
            (decline if draining else accept).append(replica)
        elif draining and state is ReplicaState.READY:
            drain.append(replica)
        elif draining and state in (ReplicaState.WANTED, ReplicaState.STARTING):
            stop.append(replica)
    for replica, state in local.items():
        if replica not in orders:
            (forget if state in TERMINAL else stop).append(replica)
    return Actions(tuple(accept), tuple(decline), tuple(drain), tuple(stop), tuple(forget))
