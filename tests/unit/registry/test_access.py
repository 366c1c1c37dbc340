"""Who may see and change what an owner has."""

from __future__ import annotations

import pytest

from libs.common.contracts.identity import FULL_PERMISSIONS, Permissions, Principal, PrincipalKind, Role
from libs.common.problems import Forbidden
from services.registry.access import (
    NoSuchAlgorithm,
    check_insider,
    check_manages,
    insider,
    manages,
    publishes_publicly,
)


def person(name: str, role: Role | None = None, *, management: bool = True, admin: bool = False) -> Principal:
    return Principal(
        kind=PrincipalKind.ACCOUNT,
        name=name,
        permissions=FULL_PERMISSIONS if management else Permissions(allow_algo=True),
        organizations={"acme": role} if role else {},
        admin_key=admin,
    )


ACME = person("acme")
OWNER, MEMBER, EXECUTOR = (person("joe", role) for role in (Role.OWNER, Role.MEMBER, Role.EXECUTOR))
CALLER = person("joe", Role.OWNER, management=False)
STRANGER = person("ann")
ADMIN = person("root", admin=True, management=False)


@pytest.mark.parametrize(
    ("who", "is_insider", "may_manage", "may_publish"),
    [
        (ACME, True, True, True),
        (OWNER, True, True, True),
        (MEMBER, True, True, False),
        (EXECUTOR, True, False, False),
        (CALLER, True, False, True),
        (STRANGER, False, False, False),
        (ADMIN, True, True, True),
    ],
)
def test_what_each_may(who: Principal, is_insider: bool, may_manage: bool, may_publish: bool) -> None:
    assert insider(who, "acme") is is_insider
    assert manages(who, "acme") is may_manage
    assert publishes_publicly(who, "acme") is may_publish


def test_a_stranger_is_told_that_there_is_nothing() -> None:
    with pytest.raises(NoSuchAlgorithm):
        check_insider(STRANGER, "acme")
    with pytest.raises(NoSuchAlgorithm):
        check_manages(STRANGER, "acme", known=False)


def test_who_may_know_of_it_is_told_why_not() -> None:
    with pytest.raises(Forbidden, match="only acme"):
        check_manages(STRANGER, "acme", known=True)
    with pytest.raises(Forbidden, match="only acme"):
        check_manages(EXECUTOR, "acme", known=False)
    with pytest.raises(Forbidden, match="allow_algo_management"):
        check_manages(CALLER, "acme", known=False)


def test_those_who_may_pass() -> None:
    for who in (ACME, OWNER, MEMBER, ADMIN):
        check_insider(who, "acme")
        check_manages(who, "acme", known=False)
