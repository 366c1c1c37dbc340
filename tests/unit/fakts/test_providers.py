"""The file of upstream providers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.fakts.pages import providers
from services.fakts.pages.providers import ProvidersFault

GOOD: dict[str, object] = {
    "name": "university",
    "label": "The University",
    "discovery": "https://idp.example.org/.well-known/openid-configuration",
    "client_id": "constellation",
    "client_secret": "very-secret",
    "scopes": ["email"],
}


def written(folder: Path, *found: dict[str, object], name: str = "providers.json", mode: int = 0o600) -> Path:
    file = folder / name
    file.write_text(json.dumps({"provider": found}))
    file.chmod(mode)
    return file


def test_a_provider_is_read_from_json_and_from_toml(tmp_path: Path) -> None:
    (one,) = providers.load(written(tmp_path, GOOD))
    assert one.scopes == ("openid", "email")
    assert "very-secret" not in repr(one)
    toml = tmp_path / "providers.toml"
    toml.write_text("\n".join(["[[provider]]", *(f"{key} = {json.dumps(value)}" for key, value in GOOD.items())]))
    toml.chmod(0o600)
    assert providers.load(toml) == (one,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discovery": "http://idp.example.org/x"}, "discovery: Value error, must be an https"),
        ({"name": "Not Legal"}, "provider.0.name"),
        ({"colour": "red"}, "provider.0.colour"),
        ({"admit": [{"claim": "groups", "values": []}]}, "admit.0.values"),
        ({"memberships": [{"claim": "g", "values": ["*"], "organization": "lab", "role": "invited"}]}, "role"),
        ({"client_secret": 1}, "client_secret"),
        ({"discovery": "https://idp.example.org/metadata"}, "its issuer cannot be told"),
        ({"issuer": "http://idp.example.org"}, "issuer: Value error, must be an https"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(ProvidersFault, match=words) as fault:
        providers.load(written(tmp_path, {**GOOD, **change}))
    assert "very-secret" not in str(fault.value)


@pytest.mark.parametrize(
    ("described", "issuer", "is_it"),
    [
        ({}, "https://idp.example.org", True),
        ({}, "https://idp.example.org/", True),
        ({}, "https://idp.example.org/other", False),
        ({}, "https://other.example.org", False),
        ({}, None, False),
        ({"issuer": "https://tenant.example.org/"}, "https://tenant.example.org/", True),
        ({"issuer": "https://tenant.example.org/"}, "https://tenant.example.org", False),
        ({"issuer": "https://tenant.example.org/"}, "https://idp.example.org", False),
    ],
)
def test_a_provider_is_the_issuer_at_its_address_or_the_one_that_is_named(
    tmp_path: Path, described: dict[str, object], issuer: str | None, is_it: bool
) -> None:
    (one,) = providers.load(written(tmp_path, {**GOOD, **described}))
    assert one.is_issuer(issuer) is is_it


def test_two_providers_have_two_issuers(tmp_path: Path) -> None:
    other = {**GOOD, "name": "other", "discovery": "https://idp.example.org/metadata"}
    with pytest.raises(ProvidersFault, match="university and other have one issuer"):
        providers.load(written(tmp_path, GOOD, {**other, "issuer": "https://idp.example.org/"}))
    assert len(providers.load(written(tmp_path, GOOD, {**other, "issuer": "https://idp.example.org/b"}))) == 2


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProvidersFault, match="chmod 600"):
        providers.load(written(tmp_path, GOOD, mode=0o640))
    with pytest.raises(ProvidersFault, match="twice: university"):
        providers.load(written(tmp_path, GOOD, GOOD))
    with pytest.raises(ProvidersFault, match="cannot be read"):
        providers.load(tmp_path / "none")
    with pytest.raises(ProvidersFault, match="neither TOML"):
        providers.load(written(tmp_path, GOOD, name="providers.toml"))
