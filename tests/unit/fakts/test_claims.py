"""What an upstream provider's claims mean."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from libs.common.contracts.identity import Role
from libs.common.contracts.references import NAME
from services.fakts.identity import claims
from services.fakts.identity.claims import ClaimNames, Match, MembershipRule

NAMES = ClaimNames()


def test_values_of_a_claim_are_texts() -> None:
    said = {"groups": ["a", 1, None, {"x": 1}], "on": True, "realm": {"roles": ["r"]}, "a.b": "flat", "none": None}
    assert claims.texts(said, "groups") == ["a", "1"]
    assert claims.texts(said, "on") == ["true"]
    assert claims.texts(said, "realm.roles") == ["r"]
    assert claims.texts(said, "a.b") == ["flat"]
    for absent in ("none", "missing", "realm.none", "on.deeper", "realm"):
        assert claims.texts(said, absent) == []


def test_who_may_come_in() -> None:
    admit = (Match(claim="groups", values=("lab-*",)), Match(claim="hd", values=("example.org",)))
    assert claims.admitted({}, ())
    assert claims.admitted({"groups": ["x", "lab-a"]}, admit)
    assert claims.admitted({"hd": "example.org"}, admit)
    assert not claims.admitted({"groups": ["xlab-a"], "hd": "example.org.evil"}, admit)


def test_all_but_a_star_is_meant_literally() -> None:
    for value, other in (("ops[1]", "ops1"), ("admin?", "admins"), ("a.b", "axb")):
        assert Match(claim="groups", values=(value,)).fits({"groups": [value]})
        assert not Match(claim="groups", values=(value,)).fits({"groups": [other]})
    for value in ("", "a*b*c*d*e"):
        with pytest.raises(ValueError, match="no pattern"):
            Match(claim="groups", values=(value,))


def test_the_highest_role_counts_and_who_fits_none_is_no_member() -> None:
    rules = [
        MembershipRule(claim="groups", values=("staff",), organization="lab", role=Role.EXECUTOR),
        MembershipRule(claim="groups", values=("heads",), organization="lab", role=Role.OWNER),
        MembershipRule(claim="groups", values=("*",), organization="lab"),
        MembershipRule(claim="groups", values=("guests",), organization="other"),
    ]
    assert claims.memberships({"groups": ["heads", "staff"]}, rules) == {"lab": Role.OWNER, "other": None}
    assert claims.memberships({"groups": ["staff"]}, rules) == {"lab": Role.MEMBER, "other": None}
    assert claims.memberships({}, rules) == {"lab": None, "other": None}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"email": "a@example.org"}, "a@example.org"),
        ({"email": "a@example.org", "email_verified": True}, "a@example.org"),
        ({"email": "a@example.org", "email_verified": False}, None),
        ({"email": "a@example.org", "email_verified": "false"}, None),
        ({"email": "no address"}, None),
        ({"email": "a@" + "x" * 300}, None),
        ({}, None),
    ],
)
def test_addresses(said: dict[str, Any], expected: str | None) -> None:
    assert claims.email(said, NAMES) == expected


def test_full_names_are_cut_and_printable() -> None:
    assert claims.fullname({"name": " Jo\x00 Doe\n"}, NAMES) == "Jo Doe"
    assert claims.fullname({"name": "x" * 300}, NAMES) == "x" * 200
    assert claims.fullname({"name": " "}, NAMES) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"preferred_username": "jane"}, "jane"),
        ({"preferred_username": "jane.van-doe@example.org"}, "jane_van_doe"),
        ({"preferred_username": "1234abc"}, "abc"),
        ({"email": "jo@example.org"}, "jo"),
        ({"preferred_username": "Jürgen"}, "J_rgen"),
        ({"preferred_username": "_"}, "user"),
        ({"preferred_username": "x" * 50}, "x" * 30),
        ({}, "user"),
    ],
)
def test_account_names_are_legal_and_unlike(said: dict[str, Any], expected: str) -> None:
    assert next(claims.account_names(said, NAMES)) == expected
    names = list(claims.account_names(said, NAMES))
    assert len(set(names)) == len(names) == 99
    assert all(NAME.fullmatch(name) for name in names)
    assert list(islice(names, 1, 3)) == [f"{expected[:29]}2", f"{expected[:29]}3"]
