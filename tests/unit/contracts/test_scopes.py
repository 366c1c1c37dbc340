"""What the scopes of tokens allow."""

from __future__ import annotations

import pytest

from libs.common.contracts import scopes
from libs.common.contracts.identity import Permissions


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ("", {}),
        ("openid profile email offline_access lab:print", {}),
        ("algo:call", {"allow_algo", "allow_web_algo"}),
        ("algo:manage", {"allow_algo_management"}),
        ("data:read", {"allow_data", "allow_web_algo"}),
        ("data:write", {"allow_data", "allow_data_write", "allow_web_algo"}),
        ("admin", {}),
        (
            "openid algo:call algo:manage data:read data:write",
            {"allow_algo", "allow_web_algo", "allow_algo_management", "allow_data", "allow_data_write"},
        ),
    ],
)
def test_only_the_platforms_words_give_anything(given: str, allowed: set[str]) -> None:
    assert scopes.permissions_of(given.split()) == Permissions(**dict.fromkeys(allowed, True))


def test_administration_is_a_scope_of_its_own() -> None:
    assert scopes.administers(["openid", "admin"])
    assert not scopes.administers(scopes.PLATFORM_SCOPES - {"admin"})


def test_what_calls_manages_or_administers_may_look() -> None:
    assert [scope for scope in sorted(scopes.PLATFORM_SCOPES) if scopes.reads([scope])] == [
        "admin",
        "algo:call",
        "algo:manage",
    ]
    assert not scopes.reads(["openid", "lab:print"])


def test_a_person_reads_of_every_scope_of_the_platform_what_it_means() -> None:
    assert scopes.WORDS.keys() == scopes.PLATFORM_SCOPES | {"openid", "profile", "email", "offline_access"}
