from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.catalog import (
    Artifact,
    Callability,
    CatalogEntry,
    Language,
    NetworkAccess,
    Revision,
    Scaling,
)
from services.deployer.catalog import Catalog, kept_warm
from services.deployer.view import Room

PUBLIC, PRIVATE = Callability.PUBLIC, Callability.PRIVATE


def revision(version: str | None = None, callability: Callability = PUBLIC) -> Revision:
    return Revision(
        id=uuid4(),
        commit="a" * 40,
        version=version,
        callability=callability,
        language=Language.PYTHON,
        artifact=Artifact(source="s", digest="d"),
        built_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def entry(*revisions: Revision, **members: Any) -> CatalogEntry:
    return CatalogEntry(id=uuid4(), owner="joe", name="echo", revisions=revisions, **members)


def learn(catalog: Catalog, one: CatalogEntry) -> None:
    catalog.apply(str(one.id), one.model_dump(mode="json"))


def test_a_revision_is_served_as_its_algorithm_says() -> None:
    catalog, built = Catalog(), revision("1.0.0")
    scaling = Scaling(
        min_replicas=2, max_replicas=3, idle_seconds=60, concurrency=4, memory_mib=512, cpus=0.3, gpus=2
    )
    learn(catalog, entry(built, scaling=scaling, network_access=NetworkAccess.ISOLATED, secrets_version=7))
    wish = catalog.wish(built.id)
    assert wish is not None
    assert (wish.min_replicas, wish.max_replicas, wish.idle_seconds) == (2, 3, 60)
    assert (wish.concurrency, wish.language) == (4, Language.PYTHON)
    assert wish.room == Room(slots=1, memory_mib=512, millicpus=300, gpus=2)
    spec = catalog.spec(built.id, UUID(int=1))
    assert spec is not None
    assert (spec.id, spec.revision_id, spec.owner, spec.name) == (UUID(int=1), built.id, "joe", "echo")
    assert (spec.network_access, spec.secrets_version, spec.memory_mib) == (NetworkAccess.ISOLATED, 7, 512)
    assert (spec.cpus, spec.gpus) == (0.3, 2)
    assert catalog.name(built.id) == "joe/echo"


def test_an_unknown_revision_is_served_by_nothing() -> None:
    catalog = Catalog()
    assert catalog.wish(uuid4()) is None
    assert catalog.spec(uuid4(), uuid4()) is None
    assert catalog.name(uuid4()) is None


@pytest.mark.parametrize(
    ("published", "warm"),
    [
        ([("1.0.0", PUBLIC), ("1.0.10", PUBLIC), ("1.0.9", PUBLIC)], "1.0.10"),
        ([("1.0.0", PUBLIC), ("2.0.0", PRIVATE)], "1.0.0"),
        ([("0.1.0", PRIVATE), ("0.2.0", PRIVATE)], "0.2.0"),
        ([(None, PRIVATE)], None),
        ([], None),
    ],
)
def test_the_newest_public_version_is_kept_warm_else_the_newest_private_one(
    published: list[tuple[str | None, Callability]], warm: str | None
) -> None:
    found = kept_warm(entry(*(revision(*one) for one in published), scaling=Scaling(min_replicas=1)))
    assert (found.version if found is not None else None) == warm


def test_nothing_is_kept_warm_that_does_not_ask_for_it() -> None:
    assert kept_warm(entry(revision("1.0.0"))) is None


def test_only_the_warm_revision_has_a_minimum() -> None:
    catalog, older, newer = Catalog(), revision("1.0.0"), revision("1.1.0")
    one = entry(older, newer, scaling=Scaling(min_replicas=1))
    learn(catalog, one)
    old, new = catalog.wish(older.id), catalog.wish(newer.id)
    assert old is not None
    assert new is not None
    assert (old.min_replicas, new.min_replicas) == (0, 1)
    assert catalog.warm(one.id) == newer.id


def test_a_change_replaces_what_was_known() -> None:
    catalog, first, second = Catalog(), revision(), revision("1.0.0")
    one = entry(first, scaling=Scaling(min_replicas=1))
    learn(catalog, one)
    learn(catalog, one.model_copy(update={"revisions": (second,)}))
    assert catalog.wish(first.id) is None
    assert catalog.warm(one.id) == second.id
    catalog.apply(str(one.id), None)
    assert catalog.wish(second.id) is None
    assert catalog.warm(one.id) is None


def test_changes_are_told_and_can_be_put_back() -> None:
    catalog, told = Catalog(), []
    catalog.on_change = lambda: told.append(1)
    one, other = entry(), entry()
    learn(catalog, one)
    learn(catalog, one)
    learn(catalog, other)
    assert len(told) == 3
    taken = catalog.take_changed()
    assert taken == {one.id, other.id}
    assert catalog.take_changed() == set()
    catalog.put_back(taken)
    assert catalog.take_changed() == taken


def test_a_body_that_is_no_entry_is_refused_and_changes_nothing() -> None:
    catalog, built = Catalog(), revision()
    one = entry(built)
    learn(catalog, one)
    with pytest.raises(ValueError, match="owner"):
        catalog.apply(str(one.id), {"id": str(one.id)})
    assert catalog.wish(built.id) is not None


@pytest.mark.parametrize(
    ("change", "current"),
    [
        ({}, True),
        ({"secrets_version": 1}, False),
        ({"scaling": Scaling(memory_mib=4096)}, False),
        ({"network_access": NetworkAccess.ISOLATED}, False),
        ({"scaling": Scaling(max_replicas=9, idle_seconds=5)}, True),
        ({"revisions": ()}, False),
    ],
)
def test_a_replica_is_current_as_long_as_a_new_one_would_be_the_same(change: dict[str, Any], current: bool) -> None:
    catalog, built = Catalog(), revision("1.0.0")
    one = entry(built)
    learn(catalog, one)
    spec = catalog.spec(built.id, uuid4())
    assert spec is not None
    learn(catalog, one.model_copy(update=change))
    assert catalog.is_current(spec.model_dump(mode="json")) is current


def test_a_replica_of_an_earlier_release_is_current_although_its_spec_lacks_what_came_since() -> None:
    catalog, built = Catalog(), revision("1.0.0")
    learn(catalog, entry(built))
    spec = catalog.spec(built.id, uuid4())
    assert spec is not None
    stored = spec.model_dump(mode="json")
    del stored["load_timeout_seconds"]
    assert catalog.is_current(stored)
