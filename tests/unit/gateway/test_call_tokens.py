"""Tokens with which algorithms act for their callers."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import asdict, replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.call_tokens import PREFIX, CallClaims, CallTokens, Grant, InvalidCallToken

NOW = 1_800_000_000
CLAIMS = CallClaims(
    account="joe",
    key="k",
    root="req-1",
    parent="req-2",
    depth=2,
    expires=NOW + 60,
    algorithm="a",
    data="r",
    may_chain=True,
)


def minted(tokens: CallTokens, claims: CallClaims = CLAIMS) -> str:
    members: dict[str, Any] = asdict(claims)
    del members["may_chain"]
    return tokens.mint(**members)


@pytest.fixture
def tokens() -> CallTokens:
    return CallTokens("secret")


@given(
    account=st.text(max_size=40),
    key=st.text(max_size=40),
    root=st.text(max_size=50),
    depth=st.integers(0, 100),
    expires=st.integers(NOW + 1, NOW + 10_000),
    secret=st.text(min_size=1, max_size=200),
)
def test_a_token_says_what_was_put_in(
    account: str, key: str, root: str, depth: int, expires: int, secret: str
) -> None:
    claims = replace(CLAIMS, account=account, key=key, root=root, depth=depth, expires=expires)
    tokens = CallTokens(secret)
    assert tokens.verify(minted(tokens, claims), NOW) == claims


def test_its_form_is_that_of_a_keyed_hash_over_the_claims(tokens: CallTokens) -> None:
    prefix, body, mac = minted(tokens).split(".")
    assert f"{prefix}." == PREFIX
    expected = hmac.digest(b"secret", body.encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(mac + "=") == expected
    claims = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims == {
        "a": "joe",
        "k": "k",
        "r": "req-1",
        "p": "req-2",
        "d": 2,
        "e": NOW + 60,
        "s": "a",
        "v": "r",
        "w": True,
    }


@pytest.mark.parametrize("grant", [Grant("s", "c"), Grant(issuer="i"), None])
def test_a_token_says_what_the_first_callers_token_rests_on(tokens: CallTokens, grant: Grant | None) -> None:
    assert tokens.verify(minted(tokens, replace(CLAIMS, grant=grant)), NOW).grant == grant


def test_secrets_longer_than_a_block_are_hashed_as_the_standard_says() -> None:
    secret = "s" * 100
    _, body, mac = minted(CallTokens(secret)).split(".")
    assert base64.urlsafe_b64decode(mac + "=") == hmac.digest(secret.encode(), body.encode(), hashlib.sha256)


def test_a_token_ends(tokens: CallTokens) -> None:
    token = minted(tokens)
    tokens.verify(token, NOW + 59.9)
    with pytest.raises(InvalidCallToken, match="over"):
        tokens.verify(token, NOW + 60)


def test_another_secret_does_not_verify_it(tokens: CallTokens) -> None:
    with pytest.raises(InvalidCallToken):
        CallTokens("other").verify(minted(tokens), NOW)


@given(st.integers(0, 10_000), st.integers(0, 127))
def test_no_character_of_it_can_be_changed(place: int, code: int) -> None:
    tokens = CallTokens("secret")
    token = minted(tokens)
    place %= len(token)
    changed = token[:place] + chr(code) + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(InvalidCallToken):
        tokens.verify(changed, NOW)


@pytest.mark.parametrize("text", ["", "cat.", "cat..", "cat.x", "cat.a.b.c", "cat.é.é", "eyJh.eyJh.x"])
def test_what_is_no_token_is_refused(tokens: CallTokens, text: str) -> None:
    with pytest.raises(InvalidCallToken):
        tokens.verify(text, NOW)


def test_there_are_no_tokens_without_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        CallTokens("")
