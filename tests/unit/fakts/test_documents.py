"""Bodies and manifests from anybody: what is wrong with one is said in words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fakts.preflight import documents, manifests

GOOD: dict[str, Any] = {"identifier": "org.example.app", "version": "1.0"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ('"x"', "is not a JSON object"),
        ('{"a": 1, "a": 2}', "names a member twice"),
        ('{"a": {"b": 1, "b": 1}}', "names a member twice"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"\\u0000": 1}', "NUL"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested deeper"),
    ],
)
def test_a_body_that_others_would_read_differently_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(documents.Malformed, match=words):
        documents.read(text)


@given(st.binary() | st.text())
def test_any_body_is_an_object_or_refused(body: bytes | str) -> None:
    with suppress(documents.Malformed):
        assert isinstance(documents.read(body), dict)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identifier": None}, "identifier"),
        ({"identifier": ""}, "identifier"),
        ({"identifier": "a/b"}, "identifier"),
        ({"identifier": "a" * 256}, "identifier"),
        ({"identifier": ["a"]}, "identifier"),
        ({"version": 1}, "version"),
        ({"version": "1" * 256}, "version is longer"),
        ({"author": "a" * 256}, "author is longer"),
        ({"entrypoint": "a" * 256}, "entrypoint is longer"),
        ({"device_id": "a" * 256}, "device_id is longer"),
        ({"node_id": "a" * 256}, "node_id is longer"),
        ({"logo": "a" * 2001}, "logo is longer"),
        ({"description": "a" * 4001}, "description is longer"),
        ({"scopes": "openid"}, "scopes"),
        ({"scopes": ["a b"]}, "not a word"),
        ({"scopes": [""]}, "not a word"),
        ({"scopes": ["a"] * 101}, "more than 100 scopes"),
        ({"requirements": {}}, "requirements"),
        ({"requirements": [{"key": "a"}]}, "service"),
        ({"requirements": [{"key": "", "service": "s"}]}, "needs a key"),
        ({"requirements": [{"key": "k", "service": "s" * 256}]}, "needs a key"),
        ({"requirements": [{"key": "k", "service": "s"}] * 2}, "twice"),
        ({"requirements": [{"key": "k", "service": "s", "description": "d" * 4001}]}, "description"),
        ({"requirements": [{"key": str(n), "service": "s"} for n in range(201)]}, "more than 200"),
        ({"public_sources": [1]}, "public_sources"),
    ],
)
def test_a_malformed_manifest_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    with pytest.raises(manifests.InvalidManifest, match=words):
        manifests.of_document({**GOOD, **change})


def test_manifests_of_either_version_and_of_newer_clients_are_read() -> None:
    nothings: list[dict[str, Any]] = [
        {},
        {"scopes": None, "requirements": None, "public_sources": None, "logo": None},
    ]
    for nothing in nothings:
        assert manifests.of_document({**GOOD, **nothing, "of_the_future": {"a": [1]}}).identifier == "org.example.app"
    assert manifests.device(manifests.of_document({**GOOD, "node_id": "n"})) == "n"
    assert manifests.device(manifests.of_document({**GOOD, "node_id": "n", "device_id": "d"})) == "d"
    assert manifests.scopes(manifests.of_document({**GOOD, "scopes": ["a", "service", "b", "a"]})) == "a b"
    assert manifests.parse('{"identifier": "a", "version": "1"}').version == "1"
    for text in ("1", "{"):
        with pytest.raises(manifests.InvalidManifest, match="manifest is not"):
            manifests.parse(text)
    with pytest.raises(manifests.InvalidManifest, match="not a JSON object"):
        manifests.of_document(None)
