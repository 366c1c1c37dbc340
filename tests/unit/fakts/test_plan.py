"""When signing keys are made, sign and go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.fakts.plan import KeyPolicy, KeyTimes, pending, plan_keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = KeyPolicy(period=timedelta(days=90), lead=timedelta(minutes=10), keep=timedelta(hours=2))


def key(kid: str, age: timedelta) -> KeyTimes:
    return KeyTimes(kid, NOW - age)


def test_the_first_key_signs_at_once() -> None:
    plan = plan_keys(NOW, [], POLICY)
    assert (plan.signing, plan.create_for, plan.delete) == (None, NOW, ())


def test_a_young_key_signs_alone() -> None:
    plan = plan_keys(NOW, [key("a", timedelta(days=1))], POLICY)
    assert (plan.signing, plan.create_for, plan.delete) == ("a", None, ())


def test_the_next_key_is_made_a_lead_before_the_period_ends_and_once() -> None:
    due = POLICY.period - POLICY.lead
    assert plan_keys(NOW, [key("a", due - timedelta(seconds=1))], POLICY).create_for is None
    assert plan_keys(NOW, [key("a", due)], POLICY).create_for == NOW + POLICY.lead
    waiting = [key("a", due), key("b", -POLICY.lead)]
    plan = plan_keys(NOW, waiting, POLICY)
    assert (plan.signing, plan.create_for) == ("a", None)
    assert pending(NOW, waiting) == waiting[1]
    assert pending(NOW, waiting[:1]) is None


def test_a_former_key_is_kept_as_long_as_its_tokens_live() -> None:
    old = key("a", timedelta(days=91))
    assert plan_keys(NOW, [old, key("b", POLICY.keep - timedelta(seconds=1))], POLICY).delete == ()
    plan = plan_keys(NOW, [old, key("b", POLICY.keep)], POLICY)
    assert (plan.signing, plan.delete) == ("b", ("a",))


@given(
    ages=st.lists(st.integers(-3600, 400 * 86_400), max_size=6, unique=True),
    period=st.integers(3600, 90 * 86_400),
    lead=st.integers(1, 3600),
    keep=st.integers(0, 90_000),
)
def test_the_signing_key_is_never_deleted_and_following_the_plan_ends(
    ages: list[int], period: int, lead: int, keep: int
) -> None:
    policy = KeyPolicy(timedelta(seconds=period), timedelta(seconds=lead), timedelta(seconds=keep))
    keys = [key(str(age), timedelta(seconds=age)) for age in ages]
    plan = plan_keys(NOW, keys, policy)
    assert plan.signing not in plan.delete or plan.signing is None
    left = [one for one in keys if one.kid not in plan.delete]
    if plan.create_for is not None:
        left.append(KeyTimes("new", plan.create_for))
    again = plan_keys(NOW, left, policy)
    assert again.create_for is None or period <= lead
    assert again.delete == ()
    assert again.signing == (plan.signing or "new")
