"""The well-known documents, on whatever origin they are asked."""

from __future__ import annotations

from pathlib import Path

from tests.service.fakts.running import JOIN_TOKEN, RunningFakts, running, settings_for


async def test_all_endpoints_are_on_the_origin_that_was_asked(fakts: RunningFakts) -> None:
    for host in ("127.0.0.1:8001", "localhost:8000", "[::1]:8000", "fakts.test"):
        await endpoints_are_on(fakts, host, f"http://{host}")


async def endpoints_are_on(fakts: RunningFakts, host: str, origin: str) -> None:
    answer = await fakts.http.get("/.well-known/fakts", headers={"host": host})
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["protocol_version"] == "2"
    assert document["name"] == "constellation"
    assert document["base_url"] == f"{origin}/lok/f/"
    assert document["token_endpoint"] == f"{origin}/o/token/"
    assert document["jwks_uri"] == f"{origin}/o/jwks/"
    assert document["issuer"] == origin
    assert document["device_authorization_endpoint"] == f"{origin}/o/app-authorization/"
    assert document["revocation_endpoint"] == f"{origin}/o/revoke/"
    assert document["configure"] == f"{origin}/configure/{{code}}"
    assert {"urn:fakts:grant-type:mandate-key", "refresh_token"} < set(document["grant_types_supported"])
    assert "retrieve_url" not in document


async def test_oauth_documents_name_the_same_endpoints(fakts: RunningFakts) -> None:
    document = (await fakts.http.get("/.well-known/fakts")).json()
    for name in ("openid-configuration", "oauth-authorization-server"):
        oauth = (await fakts.http.get(f"/.well-known/{name}")).json()
        for member in ("issuer", "token_endpoint", "jwks_uri", "grant_types_supported"):
            assert oauth[member] == document[member]


async def test_the_issuer_is_the_public_url_and_its_scheme_holds_for_its_host(fakts_url: str, tmp_path: Path) -> None:
    public = settings_for(fakts_url, tmp_path, public_url="https://platform.test")
    async with running(public) as fakts:
        through_edge = (await fakts.http.get("/.well-known/fakts", headers={"host": "platform.test"})).json()
        assert through_edge["token_endpoint"] == "https://platform.test/o/token/"
        direct = (await fakts.http.get("/.well-known/fakts", headers={"host": "10.0.0.1:8001"})).json()
        assert direct["token_endpoint"] == "http://10.0.0.1:8001/o/token/"
        assert through_edge["issuer"] == direct["issuer"] == "https://platform.test"
        joined = (await fakts.login(JOIN_TOKEN, "constellation.worker", host="platform.test")).json()
        assert joined["self"] == {
            "deployment_name": "constellation",
            "alias": {
                "id": "self",
                "host": "platform.test",
                "port": None,
                "ssl": True,
                "path": None,
                "challenge": "healthz",
                "kind": "absolute",
                "reach": None,
            },
        }


async def test_a_host_that_is_none_is_refused(fakts: RunningFakts) -> None:
    for host in ("evil.test/path", "a b", "x:99999", "x:0", "user@x", '"'):
        answer = await fakts.http.get("/.well-known/fakts", headers={"host": host})
        assert answer.status_code == 400
        assert "Host header" in answer.json()["detail"]
