"""Addresses and queues by their names."""

from __future__ import annotations

import pytest

from libs.common.contracts.jobs import worker_queue
from libs.common.contracts.joining import Alias


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({"port": 8001}, "http://host:8001"),
        ({"ssl": True}, "https://host"),
        ({"path": "/lab/"}, "http://host/lab"),
        ({"path": "/", "port": 1}, "http://host:1"),
    ],
)
def test_an_alias_is_a_url_without_a_final_slash(members: dict[str, object], url: str) -> None:
    assert Alias.model_validate({"id": "a", "host": "host", **members}).url == url


def test_every_worker_has_a_queue_of_its_own() -> None:
    assert worker_queue("a") == "worker.a"
    assert worker_queue("a") != worker_queue("b")
