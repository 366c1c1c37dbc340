"""How far access tokens go, from their claims to the gates."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from libs.common.auth import (
    Authenticator,
    TokenVerifier,
    account_only,
    admin_only,
    manager_only,
    reporter_only,
    service_only,
)
from libs.common.contracts.identity import Account, AccountKind, Principal, PrincipalKind, Role
from libs.common.contracts.satellites import reporter
from libs.common.directory import Directory
from libs.common.problems import Forbidden

ANN = Account(
    id=uuid4(), name="ann", kind=AccountKind.USER, staff=True, organizations={"lab": Role.OWNER}, session_limit=7
)


async def no_keys() -> dict[str, Any]:
    return {"keys": []}


def principal(scope: str, **claims: object) -> Principal | None:
    directory = Directory()
    directory.apply("account:ann", ANN.model_dump(mode="json"))
    said = {"sub": str(ANN.id), "preferred_username": "ann", "scope": scope, **claims}
    return Authenticator(TokenVerifier(no_keys), directory).of_claims(said)


async def passed(who: Principal) -> list[str]:
    """Names of the gates that let it through."""
    names = []
    for gate in (account_only, manager_only, admin_only, service_only, reporter_only):
        with suppress(Forbidden):
            await gate(who)
            names.append(gate.__name__)
    return names


@pytest.mark.parametrize(
    ("scope", "gates"),
    [
        ("openid", []),
        ("data:write", []),
        ("algo:call", ["account_only"]),
        ("algo:manage", ["account_only", "manager_only"]),
        ("admin", ["account_only", "manager_only", "admin_only", "reporter_only"]),
        ("satellite:report", []),
    ],
)
async def test_a_token_reaches_what_its_scopes_name(scope: str, gates: list[str]) -> None:
    who = principal(scope)
    assert who is not None
    assert await passed(who) == gates
    assert who.is_admin is (scope == "admin")
    assert who.permissions.allow_algo is (scope == "algo:call")
    assert (who.name, who.session_limit, who.belongs_to("lab")) == ("ann", 7, True)


def test_a_token_without_scopes_gives_nothing() -> None:
    who = principal("")
    assert who is not None
    assert who.scopes == frozenset()
    assert not any(value for name, value in who.permissions if name.startswith("allow_"))


@pytest.mark.parametrize("claims", [{"sub": str(uuid4())}, {"preferred_username": "joe"}])
def test_a_token_names_its_account_twice_and_both_must_fit(claims: dict[str, str]) -> None:
    assert principal("admin", **claims) is None


def test_a_token_of_a_login_or_client_that_ended_is_nobodys() -> None:
    directory = Directory()
    directory.apply("account:ann", ANN.model_dump(mode="json"))
    authenticator = Authenticator(TokenVerifier(no_keys), directory)
    said = {"sub": str(ANN.id), "preferred_username": "ann", "scope": "", "sid": "login", "client_id": "client"}
    assert authenticator.of_claims(said)
    id_token = {name: value for name, value in said.items() if name != "scope"}
    assert authenticator.of_claims(id_token) is None
    for ended in ("ended:login", "ended:client"):
        before = directory.changes
        directory.apply(ended, {"until": "2026-01-01T00:00:00Z"})
        assert directory.changes > before
        assert authenticator.of_claims(said) is None
        assert authenticator.of_claims({**said, "sid": "other", "client_id": "other"})
        directory.apply(ended, None)
        assert authenticator.of_claims(said)


LAUNCH, CLIENT = uuid4(), str(uuid4())


async def test_a_satellite_reports_and_does_nothing_else() -> None:
    said = {
        "sub": CLIENT,
        "client_id": CLIENT,
        "client_app": reporter(LAUNCH),
        "preferred_username": reporter(LAUNCH),
    }
    who = principal("satellite:report admin algo:call data:write", **said)
    assert who is not None
    assert (who.kind, who.name, who.is_admin) == (PrincipalKind.SATELLITE, f"satellite.{LAUNCH}", False)
    assert await passed(who) == ["reporter_only"]
    assert not any(value for name, value in who.permissions if name.startswith("allow_"))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": str(ANN.id)},
        {"client_app": "satellite.1"},
        {"client_app": f"other.{LAUNCH}"},
        {"client_app": str(LAUNCH)},
        {"scope": "algo:call"},
    ],
)
def test_an_app_that_calls_itself_a_satellite_is_none(claims: dict[str, str]) -> None:
    said = {"sub": CLIENT, "client_id": CLIENT, "client_app": reporter(LAUNCH), "scope": "satellite:report", **claims}
    who = principal(**said)
    assert who is None or who.kind is PrincipalKind.ACCOUNT
