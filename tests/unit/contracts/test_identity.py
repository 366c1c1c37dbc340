"""Who counts as an administrator, an insider, a manager."""

from __future__ import annotations

from uuid import uuid4

from libs.common.contracts.identity import Principal, PrincipalKind, Role


def account(name: str = "ann", **members: object) -> Principal:
    return Principal(kind=PrincipalKind.ACCOUNT, name=name, **members)  # type: ignore[arg-type]


def test_a_service_is_told_from_an_account() -> None:
    assert Principal(kind=PrincipalKind.SERVICE, name="registry").is_service
    assert not account().is_service


def test_administrators_use_an_admin_key_or_sign_in_themselves() -> None:
    assert account(key_id=uuid4(), admin_key=True).is_admin
    assert account(staff=True).is_admin
    assert not account(staff=True, key_id=uuid4()).is_admin, "a standard key does not reach administration"
    assert not account().is_admin


def test_members_of_an_organization_are_insiders_of_it() -> None:
    member = account(organizations={"lab": Role.EXECUTOR})
    assert member.belongs_to("lab")
    assert member.belongs_to("ann")
    assert not member.belongs_to("other")


def test_owners_and_members_manage_and_executors_do_not() -> None:
    assert account().manages("ann")
    assert account(organizations={"lab": Role.OWNER}).manages("lab")
    assert account(organizations={"lab": Role.MEMBER}).manages("lab")
    assert not account(organizations={"lab": Role.EXECUTOR}).manages("lab")
    assert not account().manages("lab")
