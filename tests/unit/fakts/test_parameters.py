"""What an app says of itself when it starts."""

from __future__ import annotations

from typing import Any

import pytest

from services.fakts.preflight import parameters
from services.fakts.preflight.manifests import InvalidManifest

MANIFEST = {"identifier": "org.example.app", "version": "1.0"}


def read(**more: Any) -> parameters.Start:
    return parameters.read({"manifest": MANIFEST, **more}, "0.3.1")


def test_everything_but_the_manifest_has_a_default() -> None:
    for nothing in (None, ""):
        found = read(
            requested_client_kind=nothing,
            requested_client_role=nothing,
            requested_organization=nothing,
            requested_platform_version=nothing,
            redirect_uris=None,
            expiration_time_seconds=None,
            request_auth_key=False,
            of_the_future=1,
        )
        assert (found.kind, found.role, found.organization) == ("development", "interface", None)
        assert (found.seconds, found.redirect_uris) == (300, ())


def test_what_is_asked_for_is_honoured() -> None:
    uris = ["https://host/back", "http://127.0.0.1:3000/", "org.example.app:/back", "app://host"]
    found = read(
        requested_client_kind="website",
        requested_client_role="agent",
        requested_organization="lab",
        expiration_time_seconds=2.5,
        redirect_uris=uris,
    )
    assert (found.kind, found.role, found.organization) == ("website", "agent", "lab")
    assert (found.seconds, found.redirect_uris) == (2.5, tuple(uris))


@pytest.mark.parametrize("wanted", ["0.3.1", "0.3", "0", ">=0.2,<1", "~=0.3.0", "==0.3.1"])
def test_a_platform_version_that_this_is_may_be_wanted(wanted: str) -> None:
    read(requested_platform_version=wanted)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"requested_platform_version": "0.2"}, "this deployment is version 0.3.1"),
        ({"requested_platform_version": "0.3.1rc1"}, "this deployment is version 0.3.1"),
        ({"requested_platform_version": ">=1"}, "this deployment is version 0.3.1"),
        ({"requested_platform_version": "newest"}, "neither a version nor conditions"),
        ({"requested_platform_version": 1}, "a text"),
        ({"requested_client_kind": "toaster"}, "not known here"),
        ({"requested_client_kind": "hub"}, "takes in no hubs"),
        ({"requested_client_kind": "relying_party"}, "administrator"),
        ({"requested_client_kind": ["website"]}, "a text"),
        ({"requested_client_role": "boss"}, "not known here"),
        ({"requested_organization": "o" * 256}, "at most 255"),
        ({"request_auth_key": True}, "no mesh"),
        ({"expiration_time_seconds": "300"}, "a number of seconds"),
        ({"expiration_time_seconds": True}, "a number of seconds"),
        ({"expiration_time_seconds": 0}, "at least 1"),
        ({"redirect_uris": "https://host/"}, "list"),
        ({"redirect_uris": ["https://host/"] * 21}, "at most 20"),
        ({"redirect_uris": [1]}, "absolute addresses"),
        ({"redirect_uris": ["https://host/" + "a" * 2000]}, "absolute addresses"),
        ({"redirect_uris": ["https://host/#there"]}, "absolute addresses"),
        ({"redirect_uris": ["https:///path"]}, "absolute addresses"),
        ({"redirect_uris": ["/path"]}, "absolute addresses"),
        ({"redirect_uris": ["http://[::1"]}, "absolute addresses"),
        ({"redirect_uris": ["JavaScript:alert(1)"]}, "absolute addresses"),
        ({"redirect_uris": ["app:"]}, "absolute addresses"),
        ({"manifest": None}, "send the app's manifest"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_a_reason(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(parameters.InvalidStart, match=words):
        read(**asked)


def test_a_malformed_manifest_is_refused() -> None:
    with pytest.raises(InvalidManifest):
        parameters.read({"manifest": []}, "0.3.1")


def test_no_time_is_too_long_to_ask_for() -> None:
    assert read(expiration_time_seconds=10**400).seconds == 10**9
