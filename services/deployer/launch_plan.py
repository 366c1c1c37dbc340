"""What becomes of a launch's deployment. Pure.

A new order is aimed at once. It is deployed when all that it names is ready; if that takes longer than its deadline,
the order that was ready before is aimed at again. Only when the aim is reached does what it does not name end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.launches import (
    KubernetesTarget,
    Launched,
    LaunchedEntry,
    LaunchOrder,
    LaunchState,
    OrderAction,
    WorkersTarget,
)


@dataclass(frozen=True, slots=True)
class LaunchView:
    """A launch as it is.

    Attributes:
        newest: the newest order that is known.
        order: the one that was taken up last; None for a launch that was never ordered before.
        ready: all that the aim names is ready.
        running: something of the launch runs.
        obstacle: why not all is ready.
        watched: it was watched for long enough that what is ready would have been heard of.
    """

    newest: LaunchOrder
    order: LaunchOrder | None = None
    state: LaunchState = LaunchState.STOPPED
    aim: LaunchOrder | None = None
    proven: LaunchOrder | None = None
    deadline_at: datetime | None = None
    ready: bool = False
    running: bool = False
    obstacle: str | None = None
    watched: bool = True
    reason: str | None = None
    """That the state was given."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a launch is from now on.

    Attributes:
        retire: what the aim does not name ends.
    """

    state: LaunchState
    aim: LaunchOrder | None
    proven: LaunchOrder | None
    deadline_at: datetime | None
    reason: str | None = None
    retire: bool = False


def advance(view: LaunchView, now: datetime) -> Step | None:
    """The next step, or None when there is nothing to do but wait."""
    if view.order is None or view.newest.number > view.order.number:
        return _take_up(view, now)
    if is_news(view.newest, view.order):
        return _pause(view, now)
    return _settle(view, now)


def newer(heard: LaunchOrder | None, known: LaunchOrder | None) -> LaunchOrder | None:
    """The order that counts. What was heard of orders may be older than what was written down: it comes from a copy
    of before, or the registry has not been heard for a while."""
    if heard is None or known is None:
        return heard or known
    return known if heard.is_older_than(known) else heard


def is_news(heard: LaunchOrder, known: LaunchOrder) -> bool:
    """Does what was heard change anything?"""
    if heard.number == known.number and heard.revision == known.revision == 0:
        return heard.paused != known.paused  # a registry of an earlier release does not count how often that changed
    return known.is_older_than(heard)


def launched(
    launch_id: UUID, state: LaunchState, aim: LaunchOrder | None, proven: LaunchOrder | None
) -> Launched | None:
    """What answers at the addresses of a launch, or None when nothing should, or nothing of ours. While a version is
    brought up, what served before answers on, with the keys of before."""
    if (
        aim is None
        or not aim.is_addressed
        or not isinstance(aim.target, WorkersTarget)
        or state in (LaunchState.STOPPING, LaunchState.STOPPED)
    ):
        return None
    settled = state in (LaunchState.DEPLOYED, LaunchState.ROLLED_BACK) or proven is None
    serving = aim if settled or proven is None else proven
    entries = {one.vanity_url.lower(): one for one in (() if settled else serving.entries)}
    entries |= {one.vanity_url.lower(): one for one in aim.entries}
    return Launched(
        launch_id=launch_id,
        satellite_version=serving.satellite_version,
        keys=serving.keys,
        entries=tuple(LaunchedEntry.of(launch_id, one) for _, one in sorted(entries.items())),
    )


def plain_addresses(launches: Iterable[tuple[datetime, Launched]]) -> Mapping[UUID, tuple[str, ...]]:
    """Vanity URLs that answer without naming the launch, by launch: of several with the same, the oldest has it.

    Args:
        launches: each with the moment since when it has run.
    """
    holder: dict[str, UUID] = {}
    found: dict[UUID, list[str]] = {}
    for _, one in sorted(launches, key=lambda pair: (pair[0], pair[1].launch_id)):
        found[one.launch_id] = []
        for entry in one.entries:
            if holder.setdefault(entry.vanity_url.lower(), one.launch_id) == one.launch_id:
                found[one.launch_id].append(entry.vanity_url)
    return {key: tuple(names) for key, names in found.items()}


def _take_up(view: LaunchView, now: datetime) -> Step:
    newest = view.newest
    if newest.action is OrderAction.STOP:
        return Step(LaunchState.STOPPING, None, None, None, retire=True)
    proven = view.proven if view.proven is not None and _is_same_place(view.proven, newest) else None
    return Step(LaunchState.DEPLOYING, newest, proven, now + _patience(newest))


def _is_same_place(one: LaunchOrder, other: LaunchOrder) -> bool:
    """What runs elsewhere cannot be gone back to."""
    first, second = one.target, other.target
    if isinstance(first, KubernetesTarget) and isinstance(second, KubernetesTarget):
        return (first.cluster, first.namespace) == (second.cluster, second.namespace)
    return first.kind == second.kind


def _pause(view: LaunchView, now: datetime) -> Step:
    """The deadline starts anew when the launch is resumed."""
    resumed = view.deadline_at is not None and not view.newest.paused
    deadline = now + _patience(view.newest) if resumed else view.deadline_at
    return Step(view.state, _same_pause(view.aim, view.newest), view.proven, deadline, view.reason)


def _settle(view: LaunchView, now: datetime) -> Step | None:
    over = view.deadline_at is not None and now >= view.deadline_at
    late = over and view.watched and not view.newest.paused
    match view.state:
        case LaunchState.DEPLOYING | LaunchState.FAILED if view.ready:
            return Step(LaunchState.DEPLOYED, view.aim, view.aim, None, retire=True)
        case LaunchState.DEPLOYING if late:
            return _give_up(view)
        case LaunchState.ROLLING_BACK if view.ready:
            return Step(LaunchState.ROLLED_BACK, view.aim, view.proven, None, view.reason, retire=True)
        case LaunchState.STOPPING if not view.running:
            return Step(LaunchState.STOPPED, None, None, None)
        case _:
            return None


def _give_up(view: LaunchView) -> Step:
    reason = f"it was not ready within {_patience(view.newest).total_seconds():.0f} s: {view.obstacle or 'no reason'}"
    proven = view.proven
    if proven is None:
        return Step(LaunchState.FAILED, view.aim, None, None, reason)
    return Step(LaunchState.ROLLING_BACK, _same_pause(proven, view.newest), proven, None, reason)


def _same_pause(order: LaunchOrder | None, newest: LaunchOrder) -> LaunchOrder | None:
    return None if order is None else order.model_copy(update={"paused": newest.paused})


def _patience(order: LaunchOrder) -> timedelta:
    target = order.target
    seconds = target.deadline_seconds if isinstance(target, WorkersTarget | KubernetesTarget) else 0
    return timedelta(seconds=seconds)
