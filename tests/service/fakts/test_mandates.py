"""Logging in with a mandate key: services of the platform, and apps with nobody there."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from libs.common import db
from libs.common.contracts.joining import MANDATE_GRANT
from services.fakts import locks
from tests.service.fakts.logging_in import claims_of
from tests.service.fakts.running import JOIN_TOKEN, RunningFakts, others_wait, running, settings_for
from tests.support.eventually import eventually

SERVICE = {
    "service": "org.example.probe",
    "instance": "probe-1",
    "aliases": [
        {"id": "a", "host": "127.0.0.1", "port": 1, "ssl": False, "path": "gone", "challenge": "ht"},
        {"id": "b", "host": "127.0.0.1", "port": 8799, "ssl": False, "path": "probe", "challenge": "ht"},
    ],
}
KEY = {"kind": "ed25519", "key": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="}


def needs(key: str, service: str, *, optional: bool = False) -> dict[str, Any]:
    return {"key": key, "service": service, "optional": optional, "description": None}


def refusal(answer: httpx.Response, error: str, *words: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == error, body
    for word in words:
        assert word in body["error_description"], body


async def test_a_service_gets_its_credential_its_configuration_and_no_refresh_token(
    fakts_url: str, tmp_path: Path
) -> None:
    secrets: dict[str, Any] = {
        "bus_url": SecretStr("amqp://u:p@bus/"),
        "blob_url": SecretStr("s3://bucket"),
        "public_url": "https://platform.test",
    }
    async with running(settings_for(fakts_url, tmp_path, **secrets)) as fakts:
        found = {}
        for name in ("registry", "deployer", "worker", "gateway"):
            body = (await fakts.login(JOIN_TOKEN, f"constellation.{name}")).json()
            assert "refresh_token" not in body
            assert (body["token_type"], body["scope"]) == ("Bearer", "service")
            found[name] = body["configuration"]
        master = fakts.context.master
        bus = {"bus_url": "amqp://u:p@bus/", "public_url": "https://platform.test"}
        assert found == {
            "registry": {
                **bus,
                "database_url": fakts_url,
                "blob_url": "s3://bucket",
                "secrets_key": master.secrets_key,
            },
            "deployer": {**bus, "database_url": fakts_url},
            "worker": bus,
            "gateway": {
                **bus,
                "database_url": fakts_url,
                "blob_url": "s3://bucket",
                "call_token_secret": master.call_token_secret,
                "edge_secret": master.edge_secret,
            },
        }


async def test_an_app_is_let_in_with_what_is_offered(fakts: RunningFakts) -> None:
    await fakts.ask("POST", "/admin/v1/services", 201, json={**SERVICE, "challenge_key": KEY})
    key = (await fakts.ask("POST", "/admin/v1/mandates", 201, json={"declined": []}))["key"]
    requirements = [
        needs("probe", "org.example.probe"),
        needs("extra", "org.example.probe", optional=True),
        needs("absent", "org.example.absent", optional=True),
    ]
    manifest: dict[str, Any] = {
        "scopes": ["openid", "read", "openid"],
        "requirements": requirements,
        "unknown": 1,
        "logo": None,
    }
    body = (await fakts.login(key, "org.example.app", **manifest)).json()
    assert set(body) == {
        "access_token",
        "expires_in",
        "token_type",
        "client_id",
        "scope",
        "self",
        "instances",
        "statuses",
    }
    assert body["scope"] == "openid read"
    assert isinstance(body["expires_in"], int)
    assert body["statuses"] == {"probe": "granted", "extra": "granted", "absent": "unavailable"}
    assert set(body["instances"]) == {"probe", "extra"}
    probe = body["instances"]["probe"]
    assert (probe["service"], probe["identifier"], probe["challenge_key"]) == ("org.example.probe", "probe-1", KEY)
    assert [alias["path"] for alias in probe["aliases"]] == ["gone", "probe"]
    assert {alias["kind"] for alias in probe["aliases"]} == {"absolute"}
    again = (await fakts.login(key, "org.example.app", **manifest)).json()
    assert again["client_id"] == body["client_id"]
    assert again["access_token"] != body["access_token"]
    elsewhere = (await fakts.login(key, "org.example.app", device_id="other", **manifest)).json()
    assert elsewhere["client_id"] != body["client_id"]


async def test_null_members_of_a_manifest_are_none(fakts: RunningFakts) -> None:
    key = (await fakts.mandate())["key"]
    body = (await fakts.login(key, "org.example.app", scopes=None, requirements=None, public_sources=None)).json()
    assert (body["scope"], body["instances"], body["statuses"]) == ("", {}, {})


async def test_a_required_service_that_is_not_offered_ends_the_login_in_words(fakts: RunningFakts) -> None:
    key = (await fakts.mandate())["key"]
    answer = await fakts.login(key, "org.example.app", requirements=[needs("x", "org.example.absent")])
    refusal(answer, "invalid_grant", "This deployment offers no org.example.absent.")


async def test_a_key_that_is_unknown_revoked_expired_or_for_others_is_refused(fakts: RunningFakts) -> None:
    refusal(await fakts.login("never-issued", "org.example.app"), "invalid_grant", "not known")
    refusal(await fakts.login("wrong-join-token-of-this", "constellation.worker"), "invalid_grant", "not known")
    revoked = await fakts.mandate()
    assert (await fakts.login(revoked["key"], "org.example.app")).status_code == 200
    await fakts.ask("DELETE", f"/admin/v1/mandates/{revoked['id']}", 204)
    await fakts.ask("DELETE", f"/admin/v1/mandates/{revoked['id']}", 204)
    await fakts.ask("DELETE", f"/admin/v1/mandates/{uuid4()}", 404)
    refusal(await fakts.login(revoked["key"], "org.example.app"), "invalid_grant", "revoked")
    expires = db.now() + timedelta(seconds=0.3)
    expired = await fakts.mandate(expires_at=expires.isoformat())
    await eventually(lambda: db.now() > expires)
    refusal(await fakts.login(expired["key"], "org.example.app"), "invalid_grant", "expired")
    other = await fakts.mandate(identifiers=["org.other.*", "com.exact"])
    refusal(await fakts.login(other["key"], "org.example.app"), "invalid_grant", "does not cover")
    assert (await fakts.login(other["key"], "org.other.app")).status_code == 200
    assert (await fakts.login(other["key"], "com.exact")).status_code == 200
    refusal(await fakts.login(other["key"], "com.exactly"), "invalid_grant", "does not cover")


async def test_a_login_that_waited_while_its_key_was_revoked_is_refused(fakts: RunningFakts) -> None:
    made = await fakts.mandate()
    async with fakts.context.database.transaction() as session:
        await locks.take(session, locks.JOINING)
        revoking = asyncio.create_task(fakts.ask("DELETE", f"/admin/v1/mandates/{made['id']}", 204))
        await others_wait(session, 1)
        login = asyncio.create_task(fakts.login(made["key"], "org.example.app"))
        await others_wait(session, 2)
    await revoking
    refusal(await login, "invalid_grant", "revoked")


async def test_only_a_mandate_for_services_lets_services_in_and_nothing_else(fakts: RunningFakts) -> None:
    app = (await fakts.mandate())["key"]
    for name in ("constellation.registry", "constellation.anything"):
        refusal(await fakts.login(app, name, scopes=["service"]), "invalid_grant", "does not cover")
    refusal(await fakts.login(JOIN_TOKEN, "org.example.app"), "invalid_grant", "does not cover")
    refusal(await fakts.login(JOIN_TOKEN, "constellation.fakts"), "invalid_grant", "does not cover")
    worker = (await fakts.mandate(kind="service", identifiers=["constellation.worker"]))["key"]
    refusal(await fakts.login(worker, "constellation.registry"), "invalid_grant", "does not cover")
    assert (await fakts.login(worker, "constellation.worker")).status_code == 200
    body = (await fakts.login(app, "org.example.app", scopes=["openid", "service"])).json()
    assert body["scope"] == "openid"
    headers = {"authorization": f"Bearer {body['access_token']}"}
    await fakts.ask("GET", "/internal/feeds/identity", 401, headers=headers)


async def test_services_that_launch_are_told_the_key_of_a_launchs_reports(fakts: RunningFakts) -> None:
    launch, other = str(uuid4()), str(uuid4())
    _, deployer = await fakts.join("deployer")
    _, worker = await fakts.join("worker")
    body, path = {"launch_id": launch}, "/internal/report-keys"
    asked = [fakts.ask("POST", path, 200, json=body, headers=deployer) for _ in range(3)]
    keys = {answer["key"] for answer in await asyncio.gather(*asked)}
    assert len(keys) == 1, "the same each time"
    [key] = keys
    await fakts.ask("POST", path, 403, json=body, headers=worker)
    await fakts.ask("POST", path, 403, json=body)
    manifest: dict[str, Any] = {"scopes": ["satellite:report"]}
    told = (await fakts.login(key, f"satellite.{launch}", **manifest)).json()
    assert (told["scope"], "refresh_token" in told) == ("satellite:report", False)
    claims = claims_of(told["access_token"])
    assert claims["sub"] == claims["client_id"] == told["client_id"]
    assert claims["client_app"] == f"satellite.{launch}"
    refusal(await fakts.login(key, f"satellite.{other}", **manifest), "invalid_grant", "does not cover")
    [mandate] = [
        one
        for one in (await fakts.ask("GET", "/admin/v1/mandates", 200))["items"]
        if launch in str(one["identifiers"])
    ]
    await fakts.ask("DELETE", f"/admin/v1/mandates/{mandate['id']}", 204)
    refusal(await fakts.login(key, f"satellite.{launch}", **manifest), "invalid_grant", "revoked")
    refused = await fakts.ask("POST", path, 409, json=body, headers=deployer)
    assert "were revoked" in refused["detail"]


async def test_a_counted_mandate_lets_in_so_many_clients_and_each_of_them_again(fakts: RunningFakts) -> None:
    one = (await fakts.mandate(kind="service", identifiers=["constellation.worker"], uses=1))["key"]
    device = str(uuid4())
    for _ in range(2):
        answer = await fakts.login(one, "constellation.worker", device_id=device)
        assert answer.json()["client_id"] == device
    refusal(await fakts.login(one, "constellation.worker", device_id=str(uuid4())), "invalid_grant", "as many")
    two = (await fakts.mandate(uses=2))["key"]
    answers = await asyncio.gather(*(fakts.login(two, "org.example.app", device_id=str(n)) for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 400, 400, 400, 400]


async def test_one_app_that_logs_in_many_times_at_once_is_one_client(fakts: RunningFakts) -> None:
    key = (await fakts.mandate())["key"]
    answers = await asyncio.gather(*(fakts.login(key, "org.example.app") for _ in range(25)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["client_id"] for answer in answers}) == 1


async def test_a_service_keeps_the_id_it_names_and_nobody_takes_anothers(fakts: RunningFakts) -> None:
    device = str(uuid4())
    assert (await fakts.login(JOIN_TOKEN, "constellation.worker", device_id=device)).json()["client_id"] == device
    worker = (await fakts.mandate(kind="service", identifiers=["constellation.*"]))["key"]
    assert (await fakts.login(worker, "constellation.worker", device_id=device)).json()["client_id"] == device
    answer = await fakts.login(JOIN_TOKEN, "constellation.gateway", device_id=device)
    refusal(answer, "invalid_grant", "belongs to another service")
    nameless = [(await fakts.login(JOIN_TOKEN, "constellation.worker")).json()["client_id"] for _ in range(2)]
    assert len({*nameless, device}) == 3
    for named in ({"device_id": "rack-7"}, {"node_id": "node-7"}):
        answers = [await fakts.login(JOIN_TOKEN, "constellation.worker", **named) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200], answers[-1].text
        assert answers[0].json()["client_id"] == answers[1].json()["client_id"]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


LEGAL = {"identifier": "org.example.app", "version": "1.0"}


async def test_a_malformed_manifest_is_refused_in_words(fakts: RunningFakts) -> None:
    cases = [
        ("", "manifest is missing"),
        ("{", "not JSON"),
        ("[" * 50_000, "not JSON"),
        (json.dumps({**LEGAL, "deep": deep(500)}), "nested deeper"),
        ("[]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        (json.dumps({"version": "1"}), "identifier"),
        (json.dumps({**LEGAL, "identifier": ""}), "identifier"),
        (json.dumps({**LEGAL, "identifier": "a/b"}), "identifier"),
        (json.dumps({**LEGAL, "identifier": "a" * 256}), "identifier"),
        (json.dumps({**LEGAL, "identifier": 7}), "identifier"),
        (json.dumps({"identifier": "org.example.app"}), "version"),
        (json.dumps({**LEGAL, "version": "1" * 256}), "version"),
        (json.dumps({**LEGAL, "version": "a\x00b"}), "NUL"),
        (json.dumps({**LEGAL, "nested": [{"\x00": 1}]}), "NUL"),
        (json.dumps({**LEGAL, "author": "\ud800"}), "surrogate"),
        (json.dumps({**LEGAL, "scopes": "openid"}), "scopes"),
        (json.dumps({**LEGAL, "scopes": ["two words"]}), "scope"),
        (json.dumps({**LEGAL, "requirements": {"a": 1}}), "requirements"),
        (json.dumps({**LEGAL, "requirements": ["a"]}), "requirements.0"),
        (json.dumps({**LEGAL, "requirements": [{"key": "a"}]}), "requirements.0.service"),
        (json.dumps({**LEGAL, "requirements": [{"key": "", "service": "s"}]}), "needs a key"),
        (json.dumps({**LEGAL, "requirements": [{"key": "a", "service": "s"}] * 2}), "'a' twice"),
        (json.dumps({**LEGAL, "requirements": [{"key": str(n), "service": "s"} for n in range(201)]}), "200"),
    ]
    key = (await fakts.mandate())["key"]
    for manifest, words in cases:
        form = {"grant_type": MANDATE_GRANT, "key": key, "manifest": manifest}
        refusal(await fakts.http.post("/o/token/", data=form), "invalid_request", words)
    for kind in ("relying_party", "\x00"):
        form = {**form, "manifest": json.dumps(LEGAL), "requested_client_kind": kind}
        refusal(await fakts.http.post("/o/token/", data=form), "invalid_request", "requested_client_kind")


async def test_a_huge_body_is_refused_at_its_size(fakts: RunningFakts) -> None:
    answer = await fakts.login(JOIN_TOKEN, "constellation.worker", description="x" * 300_000)
    refusal(answer, "invalid_request", "262144 bytes", status=413)
    large = await fakts.login(JOIN_TOKEN, "constellation.worker", of_the_future="x" * 200_000)
    assert large.status_code == 200


async def test_what_is_no_token_request_is_refused_in_oauths_words(fakts: RunningFakts) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"data": {}}, "invalid_request", "content-type"),
        ({"data": {"key": "k"}}, "invalid_request", "grant_type is missing"),
        ({"data": {"grant_type": "password"}}, "unsupported_grant_type", "mandate-key"),
        ({"data": {"grant_type": MANDATE_GRANT, "manifest": json.dumps(LEGAL)}}, "invalid_request", "key is missing"),
        ({"json": {"grant_type": MANDATE_GRANT}}, "invalid_request", "content-type"),
        ({"files": {"grant_type": b"x"}}, "invalid_request", "content-type"),
        ({"data": {"grant_type": ["a", "b"]}}, "invalid_request", "twice"),
        ({"data": {f"f{n}": "x" for n in range(60)}}, "invalid_request", "malformed"),
    ]
    for request, error, words in cases:
        refusal(await fakts.http.post("/o/token/", **request), error, words)


async def test_bytes_that_are_no_text_are_refused(fakts: RunningFakts) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"\xff\xfe=1", b"key=%ff%fe"):
        refusal(await fakts.http.post("/o/token/", content=body, headers=headers), "invalid_request", "malformed")


async def test_mandates_are_listed_without_their_keys_and_the_platforms_own_stays(fakts: RunningFakts) -> None:
    made = await fakts.mandate(note="for the lab", uses=3)
    key = made.pop("key")
    listed = (await fakts.ask("GET", "/admin/v1/mandates", 200))["items"]
    assert listed[1] == made
    assert (made["kind"], made["identifiers"], made["uses"], made["created_by"]) == ("app", ["*"], 3, "admin")
    assert key not in json.dumps(listed)
    own = await fakts.ask("DELETE", f"/admin/v1/mandates/{listed[0]['id']}", 409)
    assert "CONSTELLATION_JOIN_TOKEN" in own["detail"]


async def test_what_cannot_be_a_mandate_is_refused(fakts: RunningFakts) -> None:
    bodies: list[dict[str, Any]] = [
        {"kind": "other"},
        {"identifiers": []},
        {"identifiers": ["a/b"]},
        {"identifiers": ["*a*b*c*"]},
        {"kind": "service"},
        {"kind": "service", "identifiers": ["org.example.*"]},
        {"uses": 0},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"note": "x" * 201},
    ]
    for body in bodies:
        await fakts.ask("POST", "/admin/v1/mandates", 400, json=body)


async def test_a_mandate_needs_no_body(fakts: RunningFakts) -> None:
    made = await fakts.ask("POST", "/admin/v1/mandates", 201)
    assert (await fakts.login(made["key"], "any.app")).status_code == 200
