"""Requirements against what is offered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.joining import Alias, Instance, Requirement
from services.fakts.preflight.composition import compose, within_reach
from services.fakts.where import Zone

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


def test_what_was_declined_is_denied_if_it_is_optional() -> None:
    wanted = [Requirement(key="x", service="a", optional=True), Requirement(key="y", service="a")]
    found = compose(wanted, OFFERED, {"x", "y", "z"})
    assert found.statuses == {"x": "denied", "y": "granted"}
    assert set(found.instances) == {"y"}


def test_callers_get_the_addresses_that_they_reach_the_nearest_first() -> None:
    reaches = (None, "public", "internal", "lan", "loopback", None)
    aliases = tuple(
        Alias.model_validate({"id": str(at), "host": "h", "reach": reach}) for at, reach in enumerate(reaches)
    )
    instance = Instance(service="a", identifier="1", aliases=aliases)
    found = {zone: within_reach(instance, zone) for zone in Zone}
    assert {zone: [alias.id for alias in one.aliases] for zone, one in found.items() if one} == {
        Zone.LOOPBACK: ["4", "3", "0", "5", "1", "2"],
        Zone.LAN: ["3", "0", "5", "1", "2"],
        Zone.PUBLIC: ["1", "0", "5"],
    }
    assert within_reach(instance.model_copy(update={"aliases": aliases[2:5]}), Zone.PUBLIC) is None


SERVICES = st.sampled_from("abcd")
WANTED = st.lists(
    st.builds(Requirement, key=st.sampled_from("uvwxyz"), service=SERVICES, optional=st.booleans()),
    unique_by=lambda requirement: requirement.key,
)
ALIASES = st.builds(
    Alias,
    id=st.text(max_size=3),
    host=st.just("h"),
    reach=st.sampled_from([None, "loopback", "internal", "lan", "public"]),
)
INSTANCES = st.builds(
    Instance, service=st.just("a"), identifier=st.text(max_size=3), aliases=st.lists(ALIASES, max_size=6).map(tuple)
)


@given(WANTED, st.dictionaries(SERVICES, st.lists(INSTANCES, max_size=3)), st.sets(st.sampled_from("uvwxyz")))
def test_each_requirement_has_one_status_that_tells_the_truth(
    wanted: list[Requirement], offered: dict[str, list[Instance]], declined: set[str]
) -> None:
    found = compose(wanted, offered, declined)
    assert set(found.statuses) == {requirement.key for requirement in wanted}
    assert set(found.instances) == {key for key, status in found.statuses.items() if status == "granted"}
    for requirement in wanted:
        status, there = found.statuses[requirement.key], bool(offered.get(requirement.service))
        if requirement.key in declined and requirement.optional:
            assert status == "denied"
        else:
            assert status == ("granted" if there else "unavailable")
        if status == "granted":
            assert list(found.instances[requirement.key]) == offered[requirement.service]
    lacking = {one.service for one in wanted if not one.optional and not offered.get(one.service)}
    assert set(found.missing) == lacking
    assert len(found.missing) == len(lacking)


@given(INSTANCES, st.sampled_from(Zone))
def test_nobody_is_given_an_address_from_elsewhere_and_nearer_callers_get_no_less(
    instance: Instance, zone: Zone
) -> None:
    near = within_reach(instance, zone)
    found = near.aliases if near else ()
    assert set(found) <= set(instance.aliases)
    if zone is Zone.PUBLIC:
        assert all(alias.reach in (None, "public") for alias in found)
        lan = within_reach(instance, Zone.LAN)
        assert set(found) <= set(lan.aliases if lan else ())
    if zone is not Zone.LOOPBACK:
        assert all(alias.reach != "loopback" for alias in found)
    silent = [alias for alias in instance.aliases if alias.reach is None]
    assert [alias for alias in found if alias.reach is None] == silent
