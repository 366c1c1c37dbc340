"""A plan as entries of feeds, and what is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.identity import IDENTITY_FEED
from libs.common.contracts.launches import LAUNCHED_FEED, KeySet, Launched, OrderAction, entry_id
from libs.common.contracts.satellites import SatellitePlan
from services.gateway.satellite.plan import PlanRefused, changes, entries, read
from tests.support.satellites import PlanMaker

MAKER = PlanMaker("text/tag", "image/resize", keys=("simKEY",))
PLAN = MAKER.plan()


def written(plan: SatellitePlan = PLAN, **order: Any) -> bytes:
    changed = plan.model_copy(update={"order": plan.order.model_copy(update=order)})
    return changed.model_dump_json().encode()


def test_a_plan_is_what_the_feeds_would_say() -> None:
    plan = read(written())
    assert plan == PLAN
    said = entries(plan)
    launched = Launched.model_validate(said[LAUNCHED_FEED][f"launch:{MAKER.launch_id}"])
    assert launched.plain == ("text/tag", "image/resize")
    assert launched.entries[0].route == entry_id(MAKER.launch_id, "text/tag")
    assert KeySet.model_validate(said[LAUNCHED_FEED][f"keys:{launched.keys}"]) == PLAN.keys
    assert set(said[CATALOG_FEED]) == {str(one.id) for one in PLAN.catalog}
    assert said[IDENTITY_FEED] == PLAN.identity


def test_only_accounts_and_keys_are_taken_of_identities() -> None:
    more = PLAN.model_copy(update={"identity": {**PLAN.identity, "issuer:1": {"id": "x"}, "ended:2": {}}})
    assert entries(read(written(more)))[IDENTITY_FEED] == PLAN.identity


def test_a_plan_of_the_same_launch_takes_the_place_of_another() -> None:
    assert read(written(satellite_version=2), PLAN).order.satellite_version == 2
    with pytest.raises(PlanRefused, match=f"this gateway serves launch {MAKER.launch_id}; start another"):
        read(written(launch_id=uuid4()), PLAN)


def test_what_cannot_be_served_is_refused_in_words() -> None:
    first, second = PLAN.order.entries
    for document, words in (
        (b"no JSON", "this is no plan of a satellite: Invalid JSON"),
        (json.dumps({"format": 2}).encode(), "format: Input should be 1; order: Field required"),
        (written(action=OrderAction.STOP), "its order is to stop"),
        (written(entries=(first, first)), "it has 'text/tag' twice"),
        (written(entries=(first.model_copy(update={"vanity_url": "a/../b"}),)), "'a/../b' is no vanity URL"),
        (
            written(entries=(second.model_copy(update={"revision_id": uuid4()}),)),
            "its catalog lacks joe/image_resize",
        ),
        (written(PLAN.model_copy(update={"identity": {"key:x": {"owner": "joe"}}})), "id: Field required"),
    ):
        with pytest.raises(PlanRefused) as refused:
            read(document)
        assert words in str(refused.value)


def test_nothing_of_the_content_is_in_the_words() -> None:
    with pytest.raises(PlanRefused) as refused:
        read(b'{"format": "simSECRET", "order": "simSECRET"}')
    assert "simSECRET" not in str(refused.value)


BODIES = st.dictionaries(st.sampled_from("abc"), st.fixed_dictionaries({"n": st.integers(0, 2)}))
FEEDS = st.fixed_dictionaries({}, optional=dict.fromkeys((IDENTITY_FEED, CATALOG_FEED, LAUNCHED_FEED), BODIES))


@given(before=FEEDS, after=FEEDS)
def test_changes_lead_from_one_plan_to_the_other_and_are_not_more_than_needed(before: Any, after: Any) -> None:
    state = {(feed, key): body for feed, bodies in before.items() for key, body in bodies.items()}
    for feed, key, body in changes(before, after):
        assert state.get((feed, key)) != body, "it is a change"
        if body is None:
            del state[feed, key]
        else:
            state[feed, key] = body
    assert state == {(feed, key): body for feed, bodies in after.items() for key, body in bodies.items()}


def test_what_is_referred_to_comes_first_and_goes_last() -> None:
    said = entries(PLAN)
    assert [feed for feed, _, _ in changes({}, said)][-1] == LAUNCHED_FEED
    assert next(feed for feed, _, _ in changes(said, {})) == LAUNCHED_FEED
