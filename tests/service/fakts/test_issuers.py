"""Trusted issuers: whose tokens work, for whom, and until when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import OctKey

from tests.service.fakts.running import ORIGIN, RunningFakts
from tests.support.eventually import UNASKED, eventually
from tests.support.issuer import Issuer, rsa_key


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer().serve() as started:
        yield started


async def trust(fakts: RunningFakts, issuer: Issuer, **more: Any) -> dict[str, Any]:
    """Trust it, and wait until fakts itself does."""
    body = {"issuer": issuer.url, "audience": "platform", **more}
    made: dict[str, Any] = await fakts.ask("POST", "/admin/v1/issuers", 201, json=body)
    directory = fakts.app.state.authenticator.foreign._directory
    await eventually(lambda: made["id"] in directory.issuers, timeout=UNASKED)
    return made


async def ask(fakts: RunningFakts, token: str, path: str = "/v1/users/jane") -> tuple[int, str]:
    answer = await fakts.http.get(path, headers={"authorization": f"Bearer {token}"})
    return answer.status_code, answer.text


async def test_a_user_comes_with_its_first_token_and_is_known_from_then_on(
    fakts: RunningFakts, issuer: Issuer
) -> None:
    made = await trust(fakts, issuer)
    assert (await fakts.ask("GET", "/admin/v1/issuers", 200))["items"] == [made]
    jane: dict[str, Any] = {"preferred_username": "jane", "email": "jane@example.org"}
    assert (await ask(fakts, issuer.token(**jane)))[0] == 200
    assert (await fakts.ask("GET", "/v1/users/jane", 200))["email"] == "jane@example.org"
    renamed = issuer.token(preferred_username="janet")
    assert (await ask(fakts, renamed))[0] == 200, "the subject counts, not the name"
    assert (await ask(fakts, issuer.token(), "/v1/users/jane"))[0] == 200, "who is known needs no name"
    assert (await ask(fakts, issuer.token(**jane), "/admin/v1/users"))[0] == 403
    other = issuer.token(sub="2", preferred_username="2.Jo hn@corp.example", email="JANE@example.org")
    assert (await ask(fakts, other, "/v1/users/Jo_hn"))[0] == 200
    assert (await fakts.ask("GET", "/v1/users/Jo_hn", 200))["email"] is None

    own = {"authorization": f"Bearer {renamed}"}
    new = {"key_label": "x", "permissions": {"allow_algo": True}}
    assert (await fakts.ask("POST", "/v1/users/jane/keys", 201, json=new, headers=own))["owner_name"] == "jane"

    issuer.keys = [rsa_key("two")]
    fakts.context.foreign._verifiers.clear()  # which fetch at most once a second
    assert (await ask(fakts, issuer.token()))[0] == 200, "keys are rotated"

    await fakts.ask("DELETE", "/v1/users/jane", 204)

    async def refused() -> bool:
        return (await ask(fakts, renamed))[0] == 401

    await eventually(refused, timeout=UNASKED)
    status, words = await ask(fakts, issuer.token(preferred_username="jane", jti="new"))
    assert (status, "no longer active" in words) == (401, True)


async def test_a_token_that_is_not_all_right_is_refused(fakts: RunningFakts, issuer: Issuer) -> None:
    await trust(fakts, issuer)
    secret = OctKey.import_key("a secret that is long enough to sign with", {"kid": "one"})
    bad = {
        "audience": issuer.token(preferred_username="jane", aud="elsewhere"),
        "audiences": issuer.token(preferred_username="jane", aud=["a", "b"]),
        "no audience": issuer.token(preferred_username="jane", aud=None),
        "expired": issuer.token(preferred_username="jane", exp=int(time.time()) - 60),
        "endless": issuer.token(preferred_username="jane", exp=None),
        "not yet": issuer.token(preferred_username="jane", nbf=int(time.time()) + 3000),
        "no subject": issuer.token(preferred_username="jane", sub=None),
        "subject": issuer.token(preferred_username="jane", sub="x\x00"),
        "no name": issuer.token(),
        "name": issuer.token(preferred_username={"jane": 1}),
        "key": issuer.token(preferred_username="jane", key=rsa_key("two")),
        "shared secret": issuer.token(preferred_username="jane", key=secret, algorithm="HS256"),
        "other issuer": issuer.token(preferred_username="jane", iss="https://other.example"),
        "cut": issuer.token(preferred_username="jane")[:-4],
    }
    for what, token in bad.items():
        assert (await ask(fakts, token))[0] == 401, what
    await fakts.ask("GET", "/v1/users/jane", 404)
    both = issuer.token(preferred_username="jane", aud=["elsewhere", "platform"])
    assert (await ask(fakts, both))[0] == 200


async def test_an_account_that_was_here_before_is_not_taken_over_but_can_be_bound(
    fakts: RunningFakts, issuer: Issuer
) -> None:
    made = await trust(fakts, issuer, username_claim="nick")
    admin = issuer.token(nick="ADMIN")
    assert (await ask(fakts, admin, "/v1/users/admin"))[0] == 404
    assert (await ask(fakts, admin, "/v1/users/ADMIN2"))[0] == 200
    account = next(one for one in fakts.app.state.authenticator.foreign._directory.accounts.values() if one.staff)
    claims: dict[str, Any] = {"preferred_username": account.name, "scope": "admin", "nick": "admin"}
    assert (await ask(fakts, issuer.token(sub=str(account.id), **claims), "/admin/v1/users"))[0] == 403
    users = f"/admin/v1/issuers/{made['id']}/users"
    await fakts.ask("POST", users, 404, json={"subject": "1", "username": "nobody"})
    for subject in ("1", "new"):
        bound = await fakts.ask("POST", users, 201, json={"subject": subject, "username": "admin"})
        assert bound == {"issuer": issuer.url, "subject": subject, "username": "admin"}
        assert (await ask(fakts, issuer.token(sub=subject, jti="fresh"), "/admin/v1/users"))[0] == 200


async def test_trust_ends_everywhere(fakts: RunningFakts, issuer: Issuer) -> None:
    made = await trust(fakts, issuer, jwks_uri=f"{issuer.url}/jwks")
    token = issuer.token(preferred_username="jane")
    _, service = await fakts.join("registry")
    exchanged = await fakts.ask("POST", "/internal/tokens/exchange", 200, json={"token": token}, headers=service)
    assert (exchanged["account"]["name"], exchanged["issuer_id"]) == ("jane", made["id"])
    assert (await ask(fakts, token))[0] == 200
    await fakts.ask("DELETE", f"/admin/v1/issuers/{made['id']}", 204)

    async def refused() -> bool:
        return (await ask(fakts, token))[0] == 401

    await eventually(refused, timeout=UNASKED)
    await fakts.ask("POST", "/internal/tokens/exchange", 401, json={"token": token}, headers=service)
    await fakts.ask("DELETE", f"/admin/v1/issuers/{made['id']}", 404)
    await trust(fakts, issuer)
    assert (await ask(fakts, token))[0] == 200, "its users are who they were"


async def test_an_issuer_that_cannot_be_checked_is_not_trusted(fakts: RunningFakts, issuer: Issuer) -> None:
    async def refused(words: str, **body: str) -> None:
        answer = await fakts.ask("POST", "/admin/v1/issuers", 400, json={"audience": "platform", **body})
        assert words in answer["detail"]

    await refused("own issuer", issuer=ORIGIN)
    await refused("address starts with", issuer="ftp://example.org")
    await refused("status 404", issuer=issuer.url, jwks_uri=f"{issuer.url}/none")
    await refused("another issuer", issuer=f"{issuer.url}/")
    issuer.metadata = {"jwks_uri": f"{issuer.url.replace('127.0.0.1', 'localhost')}/jwks"}
    await refused("is not an https address", issuer=issuer.url)
    issuer.metadata = {"jwks_uri": "https://127.0.0.1:9/jwks"}
    await refused("is not a public address", issuer=issuer.url)
    issuer.metadata = {"jwks_uri": "https://[::1/jwks"}
    await refused("is no address", issuer=issuer.url)
    issuer.metadata = {}
    issuer.keys = []
    await refused("no RSA key", issuer=issuer.url)
    assert (await fakts.ask("GET", "/admin/v1/issuers", 200))["items"] == []
    issuer.keys = [rsa_key("one")]
    await trust(fakts, issuer)
    again = {"issuer": issuer.url, "audience": "platform"}
    await fakts.ask("POST", "/admin/v1/issuers", 409, json=again)
