"""What an author does with a platform, through the public names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import constellation
from libs.common.connect import addresses, app
from libs.common.connect import connect as entry
from tests.unit.connect.platform import MANIFEST, STATS, URL, Platform

NEEDY = {**MANIFEST, "requirements": [STATS]}
HERE, THERE = "http://here.example:1", "http://there.example:2"


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between polls, nothing is remembered for long, and the user has no configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in (entry.URL, entry.MANDATE_KEY, entry.REDEEM_TOKEN, entry.ALLOW_INSECURE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(addresses, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(app, "_REDISCOVER_SECONDS", 0.0)


def connect(platform: Platform, manifest: dict[str, Any] = MANIFEST, **options: Any) -> Any:
    return constellation.connect(URL, manifest, transport=platform.transport, redeem_token="redeem", **options)


@pytest.mark.parametrize(
    ("value", "body", "media_type"),
    [
        ("ein Text", b"ein Text", "text/plain"),
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        ({"a": [1, None]}, b'{"a":[1,null]}', "application/json"),
        (None, b"null", "application/json"),
    ],
)
async def test_an_algorithm_gets_what_it_is_given(
    platform: Platform, value: Any, body: bytes, media_type: str
) -> None:
    seen: list[httpx.Request] = []

    def echo(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        metadata = {"content_type": "binary", "duration": 0.5, "stdout": "printed"}
        return httpx.Response(200, json={"result": "AP8=", "metadata": metadata, "request_id": "r1"})

    platform.calls["/v1/algo/ana/hello/1.*"] = echo
    async with connect(platform) as lab:
        answer = await lab.algo("algo://ana/hello/1.*", seconds=30, stdout=True).pipe(value)
        assert seen[0].headers["authorization"] == f"Bearer {await lab.token()}"
    assert answer == constellation.Answer(b"\x00\xff", "binary", 0.5, "r1", "printed")
    assert (seen[0].content, seen[0].headers["content-type"]) == (body, media_type)
    assert dict(seen[0].url.params) == {"timeout": "30", "stdout": "true"}


async def test_what_goes_wrong_in_a_call_is_told(platform: Platform) -> None:
    error = {"message": "the text has no words", "error_type": "InputError", "stacktrace": "File x"}
    body = {"error": error, "metadata": {"duration": 0.1}, "request_id": "r1"}
    platform.calls["/v1/algo/ana/hello"] = lambda _: httpx.Response(200, json=body)
    platform.calls["/v1/algo/ana/odd"] = lambda _: httpx.Response(502, text="<html>")
    async with connect(platform) as lab:
        with pytest.raises(constellation.CallFailed, match="no words") as failed:
            await lab.algo("ana/hello").pipe("")
        seen = failed.value
        assert (seen.kind, seen.stack, seen.status, seen.request_id) == ("InputError", "File x", 200, "r1")
        with pytest.raises(constellation.CallFailed, match="there is none") as failed:
            await lab.algo("ana/nothing").pipe("")
        assert failed.value.status == 404
        with pytest.raises(constellation.CallFailed, match="answered 502"):
            await lab.algo("ana/odd").pipe("")
        with pytest.raises(ValueError, match="JSON"):
            await lab.algo("ana/hello").pipe(float("nan"))
        platform.down = True
        with pytest.raises(constellation.Unreachable, match="cannot be reached"):
            await lab.algo("ana/hello").pipe("")


async def test_a_token_that_is_refused_is_renewed_and_the_call_goes_on(platform: Platform) -> None:
    platform.calls["/v1/algo/ana/hello"] = lambda _: httpx.Response(200, json={"result": 1, "metadata": {}})
    async with connect(platform) as lab:
        platform.refused.add(await lab.token())
        assert (await lab.algo("ana/hello").pipe("")).result == 1

        async def once() -> AsyncIterator[bytes]:
            yield b"once"

        platform.refused.add(await lab.token())
        streamed = await lab.request("POST", "/v1/algo/ana/hello", content=once())
        assert streamed.status_code == 401
        platform.end()
        with pytest.raises(constellation.NeedsLogin, match="Log in again"):
            await lab.algo("ana/hello").pipe("")


async def test_a_services_address_is_one_that_answers_and_what_answers_is_reported(platform: Platform) -> None:
    platform.offer(THERE, HERE)
    platform.alive = {HERE}
    extra = {"key": "extra", "service": "org.example.extra", "optional": True}
    platform.statuses["extra"] = "denied"
    async with connect(platform, {**MANIFEST, "requirements": [STATS, extra]}) as lab:
        assert await lab.service("stats") == HERE
        with pytest.raises(constellation.Unavailable, match="declined 'extra'") as missing:
            await lab.service("extra")
        assert missing.value.requirement == "extra"
        with pytest.raises(constellation.Unavailable, match="its keys: stats, extra"):
            await lab.service("other")
        answer = (await lab.request("GET", "/numbers", service="stats")).json()
        assert answer == {"path": "/numbers", "token": f"Bearer {await lab.token()}"}
    assert platform.reports == [
        {
            "functional": True,
            "alias_reports": {
                "stats": {"alias_id": "1", "reason": None, "valid": True},
                "extra": {"alias_id": None, "reason": "not granted", "valid": True},
            },
        }
    ]


async def test_a_service_that_moved_is_found_again(platform: Platform) -> None:
    platform.offer(THERE)
    platform.alive = {THERE}
    async with connect(platform, NEEDY) as lab:
        assert await lab.service("stats") == THERE
        platform.offer(HERE)
        platform.alive = {HERE}
        assert (await lab.request("GET", "/numbers", service="stats")).status_code == 200
        assert await lab.service("stats") == HERE
        platform.alive = set()
        with pytest.raises(constellation.Unavailable, match="no address of 'stats'"):
            await lab.service("stats")


async def test_a_requirement_that_is_not_there_ends_the_attempt(platform: Platform) -> None:
    platform.statuses["stats"] = "unavailable"
    with pytest.raises(constellation.Unavailable, match=r"offers no org\.example\.stats"):
        async with connect(platform, NEEDY):
            pass
    assert platform.reports[0]["functional"] is False
    platform.offer(THERE)
    async with connect(platform, NEEDY, keep=False):
        pass
    assert platform.reports[1]["functional"] is False


async def test_the_environment_says_where_and_as_whom(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(entry.URL, f"{URL}/")
    monkeypatch.setenv(entry.MANDATE_KEY, "mandate")
    async with constellation.connect(manifest=MANIFEST, transport=platform.transport) as lab:
        assert (lab.url, lab.account, lab.scopes) == (URL, "ana", frozenset({"openid", "algo:call"}))
    assert platform.forms[0]["key"] == "mandate"
    async with connect(platform):
        pass
    assert platform.forms[1]["redeem_token"] == "redeem"
    monkeypatch.delenv(entry.MANDATE_KEY)
    monkeypatch.setenv(entry.REDEEM_TOKEN, "redeem")
    manifest = constellation.Manifest.model_validate(MANIFEST)
    async with constellation.connect(manifest=manifest, transport=platform.transport, keep=tmp_path / "own"):
        pass
    assert platform.forms[2]["redeem_token"] == "redeem"
    devices = [json.loads(form["manifest"])["device_id"] for form in platform.forms]
    assert devices[0] is None
    assert devices[1]
    assert devices[1] != devices[2]
    assert len(list((tmp_path / "own").glob("*.json"))) == 1


async def test_what_cannot_be_connected_is_told(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(constellation.ConnectFailed, match="FAKTS_URL"):
        async with constellation.connect(manifest=MANIFEST):
            pass
    with pytest.raises(constellation.ConnectFailed, match="identifier: Field required"):
        async with constellation.connect(URL, {"version": "1"}):
            pass
    with pytest.raises(constellation.ConnectFailed, match="not encrypted"):
        async with constellation.connect("http://lab.example", MANIFEST):
            pass
    monkeypatch.setenv(entry.ALLOW_INSECURE, "1")
    with pytest.raises(constellation.NeedsLogin, match="nobody to ask"):
        async with constellation.connect("http://lab.example", MANIFEST, prompt=None, transport=platform.transport):
            pass


def test_a_program_without_async_does_the_same(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.offer(HERE)
    platform.alive = {HERE}
    platform.calls["/v1/algo/ana/hello"] = lambda _: httpx.Response(200, json={"result": 1, "metadata": {}})
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    shown: list[constellation.DeviceLogin] = []
    with constellation.connect_sync(
        URL, NEEDY, prompt=shown.append, open_browser=True, transport=platform.transport
    ) as lab:
        assert lab.algo("ana/hello").pipe([1]).result == 1
        assert lab.service("stats") == HERE
        assert lab.request("GET", "/x", service="stats").json()["token"] == f"Bearer {lab.token()}"
        assert (lab.url, lab.account, lab.statuses) == (URL, "ana", {"stats": "granted"})
        assert "algo:call" in lab.scopes
        lab.logout()
        with pytest.raises(constellation.NeedsLogin):
            lab.token()
    assert [one.url for one in shown] == opened == [f"{URL}/configure/ABCD1234"]
    with (
        pytest.raises(constellation.NeedsLogin),
        constellation.connect_sync(URL, MANIFEST, prompt=None, transport=platform.transport),
    ):
        pass


def test_importing_it_costs_nothing_and_every_name_is_there() -> None:
    program = "import sys, json, constellation; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert not [name for name in loaded if name.partition(".")[0] in ("httpx", "pydantic", "services", "libs")]
    program = (
        "import sys, json, constellation; constellation.connect; constellation.connect_sync;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(done.stdout) if name.partition(".")[0] in ("services", "fastapi")]
    for name in constellation.__dir__():
        assert getattr(constellation, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'disconnect'"):
        _ = constellation.disconnect
