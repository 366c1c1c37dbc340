"""Resolving what is called."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from libs.common.contracts.catalog import Callability, CatalogEntry
from libs.common.contracts.references import parse
from services.gateway.pool import Pools
from services.gateway.table import Table, Target
from tests.service.gateway.doubles import entry, revision


@pytest.fixture
def table(pools: Pools) -> Table:
    return Table(pools)


def put(table: Table, one: CatalogEntry) -> None:
    table.apply(str(one.id), one.model_dump(mode="json"))


def target(table: Table, text: str, *, insider: bool = False) -> Target | None:
    reference = parse(text)
    algorithm = table.find(reference)
    return table.target(algorithm, reference.version, insider=insider) if algorithm else None


def test_an_algorithm_is_found_by_name_and_by_id(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    for text in ("joe/echo", "joe/echo/", "algo://joe/echo", str(echo.id), f"{echo.id}/0.1.0"):
        found = target(table, text)
        assert found is not None
        assert found.revision_id == echo.revisions[0].id


def test_names_compare_exactly(table: Table) -> None:
    put(table, entry("joe", "echo"))
    assert target(table, "Joe/echo") is None
    assert target(table, "joe/Echo") is None


def test_private_versions_are_for_insiders(table: Table) -> None:
    private = revision("0.1.0", callability=Callability.PRIVATE)
    built = revision(None, commit="a" * 40)
    put(table, entry("joe", "echo", private, built))
    for text, wanted in (
        ("joe/echo/0.1.0", private),
        ("joe/echo/latestPrivate", private),
        (f"joe/echo/{'a' * 40}", built),
    ):
        assert target(table, text) is None
        found = target(table, text, insider=True)
        assert found is not None
        assert found.revision_id == wanted.id


def test_a_new_version_is_found_at_once(table: Table) -> None:
    old, new = revision("0.1.0"), revision("0.2.0")
    echo = entry("joe", "echo", old)
    put(table, echo)
    before = target(table, "joe/echo")
    put(table, echo.model_copy(update={"revisions": (old, new)}))
    after = target(table, "joe/echo")
    assert before is not None
    assert after is not None
    assert (before.revision_id, after.revision_id) == (old.id, new.id)


def test_what_is_removed_is_gone(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    table.apply(str(echo.id), None)
    assert target(table, "joe/echo") is None
    assert target(table, str(echo.id)) is None
    assert len(table) == 0


def test_a_name_that_was_taken_over_survives_the_end_of_its_former_owner(table: Table) -> None:
    old, new = entry("joe", "echo"), entry("joe", "echo")
    put(table, old)
    put(table, new)
    table.apply(str(old.id), None)
    found = target(table, "joe/echo")
    assert found is not None
    assert found.revision_id == new.revisions[0].id


def test_a_renamed_algorithm_has_only_its_new_name(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    put(table, echo.model_copy(update={"name": "mirror"}))
    assert target(table, "joe/echo") is None
    assert target(table, "joe/mirror") is not None


def test_an_entry_that_cannot_be_read_changes_nothing(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    broken: dict[str, Any] = {**echo.model_dump(mode="json"), "revisions": "none"}
    with pytest.raises(ValueError, match="revisions"):
        table.apply(str(echo.id), broken)
    assert target(table, "joe/echo") is not None


def test_versions_that_clients_make_up_take_bounded_memory(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    for number in range(2000):
        assert target(table, f"joe/echo/9.9.{number}") is None
    algorithm = table.find(parse("joe/echo"))
    assert algorithm is not None
    assert len(algorithm.targets) < 300


def test_a_revision_keeps_its_replicas_when_its_algorithm_changes(table: Table) -> None:
    echo = entry("joe", "echo")
    put(table, echo)
    before = target(table, "joe/echo")
    put(table, echo.model_copy(update={"pipeline_enabled": False}))
    after = target(table, "joe/echo")
    assert before is not None
    assert after is not None
    assert before.pool is after.pool
    assert (before.algorithm.pipeline_enabled, after.algorithm.pipeline_enabled) == (True, False)


def test_every_change_can_be_noticed(table: Table) -> None:
    seen = table.changes
    put(table, entry("joe", "echo"))
    assert table.changes > seen
    assert target(table, f"{uuid4()}") is None
