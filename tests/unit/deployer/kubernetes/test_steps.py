"""What differs from what is wanted, and what is done about it first."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deployer.kubernetes import objects
from services.deployer.kubernetes.drift import differences
from services.deployer.kubernetes.objects import Object
from services.deployer.kubernetes.satellite import Manifest, Satellite, Site, Tokens
from services.deployer.kubernetes.steps import Key, step
from tests.support import cluster_satellites as satellites

LAUNCH = UUID(int=1)
ECHO = satellites.algorithm("echo")
SITE, TOKENS = Site("sat", fqdn="f"), Tokens("a", "b")


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b"]),
        ({"a": {"b": 1}}, {}, ["a"]),
        ({"a": {}, "b": []}, {}, []),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a[1]"]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "y"}, {"name": "x", "v": 1, "w": 2}]}, []),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "v": 2}]}, ["a[x].v"]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": []}, ["a[x]"]),
        ({"a": [{"name": "x"}]}, {"a": [1]}, ["a[0]"]),
        ({"a": []}, {"a": [1]}, ["a"]),
        ({"a": [1]}, {"a": 1}, ["a"]),
    ],
)
def test_only_what_is_wanted_is_compared(wanted: Any, live: Any, expected: list[str]) -> None:
    assert list(differences(wanted, live)) == expected


values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert list(differences(value, copy.deepcopy(value))) == []


def wanted(version: int, revision: int = 0) -> tuple[Object, ...]:
    order = satellites.order(LAUNCH, version, satellites.entry("text/echo", ECHO, revision, 2))
    return objects.render(satellites.satellite(order, ECHO), SITE, TOKENS)


def live(made: tuple[Object, ...], *, ready: bool = True) -> dict[Key, Manifest]:
    found = {one.key: copy.deepcopy(one.body) for one in made}
    for (kind, _), body in found.items():
        if kind == "Deployment":
            count = body["spec"]["replicas"]
            body["metadata"]["generation"] = 1
            body["status"] = {
                "observedGeneration": 1,
                "replicas": count,
                "updatedReplicas": count,
                "availableReplicas": count if ready else 0,
            }
    return found


GATEWAY = ("Deployment", "execution-engine")


def test_at_first_everything_is_applied_in_order() -> None:
    made = wanted(1)
    found = step(made, {})
    assert [one.wanted for one in found.now] == [*made]
    assert (found.settled, found.strays) == (False, frozenset())
    assert found.now[0].words == "ServiceAccount 'constellation-satellite'"


def test_what_is_as_it_should_be_needs_nothing() -> None:
    made = wanted(1)
    found = step(made, live(made))
    assert (found.differing, found.settled) == ((), True)
    waiting = step(made, live(made, ready=False))
    assert (waiting.differing, waiting.settled) == ((), False)


def test_gateways_switch_when_the_new_replicas_are_ready() -> None:
    before, after = wanted(1), wanted(2, revision=1)
    first = step(after, live(before))
    assert GATEWAY not in {one.wanted.key for one in first.now}
    assert GATEWAY in {one.wanted.key for one in first.differing}
    (algorithm,) = [one for one in first.now if one.wanted.key[0] == "Deployment"]
    assert "spec.template" in algorithm.words
    behind = {
        **live(before),
        **{key: body for key, body in live(after, ready=False).items() if key[0] != "ConfigMap"},
    }
    behind[GATEWAY] = live(before)[GATEWAY]
    assert GATEWAY not in {one.wanted.key for one in step(after, behind).now}, "they are not ready yet"
    ahead = {**live(before), **live(after)}
    ahead[GATEWAY] = live(before)[GATEWAY]
    second = step(after, ahead)
    assert GATEWAY in {one.wanted.key for one in second.now}
    assert second.strays == frozenset(), "gateways of before still use it"
    last = step(after, {**live(before), **live(after)})
    assert {kind for kind, _ in last.strays} == {"ConfigMap"}


ORDER = satellites.order(LAUNCH, 1, satellites.entry("text/echo", ECHO, 0, 2))
LEARNER = ECHO.model_copy(update={"pipeline_enabled": True, "scaling": ECHO.scaling.model_copy(update={"gpus": 2})})
PLAIN, SECRET = satellites.satellite(ORDER, ECHO), {ECHO.id: {"KEY": "v"}}


@pytest.mark.parametrize(
    ("satellite", "site", "name"),
    [
        (replace(PLAIN, secrets=SECRET), SITE, "Deployment 'algo-"),
        (replace(PLAIN, report_token="r"), SITE, "Deployment 'execution-engine'"),
        (satellites.satellite(ORDER, LEARNER), SITE, "Deployment 'algo-"),
        (PLAIN, replace(SITE, pull_secrets=("registry",)), "Deployment 'algo-"),
        (PLAIN, replace(SITE, tls_secret="certificate"), "Ingress 'execution-engine'"),
        (PLAIN, replace(SITE, ingress_class="nginx"), "Ingress 'execution-engine'"),
        (PLAIN, replace(SITE, ingress_annotations={"a": "b"}), "Ingress 'execution-engine'"),
    ],
)
def test_what_is_wanted_no_more_is_a_difference(satellite: Satellite, site: Site, name: str) -> None:
    before, after = objects.render(satellite, site, TOKENS), objects.render(PLAIN, SITE, TOKENS)
    first = step(after, live(before))
    assert [one for one in first.now if one.words.startswith(name)]
    assert (first.settled, first.strays) == (False, frozenset())
    last = step(after, {**live(before), **live(after)})
    assert (last.differing, last.settled) == ((), True)
    assert last.strays == live(before).keys() - live(after).keys(), "nobody names them any more"


def test_what_is_wanted_no_more_is_said() -> None:
    before = objects.render(PLAIN, replace(SITE, tls_secret="certificate"), TOKENS)
    (found,) = step(objects.render(PLAIN, SITE, TOKENS), live(before)).now
    assert found.words == "Ingress 'execution-engine' (it was applied otherwise)"


def test_gateways_learn_of_a_revoked_key_whatever_is_not_ready() -> None:
    two_keys = replace(PLAIN, plan=satellites.plan(ORDER, ECHO, keys=2))
    before, after = objects.render(two_keys, SITE, TOKENS), objects.render(PLAIN, SITE, TOKENS)
    found = step(after, live(before, ready=False))
    assert [one.wanted.key[0] for one in found.now] == ["ConfigMap", "Deployment"]
    assert found.now[-1].wanted.key == GATEWAY


def test_what_somebody_did_to_gateways_is_undone_at_once() -> None:
    made = wanted(1)
    damaged = live(made, ready=False)
    damaged[GATEWAY]["spec"]["replicas"] = 9
    (found,) = step(made, damaged).now
    assert found.words == "Deployment 'execution-engine' (spec.replicas)"
    damaged[GATEWAY]["metadata"]["annotations"] = None
    assert step(made, damaged).now == (), "it is not known what they serve"
