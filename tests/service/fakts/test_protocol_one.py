"""Version 1 of the Fakts protocol over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import update

from libs.common import db
from services.fakts import locks
from services.fakts.body_limit import MAX_BODY
from services.fakts.models import Approval, Client
from services.fakts.oauth.headless import REDEEM_GRANT
from tests.service.fakts.running import ORIGIN, RunningFakts, shared
from tests.support.eventually import PATIENCE
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = {
    "service": "org.example.probe",
    "instance": "probe-1",
    "aliases": [
        {"id": "near", "host": "10.0.0.5", "port": 8090, "reach": "lan", "challenge": "ht"},
        {"id": "far", "host": "lab.example", "ssl": True, "path": "probe", "challenge": "ht"},
    ],
    "challenge_key": {"kind": "ed25519", "key": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="},
}
GUESSES = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    limits = {"starts_per_minute": 1000, "guesses_per_minute": GUESSES}
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **limits) as started:
        await started.ask("POST", "/admin/v1/services", 201, json=SERVICE)
        yield started


def manifest(**more: Any) -> dict[str, Any]:
    requirements = [
        {"key": "probe", "service": "org.example.probe"},
        {"key": "extra", "service": "org.example.probe", "optional": True},
        {"key": "absent", "service": "org.example.absent", "optional": True},
        {"key": "home", "service": "constellation", "optional": True},
        {"key": "inner", "service": "constellation.fakts", "optional": True},
    ]
    return {
        "identifier": "org.example.one",
        "version": "1",
        "scopes": ["openid", "read"],
        "requirements": requirements,
    } | more


async def call(
    fakts: RunningFakts, name: str, body: Any, *, address: str = "10.9.9.9", **headers: str
) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"x-forwarded-for": address, "content-type": "application/json", **headers}
    answer = await fakts.http.post(f"/lok/f/{name}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    if found["status"] == "error":
        assert found["error"] == found["message"] != ""
    return found


async def start(fakts: RunningFakts, **more: Any) -> str:
    body = {"manifest": manifest(), "expiration_time_seconds": 300, "requested_client_kind": "development", **more}
    answer = await call(fakts, "start/", body)
    assert answer["status"] == "granted", answer
    code: str = answer["code"]
    return code


async def approved(fakts: RunningFakts, **body: Any) -> str:
    """The claim token of an app that was let in."""
    code = await start(fakts)
    await fakts.ask("POST", f"/admin/v1/codes/{code}/approve", 200, json=body)
    token: str = (await call(fakts, "challenge/", {"code": code}))["token"]
    return token


async def test_start_challenge_and_claim_give_the_same_client_every_time(fakts: RunningFakts) -> None:
    code = await start(fakts)
    for _ in range(2):
        assert (await call(fakts, "challenge/", {"code": code}))["status"] == "pending"
    decided = await fakts.ask("POST", f"/admin/v1/codes/{code.lower()}/approve", 200, json={"declined": ["extra"]})
    answers = [await call(fakts, name, {"code": code}) for name in ("challenge/", "challenge", "challenge/")]
    assert {answer["status"] for answer in answers} == {"granted"}
    [token] = {answer["token"] for answer in answers}
    claimed = await call(fakts, "claim/", {"token": token, "secure": False})
    config = claimed["config"]
    assert config["auth"] == {
        "client_id": decided["client_id"],
        "client_secret": config["auth"]["client_secret"],
        "client_token": token,
        "token_url": f"{ORIGIN}/o/token/",
        "report_url": f"{ORIGIN}/lok/f/report/",
        "scopes": ["openid", "read"],
    }
    assert config["self"]["alias"]["host"] == "fakts.test"
    assert config["statuses"] == {
        "probe": "granted",
        "extra": "denied",
        "absent": "unavailable",
        "home": "granted",
        "inner": "unavailable",
    }
    assert set(config["instances"]) == {"probe", "home"}
    probe = config["instances"]["probe"]
    assert [alias["id"] for alias in probe["aliases"]] == ["near", "far"]
    assert {alias["kind"] for alias in probe["aliases"]} == {"absolute"}
    assert probe["challenge_key"] == SERVICE["challenge_key"]
    [home] = config["instances"]["home"]["aliases"]
    assert (home["host"], home["port"], home["challenge"]) == ("fakts.test", 8001, "healthz")
    far = await call(fakts, "claim", {"token": token}, address="8.8.8.8")
    assert [alias["id"] for alias in far["config"]["instances"]["probe"]["aliases"]] == ["far"]
    assert far["config"]["auth"] == config["auth"]

    secret = {"client_id": config["auth"]["client_id"], "client_secret": config["auth"]["client_secret"]}
    form = {"grant_type": "client_credentials", "scope": "openid read", **secret}
    granted = await fakts.http.post("/o/token/", data=form, auth=(secret["client_id"], secret["client_secret"]))
    assert granted.status_code == 200, granted.text
    assert set(granted.json()["scope"].split()) == {"openid", "read"}
    assert "refresh_token" not in granted.json()

    reports = {"probe": {"alias_id": "far", "reason": None, "valid": True}}
    body = {"alias_reports": reports, "functional": False}
    assert await call(fakts, "report/", {"token": token, **body}) == {"status": "reported"}
    assert (await call(fakts, "report", {"token": "never-issued", **body}))["status"] == "error"
    async with fakts.context.database.transaction() as session:
        client = await session.get_one(Client, decided["client_id"])
    assert client.report == body


async def test_a_denial_and_a_missing_service_are_told_in_words_and_an_expired_code_is_an_error(
    fakts: RunningFakts,
) -> None:
    code = await start(fakts)
    await fakts.ask("POST", f"/admin/v1/codes/{code}/deny", 200, json={"reason": "Not today."})
    assert await call(fakts, "challenge/", {"code": code}) == {"status": "denied", "message": "Not today."}
    needs = [{"key": "x", "service": "org.example.absent"}]
    code = await start(fakts, manifest=manifest(requirements=needs))
    words = "This deployment offers no org.example.absent."
    problem = await fakts.ask("POST", f"/admin/v1/codes/{code}/approve", 409)
    assert problem["detail"] == words
    assert await call(fakts, "challenge/", {"code": code}) == {"status": "denied", "message": words}
    code = await start(fakts)
    async with fakts.context.database.transaction() as session:
        await session.execute(update(Approval).where(Approval.state == "pending").values(expires_at=db.now()))
    for _ in range(3):
        answer = await call(fakts, "challenge/", {"code": code})
        assert (answer["status"], answer["error"]) == ("error", "The code has expired")
    await fakts.ask("POST", f"/admin/v1/codes/{code}/approve", 404)


async def test_whoever_was_revoked_claims_nothing(fakts: RunningFakts) -> None:
    token = await approved(fakts)
    assert (await call(fakts, "claim/", {"token": token}))["status"] == "granted"
    async with fakts.context.database.transaction() as session:
        await session.execute(update(Client).values(ended_at=db.now()))
    for name in ("claim/", "report/"):
        answer = await call(fakts, name, {"token": token})
        assert (answer["status"], answer["error"]) == ("error", "This token is not known, or was revoked.")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"manifest": {"identifier": "a", "identifier": "b"}}', "twice"),
        (b'{"manifest": ' + b"[" * 10_000, "not JSON"),
        (b" " * (MAX_BODY + 1), "larger than"),
        ({}, "manifest"),
        ({"manifest": "x"}, "not a JSON object"),
        ({"manifest": {"identifier": "a/b", "version": "1"}}, "identifier"),
        ({"manifest": {"identifier": "a", "version": "\x00"}}, "NUL"),
        ({"manifest": {"identifier": "constellation.worker", "version": "1"}}, "platform's own"),
        ({"manifest": {"identifier": "a", "version": "1"}, "requested_client_kind": "hub"}, "hubs"),
        ({"manifest": {"identifier": "a", "version": "1"}, "requested_platform_version": ">999"}, "the app wants"),
    ],
)
@pytest.mark.parametrize("name", ["start/", "retrieve"])
async def test_a_bad_start_is_answered_in_words(fakts: RunningFakts, name: str, body: Any, words: str) -> None:
    answer = await call(fakts, name, body)
    assert answer["status"] == "error"
    assert words in answer["error"]


async def test_other_calls_answer_bad_bodies_in_words(fakts: RunningFakts) -> None:
    good = {"identifier": "a", "version": "1"}
    for name, body in [
        ("challenge/", {}),
        ("challenge/", {"code": 1}),
        ("challenge/", {"code": "\ud800"}),
        ("claim/", {"token": None}),
        ("claim/", {"token": "never-issued"}),
        ("redeem/", {"manifest": good}),
        ("redeem/", {"token": "x"}),
        ("redeem/", {"token": "never-issued", "manifest": good}),
        ("redeem/", b"{"),
    ]:
        answer = await call(fakts, name, body, address="10.1.1.1")
        assert answer["status"] == "error", (name, answer)


async def test_who_guesses_codes_waits_and_learns_nothing_meanwhile(fakts: RunningFakts) -> None:
    code = await start(fakts)
    await fakts.ask("POST", f"/admin/v1/codes/{code}/approve", 200)
    for guess in range(GUESSES):
        assert (await call(fakts, "challenge/", {"code": f"BCDF-{guess}"}, address="6.6.6.6"))["status"] == "error"
    answers = [await call(fakts, "challenge/", {"code": one}, address="6.6.6.6") for one in (code, "BCDF-BCDF")]
    assert {answer["status"] for answer in answers} == {"waiting"}
    assert {tuple(answer) for answer in answers} == {("status", "error", "message")}
    assert (await call(fakts, "challenge/", {"code": code}))["status"] == "granted"
    from_elsewhere = {"x-forwarded-for": "6.6.6.6, 7.7.7.7"}
    answer = await fakts.http.post("/lok/f/challenge/", json={"code": code}, headers=from_elsewhere)
    assert answer.json()["status"] == "granted"


async def test_who_guesses_tokens_waits_too(fakts: RunningFakts) -> None:
    claimed = await approved(fakts)
    redeemed = (await fakts.ask("POST", "/admin/v1/redeem-tokens", 201))["token"]
    app = {"identifier": "org.example.app", "version": "1"}
    for number, name in enumerate(("claim/", "redeem/", "report/")):
        address = f"6.6.7.{number}"
        for guess in range(GUESSES):
            answer = await call(fakts, name, {"token": f"guess-{guess}", "manifest": app}, address=address)
            assert "too many" not in answer["error"]
        token = redeemed if name == "redeem/" else claimed
        answer = await call(fakts, name, {"token": token, "manifest": app}, address=address)
        assert "too many" in answer["error"]
        good = await call(fakts, name, {"token": token, "manifest": app})
        assert good["status"] == ("reported" if name == "report/" else "granted")


async def test_who_guesses_keeps_up_nobody_who_logs_in(fakts: RunningFakts) -> None:
    async with fakts.context.database.transaction() as session:
        await locks.take(session, locks.JOINING)
        async with asyncio.timeout(PATIENCE):
            body = {"token": "guess", "manifest": {"identifier": "org.example.app", "version": "1"}}
            assert "Invalid" in (await call(fakts, "redeem/", body, address="6.6.8.1"))["error"]


async def test_who_guesses_at_the_token_endpoint_is_told_to_slow_down(fakts: RunningFakts) -> None:
    form = {"grant_type": REDEEM_GRANT, "redeem_token": "guess", "manifest": json.dumps(manifest())}
    headers = {"x-forwarded-for": "6.6.9.1"}
    for _ in range(GUESSES):
        answer = await fakts.http.post("/o/token/", data=form, headers=headers)
        assert answer.json()["error"] == "invalid_grant"
    answer = await fakts.http.post("/o/token/", data=form, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
    assert int(answer.headers["retry-after"]) > 0


async def test_an_app_that_a_rule_lets_in_is_retrieved_as_the_same_client(fakts: RunningFakts) -> None:
    body = {"manifest": manifest(), "requested_client_kind": "website"}
    assert (await call(fakts, "retrieve/", body))["error"].startswith("This app is not let in by itself")
    rule = {"name": "known", "strategy": "approve", "account": "admin", "when": {"identifier": "org.example.*"}}
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": [rule]})
    try:
        answers = await asyncio.gather(*(call(fakts, "retrieve/", body) for _ in range(3)))
        [token] = {answer["token"] for answer in answers}
        other = await call(fakts, "retrieve/", {**body, "manifest": manifest(version="2")})
        assert other["token"] != token
        assert (await call(fakts, "claim/", {"token": token}))["status"] == "granted"
        needs = [{"key": "x", "service": "org.example.absent"}]
        missing = await call(fakts, "retrieve/", {"manifest": manifest(requirements=needs)})
        assert missing["error"] == "This deployment offers no org.example.absent."
        strange = await call(fakts, "retrieve/", {"manifest": manifest(identifier="com.strange")})
        assert "No rule" in strange["error"]
        code = await start(fakts, manifest=manifest(node_id=str(uuid4())))
        assert (await call(fakts, "challenge/", {"code": code}))["status"] == "granted"
    finally:
        await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": []})


async def test_starts_of_one_address_are_limited(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with shared(postgres, tmp_path_factory.mktemp("limited"), starts_per_minute=2) as limited:
        for _ in range(2):
            await start(limited)
        body = {"manifest": manifest()}
        assert "too many" in (await call(limited, "start/", body))["error"]
        answer = await limited.http.post("/o/app-authorization/", json=body, headers={"x-forwarded-for": "10.9.9.9"})
        assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
        assert int(answer.headers["retry-after"]) > 0
        assert (await call(limited, "start/", body, address="10.9.9.8"))["status"] == "granted"
