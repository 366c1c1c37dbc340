"""Request ids."""

from __future__ import annotations

from uuid import UUID

from services.gateway.request_ids import RequestIds


def test_ids_are_uuids_behind_their_prefix() -> None:
    made = RequestIds().next()
    assert made.startswith("req-")
    assert UUID(made.removeprefix("req-")).version == 8


def test_ids_are_never_the_same() -> None:
    one, other = RequestIds(), RequestIds()
    made = [ids.next() for ids in (one, other) for _ in range(1000)]
    assert len(set(made)) == len(made)
