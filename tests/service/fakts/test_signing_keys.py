"""Tokens, and the keys they are signed with, as those see them who check them."""

from __future__ import annotations

import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import select, update

from constellation.bundle import signature
from services.fakts.models import SigningKey
from tests.service.fakts.running import JOIN_TOKEN, ORIGIN, RunningFakts, running, settings_for
from tests.support.eventually import eventually


async def token(fakts: RunningFakts) -> str:
    answer = await fakts.login(JOIN_TOKEN, "constellation.worker")
    issued: str = answer.json()["access_token"]
    return issued


async def published(fakts: RunningFakts) -> KeySet:
    answer = await fakts.http.get("/o/jwks/")
    assert answer.headers["content-type"] == "application/json"
    for key in answer.json()["keys"]:
        assert {"kty", "kid", "n", "e", "use", "alg"} == set(key)
        assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    return KeySet.import_key_set(answer.json())


async def test_a_token_says_who_it_is_for_and_verifies_against_the_published_keys(fakts: RunningFakts) -> None:
    answer = (await fakts.login(JOIN_TOKEN, "constellation.worker", version="1.2.3")).json()
    decoded = jwt.decode(answer["access_token"], await published(fakts), algorithms=["RS256"])
    claims = decoded.claims
    assert decoded.header["kid"]
    assert claims["client_id"] == claims["sub"] == answer["client_id"]
    assert (claims["iss"], claims["aud"], claims["scope"]) == (ORIGIN, "constellation", "service")
    assert (claims["client_app"], claims["client_release"]) == ("constellation.worker", "1.2.3")
    assert (claims["preferred_username"], claims["roles"], claims["active_org"]) == ("constellation.worker", [], None)
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == 3600
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["jti"] != jwt.decode(await token(fakts), await published(fakts)).claims["jti"]


async def test_a_rotated_key_is_published_before_it_signs_and_the_old_one_after(
    fakts_url: str, tmp_path: Path
) -> None:
    async with running(settings_for(fakts_url, tmp_path, signing_key_lead_seconds=1)) as fakts:
        before = await token(fakts)
        rotated = await fakts.ask("POST", "/admin/v1/signing-keys/rotate", 202)
        assert await fakts.ask("POST", "/admin/v1/signing-keys/rotate", 202) == rotated
        keys = await published(fakts)
        old_kid = jwt.decode(before, keys).header["kid"]
        assert {key.kid for key in keys.keys} == {old_kid, rotated["kid"]}
        assert old_kid != rotated["kid"]

        async def new_signs() -> bool:
            return bool(jwt.decode(await token(fakts), keys).header["kid"] == rotated["kid"])

        await eventually(new_signs)
        after = await token(fakts)
        for issued in (before, after):
            assert jwt.decode(issued, await published(fakts), algorithms=["RS256"]).claims["scope"] == "service"
            answer = await fakts.http.get("/internal/feeds/identity", headers={"authorization": f"Bearer {issued}"})
            assert answer.status_code == 200


async def test_a_key_that_another_instance_made_signs_when_its_time_has_come(fakts_url: str, tmp_path: Path) -> None:
    settings = settings_for(fakts_url, tmp_path, signing_key_lead_seconds=2)
    async with running(settings) as fakts, running(settings) as other:
        before = jwt.decode(await token(other), await published(other)).header["kid"]
        rotated = (await fakts.ask("POST", "/admin/v1/signing-keys/rotate", 202))["kid"]
        assert before != rotated

        async def new_signs() -> bool:
            return bool(jwt.decode(await token(fakts), await published(fakts)).header["kid"] == rotated)

        await eventually(new_signs)
        assert jwt.decode(await token(other), await published(fakts)).header["kid"] == rotated


async def test_a_request_that_is_refused_leaves_the_keys_to_others(fakts: RunningFakts) -> None:
    headers = {"authorization": f"Bearer {(await token(fakts))[:-8]}AAAAAAAA"}
    said = {"functional": True, "alias_reports": {}}
    await fakts.context.keys.maintain()  # so that whoever comes next reads them anew
    assert (await fakts.http.post("/lok/f/report/", json=said, headers=headers)).status_code == 401
    assert (await fakts.login(JOIN_TOKEN, "constellation.worker")).status_code == 200


async def test_a_key_that_no_living_token_needs_is_deleted(fakts_url: str, tmp_path: Path) -> None:
    short = settings_for(
        fakts_url, tmp_path, signing_key_lead_seconds=1, access_token_seconds=60, signing_key_grace_seconds=0
    )
    async with running(short) as fakts:
        first = (await published(fakts)).keys[0].kid
        second = (await fakts.ask("POST", "/admin/v1/signing-keys/rotate", 202))["kid"]
        await fakts.context.keys.maintain()
        assert len((await published(fakts)).keys) == 2
        async with fakts.context.database.transaction() as session:
            row = (await session.scalars(select(SigningKey).where(SigningKey.kid == second))).one()
            past = row.signs_from.replace(year=row.signs_from.year - 1)
            older = past.replace(year=past.year - 1)
            await session.execute(update(SigningKey).where(SigningKey.kid == first).values(signs_from=older))
            await session.execute(update(SigningKey).where(SigningKey.kid == second).values(signs_from=past))
        await fakts.context.keys.maintain()
        left = {key.kid for key in (await published(fakts)).keys}
        assert first not in left
        assert second in left
        assert len(left) == 2  # it has signed for a year, so the next one is published


async def test_private_keys_are_sealed_at_rest(fakts: RunningFakts) -> None:
    async with fakts.context.database.transaction() as session:
        row = (await session.scalars(select(SigningKey))).one()
    assert b"PRIVATE" not in row.private
    assert "d" not in row.public
    assert b"PRIVATE" in fakts.context.master.open(row.private, name=f"signing key {row.kid}")


async def test_a_bundles_digest_is_signed_for_the_registry_alone_and_is_no_token(fakts: RunningFakts) -> None:
    _, registry = await fakts.join("registry")
    _, worker = await fakts.join("worker")
    body = {"sha256": "ab" * 32}
    await fakts.ask("POST", "/internal/signatures", 403, json=body, headers=worker)
    await fakts.ask("POST", "/internal/signatures", 400, json={"sha256": "../x"}, headers=registry)
    answer = await fakts.ask("POST", "/internal/signatures", 200, json=body, headers=registry)
    signed = signature.read(answer["signature"].encode(), "it")
    assert signed.sha256 == body["sha256"]
    assert signature.is_among(signed.thumbprint, (await fakts.http.get("/o/jwks/")).json())
    again = await fakts.ask("POST", "/internal/signatures", 200, json=body, headers=registry)
    assert again == answer, "the same is signed to the same"
    bearer = {"authorization": f"Bearer {answer['signature']}"}
    assert (await fakts.http.get("/internal/feeds/identity", headers=bearer)).status_code == 401
