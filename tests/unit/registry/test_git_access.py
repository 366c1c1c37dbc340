"""Who git asks for."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest

from libs.common.auth import Authenticator, TokenVerifier
from libs.common.contracts.identity import FULL_PERMISSIONS, Account, AccountKind, Key
from libs.common.directory import Directory, key_hash
from libs.common.problems import Unauthenticated
from services.registry.git_access import principal

KEY = "simAAAA+AAAA/AAAAAAAAAAAAAA1"
JOE = Account(id=uuid4(), name="joe", kind=AccountKind.USER)


class Passwords:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def verify_password(self, username: str, password: str) -> Account | None:
        self.asked.append((username, password))
        return JOE if (username, password) == ("joe", "pass:word/%2F ü") else None


async def no_keys() -> dict[str, object]:
    return {"keys": []}


def basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


class Door:
    def __init__(self) -> None:
        self.passwords = Passwords()
        self.directory = Directory()
        self.directory.apply("account:joe", JOE.model_dump(mode="json"))
        key = Key(id=uuid4(), owner="joe", permissions=FULL_PERMISSIONS)
        self.directory.apply(f"key:{key_hash(KEY)}", key.model_dump(mode="json"))

    async def name(self, authorization: str | None) -> str:
        authenticator = Authenticator(TokenVerifier(no_keys), self.directory)
        return (await principal(authorization, authenticator, self.directory, self.passwords)).name


@pytest.mark.parametrize("user", ["joe", "x"])
@pytest.mark.parametrize("secret", [KEY, KEY.replace("/", "%2F"), KEY.replace("/", "%2f").replace("+", "%2B")])
async def test_a_key_is_accepted_as_it_is_and_percent_encoded(user: str, secret: str) -> None:
    door = Door()
    assert await door.name(basic(user, secret)) == "joe"
    assert door.passwords.asked == []


async def test_a_password_may_have_any_characters() -> None:
    assert await Door().name(basic("joe", "pass:word/%2F ü")) == "joe"


async def test_other_schemes_of_the_platform_work_too() -> None:
    assert await Door().name(f"Simple {KEY}") == "joe"
    assert await Door().name(f"Bearer {KEY}") == "joe"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        basic("joe", ""),
        basic("joe", "wrong"),
        basic("ann", KEY),
        basic("", KEY),
        basic("ann", "pass:word/%2F ü"),
        basic("joe", "simAAAAAAAAAAAAAAAAAAAAAAAA1"),
        "Bearer a.b.c",
        "Simple nothing",
    ],
)
async def test_everything_else_is_challenged(authorization: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await Door().name(authorization)
    assert refused.value.headers["WWW-Authenticate"].startswith("Basic realm=")
