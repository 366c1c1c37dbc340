"""Requirements against what is offered."""

from __future__ import annotations

from libs.common.contracts.joining import Instance, Requirement
from services.fakts.preflight.composition import compose

OFFERED = {"a": [Instance(service="a", identifier="1"), Instance(service="a", identifier="2")]}


def test_several_keys_may_name_one_service_and_each_gets_all_instances() -> None:
    found = compose([Requirement(key="x", service="a"), Requirement(key="y", service="a", optional=True)], OFFERED)
    assert [one.identifier for one in found.instances["x"]] == ["1", "2"]
    assert found.instances["x"] == found.instances["y"]
    assert found.statuses == {"x": "granted", "y": "granted"}
    assert found.missing == ()


def test_what_is_not_offered_is_unavailable_and_missing_if_it_is_required() -> None:
    found = compose([Requirement(key="x", service="b", optional=True), Requirement(key="y", service="c")], OFFERED)
    assert found.instances == {}
    assert found.statuses == {"x": "unavailable", "y": "unavailable"}
    assert found.missing == ("c",)


def test_a_service_without_a_live_instance_is_not_offered() -> None:
    assert compose([Requirement(key="x", service="a")], {"a": []}).missing == ("a",)
