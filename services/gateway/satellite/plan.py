"""A satellite's plan as what a gateway follows: entries of the feeds `identity`, `catalog` and `launched`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.identity import IDENTITY_FEED, Account, Key, Wire
from libs.common.contracts.launches import (
    KEYS_PREFIX,
    LAUNCH_PREFIX,
    LAUNCHED_FEED,
    VANITY,
    Launched,
    LaunchedEntry,
    OrderAction,
)
from libs.common.contracts.satellites import SatellitePlan

Entries = Mapping[str, Mapping[str, dict[str, Any]]]
"""Bodies by feed and key."""
Change = tuple[str, str, dict[str, Any] | None]
"""Feed, key, and the new body: None where the key is gone."""

_IDENTITY: Mapping[str, type[Wire]] = {"account:": Account, "key:": Key}
"""What a plan says of identities. The rest of that feed is about access tokens, which satellites do not take."""


class PlanRefused(ValueError):
    """It cannot be served; the message says why."""


def read(document: bytes, serving: SatellitePlan | None = None) -> SatellitePlan:
    """The plan that a file holds.

    Args:
        serving: the one that this shall take the place of.

    Raises:
        PlanRefused: it is none, or is not whole, or is another launch's.
    """
    try:
        plan = SatellitePlan.model_validate_json(document)
        for key, body in plan.identity.items():
            for prefix, kind in _IDENTITY.items():
                if key.startswith(prefix):
                    kind.model_validate(body)
    except ValidationError as error:
        raise PlanRefused(f"this is no plan of a satellite: {_words(error)}") from None
    order = plan.order
    if order.action is not OrderAction.DEPLOY:
        raise PlanRefused("its order is to stop, so there is nothing to serve")
    if serving is not None and serving.order.launch_id != order.launch_id:
        raise PlanRefused(
            f"it is a plan of launch {order.launch_id}, and this gateway serves launch {serving.order.launch_id}; "
            "start another gateway for it"
        )
    revisions = {revision.id: entry.id for entry in plan.catalog for revision in entry.revisions}
    seen = set()
    for entry in order.entries:
        if not VANITY.fullmatch(entry.vanity_url):
            raise PlanRefused(f"'{entry.vanity_url}' is no vanity URL: word/word is")
        if entry.vanity_url.lower() in seen:
            raise PlanRefused(f"it has '{entry.vanity_url}' twice")
        seen.add(entry.vanity_url.lower())
        if revisions.get(entry.revision_id) != entry.algorithm_id:
            raise PlanRefused(f"its catalog lacks {entry.algorithm}, which '{entry.vanity_url}' runs")
    return plan


def entries(plan: SatellitePlan) -> Entries:
    """What the feeds would say of it."""
    order = plan.order
    launched = Launched(
        launch_id=order.launch_id,
        satellite_version=order.satellite_version,
        entries=tuple(LaunchedEntry.of(order.launch_id, one) for one in order.entries),
        keys=order.keys,
        plain=tuple(one.vanity_url for one in order.entries),
    )
    return {
        IDENTITY_FEED: {key: body for key, body in plan.identity.items() if key.startswith(tuple(_IDENTITY))},
        CATALOG_FEED: {str(one.id): one.model_dump(mode="json") for one in plan.catalog},
        LAUNCHED_FEED: {
            f"{KEYS_PREFIX}{order.keys}": plan.keys.model_dump(mode="json"),
            f"{LAUNCH_PREFIX}{order.launch_id}": launched.model_dump(mode="json"),
        },
    }


def changes(before: Entries, after: Entries) -> Iterator[Change]:
    """What leads from one to the other, in an order in which nothing refers to what is not there."""
    feeds = (IDENTITY_FEED, CATALOG_FEED, LAUNCHED_FEED)
    for feed in feeds:
        old = before.get(feed, {})
        yield from ((feed, key, body) for key, body in after.get(feed, {}).items() if old.get(key) != body)
    for feed in reversed(feeds):
        new = after.get(feed, {})
        yield from ((feed, key, None) for key in before.get(feed, {}) if key not in new)


def _words(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}".removeprefix(": ") for one in faults[:5]]
    return "; ".join(said)
