"""What the environment of a container says of its replica."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from services.worker.runner.container import complete
from services.worker.runner.spec import Spec, SpecError


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def completed(environment: dict[str, str]) -> Spec:
    members: dict[str, Any] = {"name": "a", "root": "/r", "concurrency": 3}
    complete(members, environment)
    spec = Spec(members)
    spec.require_addresses()
    return spec


def test_a_container_needs_to_be_told_nothing(tmp_path: Path) -> None:
    spec = completed({})
    assert (spec.tcp, spec.token, spec.concurrency, spec.gateways) == (("0.0.0.0", 8080), None, 3, [])
    assert (spec.health, spec.must_load) == (None, False)
    assert Path(spec.socket).parent == Path(spec.state).parent
    assert Path(spec.socket).is_relative_to(tmp_path)
    assert completed({}).socket != spec.socket


def test_its_environment_says_the_rest_and_keeps_the_token_from_the_algorithm() -> None:
    environment = {
        "PORT": "1234",
        "REPLICA_TOKEN": "t0ken",
        "REPLICA_GATEWAYS": "http://a:1, http://b:2",
        "REPLICA_LOAD_TIMEOUT": "60",
        "REPLICA_CONCURRENCY": "2",
        "HEALTH_PORT": "81",
        "REPLICA_MUST_LOAD": "1",
        "OTHER": "kept",
    }
    spec = completed(environment)
    assert (spec.tcp, spec.token, spec.concurrency, spec.load_timeout) == (("0.0.0.0", 1234), "t0ken", 2, 60)
    assert (spec.health, spec.must_load) == (("0.0.0.0", 81), True)
    assert [gateway.authority for gateway in spec.gateways] == ["a:1", "b:2"]
    assert "REPLICA_TOKEN" not in environment
    assert environment["OTHER"] == "kept"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PORT": "http"}, "the variable PORT must be a whole number, not 'http'"),
        ({"PORT": "70000"}, '"tcp" must be HOST:PORT'),
        ({"HEALTH_PORT": "70000"}, '"health" must be HOST:PORT'),
        ({"REPLICA_CONCURRENCY": "0"}, '"concurrency" must be a number above 0'),
        ({"REPLICA_GATEWAYS": "a"}, "a gateway must be http://HOST:PORT"),
    ],
)
def test_what_cannot_be_is_refused_in_words(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        completed(environment)
