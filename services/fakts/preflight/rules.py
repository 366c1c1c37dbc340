"""Rules: an ordered list, the first that is about a preflight and has something to say decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.fakts import where
from services.fakts.preflight import patterns
from services.fakts.preflight.strategies.interface import (
    Approve,
    AskPerson,
    Decision,
    Preflight,
    Refuse,
    Strategy,
    Via,
)

Find = Callable[[str], type[Strategy]]

CONDITIONS = ("identifier", "version", "scopes", "network", "organization", "role", "kind", "via")
NOT_MEANT = "No rule of this deployment is about this app; ask an administrator for one."


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    strategy: str
    when: Mapping[str, Sequence[str]]
    """Which preflights it is about: all conditions hold, each by one of its values. Empty: about all."""
    options: Mapping[str, Any]
    """Of the strategy."""


DEFAULT = (Rule("any signed-in user", "signed-in", {}, {}),)
"""What holds where nobody made rules."""


@dataclass(frozen=True, slots=True)
class Verdict:
    rule: str
    """Name of the rule that decided; empty if none did."""
    decision: Decision
    fault: Exception | None = None
    """What went wrong in the strategy, which is why the app is refused."""


def decide(rules: Sequence[Rule], preflight: Preflight, find: Find) -> Verdict:
    """What the rules say. A rule that cannot decide refuses: what follows it might be more generous than it."""
    for rule in rules:
        if not is_about(rule, preflight):
            continue
        try:
            decision = find(rule.strategy)(rule.options).decide(preflight)
        except Exception as fault:  # a strategy is anybody's code
            reason = f"The rule '{rule.name}' of this deployment cannot decide; ask an administrator."
            return Verdict(rule.name, Refuse(reason), fault)
        if decision is not None:
            return Verdict(rule.name, _as_asked(decision, preflight))
    return Verdict("", Refuse(NOT_MEANT))


def is_about(rule: Rule, preflight: Preflight) -> bool:
    """Do all conditions of the rule hold?"""
    return all(_holds(condition, values, preflight) for condition, values in rule.when.items())


def check(rule: Rule, find: Find) -> None:
    """Raises ValueError, in words, for a rule that could not decide."""
    for condition, values in rule.when.items():
        if condition not in CONDITIONS:
            raise ValueError(f"there is no condition '{condition}'; there are {', '.join(CONDITIONS)}")
        if not values:
            raise ValueError(f"condition '{condition}' has no values, so the rule would be about nothing")
        for value in values:
            try:
                where.network(value) if condition == "network" else patterns.check(value)
            except ValueError as error:
                raise ValueError(f"condition '{condition}': {error}") from None
    find(rule.strategy)(rule.options)


def _holds(condition: str, values: Sequence[str], preflight: Preflight) -> bool:
    if condition == "network":
        return where.within(preflight.address, values)
    if condition == "scopes":
        return all(patterns.covers(values, scope) for scope in preflight.scopes)
    return patterns.covers(values, getattr(preflight, condition) or "")


def _as_asked(decision: Decision, preflight: Preflight) -> Decision:
    """The decision, with the organization that the app asked for; a refusal where it may not have it."""
    if preflight.via is Via.RETRIEVE and isinstance(decision, AskPerson):
        return Refuse("This app is not let in by itself: start it so that a person can approve it.")
    wanted = preflight.organization
    if wanted is None or isinstance(decision, Refuse):
        return decision
    given = decision.organizations if isinstance(decision, AskPerson) else (decision.organization,)
    if any(given) and wanted not in given:
        return Refuse(f"This deployment does not let this app act in the organization '{wanted}'.")
    if isinstance(decision, Approve):
        return Approve(decision.account, wanted)
    return AskPerson(decision.needs, (wanted,), decision.roles)
