"""Rules and strategies: what an ordered list decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fakts.preflight import rules
from services.fakts.preflight.rules import Rule
from services.fakts.preflight.strategies import catalog
from services.fakts.preflight.strategies.interface import (
    Approve,
    AskPerson,
    Decision,
    Needs,
    Preflight,
    Refuse,
    Strategy,
    Via,
)
from services.fakts.where import Zone

APP = Preflight(
    via=Via.DEVICE,
    identifier="org.example.app",
    version="1.2.0",
    scopes=frozenset({"openid", "algo:call"}),
    kind="desktop",
    role="interface",
    device="mac",
    address="192.168.1.4",
    zone=Zone.LAN,
    organization=None,
    at=datetime(2026, 1, 1, tzinfo=UTC),
    manifest={},
)


class Silent:
    """Leaves everything to the rules that follow."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def decide(self, preflight: Preflight) -> Decision | None: ...


class Broken(Silent):
    def decide(self, preflight: Preflight) -> Decision | None:
        raise KeyError("oh no")


def find(name: str) -> type[Strategy]:
    return {"silent": Silent, "broken": Broken}.get(name) or catalog.find(name)


def rule(strategy: str, when: Mapping[str, list[str]] | None = None, name: str = "r", **options: Any) -> Rule:
    return Rule(name, strategy, when or {}, options)


def decided(*given_rules: Rule, app: Preflight = APP) -> Decision:
    return rules.decide(given_rules, app, find).decision


def test_each_strategy_decides_as_it_says() -> None:
    assert decided(rule("signed-in")) == AskPerson(Needs.USER)
    assert decided(rule("staff")) == AskPerson(Needs.STAFF)
    assert decided(rule("refuse", reason="Not here.")) == Refuse("Not here.")
    assert decided(rule("members", organizations="lab", roles=["owner"])) == AskPerson(
        Needs.USER, ("lab",), ("owner",)
    )
    assert decided(rule("approve", account="anne", organization="lab")) == Approve("anne", "lab")
    assert decided(rule("approve", account="anne")) == Approve("anne", None)
    assert decided(*rules.DEFAULT) == AskPerson(Needs.USER)


def test_where_people_sign_in_no_rule_says_who_they_are() -> None:
    assert decided(rule("approve", account="anne"), app=replace(APP, via=Via.REDIRECT)) == AskPerson(Needs.USER)


def test_what_is_retrieved_is_let_in_by_a_rule_alone() -> None:
    app = replace(APP, via=Via.RETRIEVE)
    assert decided(rule("approve", account="anne"), app=app) == Approve("anne")
    found = decided(rule("signed-in"), app=app)
    assert isinstance(found, Refuse)
    assert "approve" in found.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (rule("approve"), "'account' is required"),
        (rule("approve", account=7), "'account' is required"),
        (rule("approve", account="a", organization=" "), "'organization' is required"),
        (rule("approve", account="a", acount="b"), "no option 'acount'; it takes account, organization"),
        (rule("staff", a=1), "no option 'a'; it takes none"),
        (rule("signed-in", a=1), "no option 'a'"),
        (rule("refuse"), "'reason' is required"),
        (rule("members"), "'organizations' is required"),
        (rule("members", organizations=[1]), "a text or a list"),
        (rule("members", organizations={"a": 1}), "a text or a list"),
        (rule("members", organizations=["a"], roles=["king"]), "'king' is no role"),
        (rule("unheard-of"), "no strategy 'unheard-of'; installed: approve, members"),
        (rule("staff", {"colour": ["red"]}), "no condition 'colour'"),
        (rule("staff", {"kind": []}), "has no values"),
        (rule("staff", {"kind": ["a*b*c*d*e"]}), "no pattern"),
        (rule("staff", {"identifier": [""]}), "no pattern"),
        (rule("staff", {"network": ["mars"]}), "network"),
    ],
)
def test_a_rule_that_could_not_decide_is_refused_in_words(options: Rule, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rules.check(options, find)


def test_a_good_rule_is_checked() -> None:
    every = {
        "identifier": ["org.*"],
        "version": ["1.*"],
        "scopes": ["openid", "algo:*"],
        "network": ["lan", "10.0.0.0/8"],
        "organization": ["lab"],
        "role": ["agent"],
        "kind": ["desktop"],
        "via": ["device"],
    }
    assert set(every) == set(rules.CONDITIONS)
    rules.check(rule("staff", every), find)


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ("identifier", ["org.example.*"], True),
        ("identifier", ["com.*", "org.other"], False),
        ("version", ["2.*", "1.2.0"], True),
        ("version", ["1"], False),
        ("scopes", ["openid", "algo:*"], True),
        ("scopes", ["openid"], False),
        ("network", ["192.168.0.0/16"], True),
        ("network", ["loopback", "10.0.0.0/8"], False),
        ("organization", ["*"], True),
        ("organization", ["lab"], False),
        ("role", ["interface"], True),
        ("role", ["agent"], False),
        ("kind", ["desktop"], True),
        ("kind", ["website"], False),
        ("via", ["device", "challenge"], True),
        ("via", ["redirect"], False),
    ],
)
def test_a_rule_is_about_what_its_conditions_say(condition: str, values: list[str], holds: bool) -> None:
    found = decided(rule("staff", {condition: values}), rule("refuse", reason="no"))
    assert found == (AskPerson(Needs.STAFF) if holds else Refuse("no"))


def test_an_app_that_no_rule_is_about_is_refused() -> None:
    assert decided() == decided(rule("silent")) == Refuse(rules.NOT_MEANT)


def test_a_rule_that_fails_or_is_not_installed_any_more_refuses() -> None:
    for strategy in ("broken", "unheard-of"):
        verdict = rules.decide([rule(strategy, name="the first"), rule("signed-in")], APP, find)
        assert isinstance(verdict.decision, Refuse)
        assert "'the first'" in verdict.decision.reason
        assert verdict.fault is not None


def test_an_app_that_names_its_organization_gets_that_one_or_is_refused() -> None:
    app = replace(APP, organization="lab")
    assert decided(rule("signed-in"), app=app) == AskPerson(Needs.USER, ("lab",))
    assert decided(rule("members", organizations=["lab", "b"], roles="owner"), app=app) == AskPerson(
        Needs.USER, ("lab",), ("owner",)
    )
    assert decided(rule("approve", account="anne"), app=app) == Approve("anne", "lab")
    assert decided(rule("approve", account="anne", organization="lab"), app=app) == Approve("anne", "lab")
    assert decided(rule("refuse", reason="no"), app=app) == Refuse("no")
    for other in (rule("members", organizations=["b"]), rule("approve", account="anne", organization="b")):
        assert isinstance(decided(other, app=app), Refuse)


def test_a_strategy_whose_module_is_broken_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no module named colours")

    monkeypatch.setattr(catalog, "installed", lambda: {"x": SimpleNamespace(load=load)})
    with pytest.raises(catalog.UnknownStrategy, match="cannot be loaded: no module named colours"):
        catalog.find("x")


PATTERNS = st.sampled_from(["*", "org.*", "org.example.app", "com.*", "*.app"])
RULES = st.lists(
    st.builds(
        Rule,
        name=st.text(min_size=1, max_size=5),
        strategy=st.sampled_from(["silent", "broken", "staff", "signed-in"]),
        when=st.dictionaries(st.sampled_from(["identifier", "version", "kind"]), st.lists(PATTERNS, min_size=1)),
        options=st.just({}),
    ),
    max_size=6,
)
APPS = st.builds(
    lambda identifier, version, kind, via: replace(APP, identifier=identifier, version=version, kind=kind, via=via),
    st.sampled_from(["org.example.app", "org.a", "com.b", "x"]),
    st.text(max_size=5),
    st.sampled_from(["desktop", "website"]),
    st.sampled_from([Via.DEVICE, Via.CHALLENGE, Via.REDIRECT]),
)


@given(RULES, APPS)
def test_the_first_rule_that_is_about_an_app_and_says_something_decides(some: list[Rule], app: Preflight) -> None:
    verdict = rules.decide(some, app, find)
    about = [one for one in some if rules.is_about(one, app) and one.strategy != "silent"]
    assert verdict.rule == (about[0].name if about else "")
    assert rules.decide(about[:1], app, find).decision == verdict.decision


@given(RULES, APPS, RULES)
def test_rules_after_the_one_that_decided_change_nothing(some: list[Rule], app: Preflight, more: list[Rule]) -> None:
    verdict = rules.decide(some, app, find)
    if verdict.rule:
        assert rules.decide([*some, *more], app, find).decision == verdict.decision


@given(RULES, APPS)
def test_nothing_is_let_in_that_no_rule_lets_in(some: list[Rule], app: Preflight) -> None:
    """None of these strategies lets anything in at once, in whatever order they stand."""
    assert not isinstance(rules.decide(some, app, find).decision, Approve)


ORGANIZATIONS = st.sampled_from(["lab", "club", "office"])
GENEROUS = st.one_of(
    st.builds(lambda **options: rule("approve", **options), account=st.just("anne")),
    st.builds(lambda **options: rule("approve", **options), account=st.just("anne"), organization=ORGANIZATIONS),
    st.builds(lambda **options: rule("members", **options), organizations=st.lists(ORGANIZATIONS, min_size=1)),
    st.just(rule("signed-in")),
)


@given(GENEROUS, st.sampled_from(Via), st.none() | ORGANIZATIONS)
def test_no_app_acts_in_an_organization_that_the_rule_or_the_app_itself_excludes(
    one: Rule, via: Via, wanted: str | None
) -> None:
    decision = decided(one, app=replace(APP, via=via, organization=wanted))
    named = one.options.get("organization")
    ruled = {named} if named is not None else set(one.options.get("organizations", ()))
    asks = one.strategy != "approve" or via is Via.REDIRECT
    if isinstance(decision, Approve):
        assert not asks
        assert decision.account == "anne"
        assert decision.organization == (wanted or named)
        assert not ruled or decision.organization in ruled
    elif isinstance(decision, AskPerson):
        assert asks
        assert via is not Via.RETRIEVE
        assert wanted is None or decision.organizations == (wanted,)
        if one.strategy == "members":
            assert decision.organizations
            assert set(decision.organizations) <= ruled
    else:
        retrieved = via is Via.RETRIEVE and asks
        assert retrieved or (wanted is not None and ruled and wanted not in ruled)
