"""How an app gets in, and stays in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.connect.credentials import CredentialFile
from libs.common.connect.endpoints import Endpoints
from libs.common.connect.errors import ConnectFailed, Denied, Expired, NeedsLogin, Refused, Unreachable
from libs.common.connect.login import Login, in_terminal
from libs.common.connect.protocol import DeviceLogin
from libs.common.contracts.joining import Manifest
from tests.unit.connect.platform import MANIFEST, URL, Platform

PENDING = (400, {"error": "authorization_pending"})


class Patience:
    """Sleeps for no time, and tells how long it would have been."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
async def http(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=platform.transport) as client:
        yield client


Make = Callable[..., Login]


@pytest.fixture
def make(http: httpx.AsyncClient, tmp_path: Path) -> Make:
    """A login as another process of the same user would have it."""

    def made(manifest: dict[str, Any] = MANIFEST, **options: Any) -> Login:
        store = CredentialFile(tmp_path / "login.json")
        options = {"prompt": [].append, "sleep": Patience(), **options}
        return Login(Endpoints(http, URL), Manifest.model_validate(manifest), store, **options)

    return made


async def test_a_person_is_shown_a_code_and_the_login_is_kept(make: Make, platform: Platform, tmp_path: Path) -> None:
    shown: list[DeviceLogin] = []
    patience = Patience()
    platform.polls = [
        PENDING,
        (429, {"error": "slow_down"}),
        (502, {}),
        httpx.ReadTimeout("lost"),
        PENDING,
    ]
    login = make(prompt=shown.append, sleep=patience)
    await login.enter()
    assert [(one.url, one.code) for one in shown] == [(f"{URL}/configure/ABCD1234", "ABCD1234")]
    assert platform.started[0]["manifest"]["identifier"] == MANIFEST["identifier"]
    assert patience.slept == [1.0, 1.0, 6.0, 6.0, 6.0, 6.0]
    assert login.credential.account == "ana"
    kept = json.loads((tmp_path / "login.json").read_text())
    assert kept["refresh_token"] == "refresh-1"

    again = make(prompt=None)
    await again.enter()
    assert await again.token() == await login.token()
    assert len(platform.forms) == 6


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"error": "access_denied", "error_description": "Not this one."}, Denied, "Not this one."),
        ({"error": "expired_token"}, Expired, "nobody decided"),
        ({"error": "invalid_scope", "error_description": "there is no scope x"}, Refused, "no scope x"),
    ],
)
async def test_how_a_login_ends_otherwise(
    make: Make, platform: Platform, answer: dict[str, str], kind: type[Exception], words: str
) -> None:
    platform.polls = [PENDING, (400, answer)]
    with pytest.raises(kind, match=words):
        await make().enter()


async def test_waiting_ends_when_the_code_does(
    make: Make, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.polls = [PENDING] * 1000
    start = platform._start

    def soon_over(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={**start(request).json(), "expires_in": 0.02})

    monkeypatch.setattr(platform, "_start", soon_over)
    with pytest.raises(Expired, match="nobody decided"):
        await make(sleep=asyncio.sleep, prompt=lambda _: None).enter()


async def test_an_app_that_asks_for_more_is_approved_anew_and_the_old_login_ends(
    make: Make, platform: Platform
) -> None:
    await make().enter()
    await make({**MANIFEST, "version": "1.1"}).enter()
    assert len(platform.started) == 1
    await make({**MANIFEST, "scopes": ["openid", "data:read"]}).enter()
    assert len(platform.started) == 2
    assert platform.revoked == ["refresh-1"]


async def test_a_login_of_the_same_app_for_something_else_is_not_taken_for_ones_own(
    make: Make, platform: Platform
) -> None:
    one = make()
    await one.enter()
    other = make({**MANIFEST, "scopes": ["openid", "data:read"]})
    await other.enter()
    theirs = await other.token()
    with pytest.raises(NeedsLogin, match="for something else"):
        await one.token(refused=await one.token())
    again = make({**MANIFEST, "scopes": ["openid", "data:read"]}, prompt=None)
    await again.enter()
    assert await again.token() == theirs


async def test_a_token_is_renewed_in_time_and_by_one_process_only(make: Make, platform: Platform) -> None:
    platform.seconds = 0.0
    first = make()
    await first.enter()
    platform.seconds = 3600.0
    second, third = make(prompt=None), make(prompt=None)
    await asyncio.gather(second.enter(), third.enter())
    tokens = {await one.token() for one in (first, second, third)}
    assert len(tokens) == 1
    assert [form.get("refresh_token") for form in platform.forms] == [None, "refresh-1"]


async def test_a_refused_token_is_replaced_once_for_all_that_wait(make: Make, platform: Platform) -> None:
    login = make()
    await login.enter()
    old = await login.token()
    new = await asyncio.gather(*(login.token(refused=old) for _ in range(5)))
    assert len(set(new)) == 1
    assert new[0] != old
    assert len(platform.forms) == 2


async def test_a_revoked_login_is_forgotten(make: Make, platform: Platform, tmp_path: Path) -> None:
    login = make()
    await login.enter()
    platform.end()
    with pytest.raises(NeedsLogin, match=r"It was revoked\. Log in again"):
        await login.token(refused=await login.token())
    assert not (tmp_path / "login.json").exists()
    with pytest.raises(NeedsLogin, match="is not logged in"):
        await login.token()
    with pytest.raises(NeedsLogin, match="FAKTS_MANDATE_KEY"):
        await make(prompt=None).enter()
    await make().enter()
    assert len(platform.started) == 2


async def test_a_platform_that_is_away_is_forgiven_as_long_as_the_token_lasts(
    make: Make, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.connect.endpoints._AGAIN_SECONDS", (0.0, 0.0))
    login = make()
    await login.enter()
    token = await login.token()
    now = login.credential
    platform.down = True
    monkeypatch.setattr("time.time", lambda: now.renew_at + 1)
    assert await login.token() == token
    with pytest.raises(Unreachable, match="cannot be reached"):
        await login.token(refused=token)
    monkeypatch.setattr("time.time", lambda: now.expires_at + 1)
    with pytest.raises(Unreachable, match="cannot be reached"):
        await login.token()
    platform.down = False
    assert await login.token() != token


async def test_logging_out_is_told_and_ends_other_processes_logins(make: Make, platform: Platform) -> None:
    login, other = make(), make()
    await login.enter()
    await other.enter()
    token = await other.token()
    await login.log_out()
    assert platform.revoked == ["refresh-1"]
    with pytest.raises(NeedsLogin):
        await login.token()
    with pytest.raises(NeedsLogin, match="logged out"):
        await other.token(refused=token)


async def test_logging_out_forgets_even_when_nobody_is_told(make: Make, platform: Platform, tmp_path: Path) -> None:
    login = make()
    await login.enter()
    platform.down = True
    with pytest.raises(Unreachable):
        await login.log_out()
    assert not (tmp_path / "login.json").exists()


async def test_a_mandate_key_is_used_at_every_login_and_nothing_is_kept(
    make: Make, platform: Platform, tmp_path: Path
) -> None:
    platform.seconds = 0.0
    login = make(mandate_key="mandate")
    await login.enter()
    await login.token()
    assert {form["grant_type"] for form in platform.forms} == {"urn:fakts:grant-type:mandate-key"}
    assert json.loads(platform.forms[0]["manifest"])["identifier"] == MANIFEST["identifier"]
    assert not (tmp_path / "login.json").exists()
    platform.good_keys.clear()
    with pytest.raises(NeedsLogin, match="mandate key does not do: It was revoked"):
        await login.token()


async def test_a_redeem_token_is_spent_once(make: Make, platform: Platform) -> None:
    await make(redeem_token="redeem").enter()
    platform.good_keys.clear()
    again = make(redeem_token="redeem")
    await again.enter()
    platform.seconds = 0.0
    await again.token(refused=await again.token())
    grants = [form["grant_type"].rpartition(":")[2] for form in platform.forms]
    assert grants == ["redeem", "refresh_token"]
    platform.end()
    with pytest.raises(NeedsLogin, match="redeem token does not do"):
        await make(redeem_token="redeem", prompt=None).enter()


async def test_a_start_that_is_refused_is_told(make: Make, platform: Platform) -> None:
    platform.document.pop("device_authorization_endpoint")
    with pytest.raises(Unreachable, match="mandate key or a redeem token"):
        await make().enter()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (httpx.Response(307, headers={"location": "https://new.example/"}), Unreachable, "redirects to https://new"),
        (httpx.Response(502, text="bad gateway"), Unreachable, "answered 502"),
        (httpx.Response(200, text="hello"), Unreachable, "not answer as a platform"),
    ],
)
async def test_what_is_no_platform_is_told(answer: httpx.Response, kind: type[ConnectFailed], words: str) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        with pytest.raises(kind, match=words):
            await Endpoints(http, URL).discover()


def test_the_terminal_shows_the_page_and_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    in_terminal(DeviceLogin(f"{URL}/configure/ABCD", "ABCD", 300.0, 5.0, "secret", "c"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{URL}/configure/ABCD" in shown.err
    assert "code ABCD" in shown.err
    assert "5 minutes" in shown.err
    assert "secret" not in shown.err
