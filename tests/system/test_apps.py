"""Apps on a real platform: let in, calling, found again after a move, renewed and revoked."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import constellation
from tests.support.deployment import COMMAND, Up
from tests.support.serving import serving

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 120.0
STATS = "org.example.stats"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONSTELLATION_DEVICE_INTERVAL_SECONDS", "1")
        with Up(tmp_path_factory.mktemp("apps")) as running:
            yield running


@pytest.fixture(scope="module")
def admin(platform: Up) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {platform.admin['admin_api_key']}"}
    with httpx.Client(base_url=platform.url, headers=headers, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's configuration, and where commands run."""
    return tmp_path_factory.mktemp("home")


class Program:
    """A command that may wait for an approval."""

    def __init__(self, home: Path, *arguments: str) -> None:
        unset = {"CONSTELLATION_URL", "CONSTELLATION_API_KEY", "CONSTELLATION_ADMIN_API_KEY"}
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        self.log = home / f"{time.monotonic_ns()}.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments,
                cwd=home,
                env={**environment, "XDG_CONFIG_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def code(self) -> str:
        """What the program shows a person."""
        end = time.monotonic() + SECONDS
        while not (found := re.search(r"/configure/(\S+)", self.said)):
            assert time.monotonic() < end, self.said
            assert self._process.poll() is None, self.said
            time.sleep(0.05)
        return found[1]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self._process.wait(SECONDS)


def run(home: Path, *arguments: str) -> str:
    """Output of a command that succeeds."""
    program = Program(home, *arguments)
    assert program.ended() == 0, program.said
    return program.said


@pytest.fixture(scope="module")
def command_line(platform: Up, admin: httpx.Client, home: Path) -> Path:
    """The user is logged in with the command line."""
    program = Program(home, str(COMMAND), "login", platform.url)
    code = program.code()
    waiting = admin.get("/admin/v1/codes").json()["items"]
    assert [one["identifier"] for one in waiting] == ["constellation-cli"]
    assert admin.post(f"/admin/v1/codes/{code}/approve").status_code == 200
    assert program.ended() == 0, program.said
    assert f"Logged in at {platform.url} as admin." in program.said
    return home


@pytest.fixture(scope="module")
def algorithms(command_line: Path) -> tuple[str, str]:
    """Two of the examples, published with what the login gives."""
    names = ("readability", "language")
    for name in names:
        folder = str(EXAMPLES / "algorithms" / name)
        run(command_line, str(COMMAND), "algo", "create", name)
        run(command_line, str(COMMAND), "algo", "push", folder, "--algorithm", f"admin/{name}")
        run(command_line, str(COMMAND), "algo", "publish", name, "--public")
    return names


def test_the_command_line_works_with_its_login_until_that_ends(command_line: Path, platform: Up) -> None:
    found = json.loads(run(command_line, str(COMMAND), "app", "ls", "--json"))
    own = next(one for one in found if one["identifier"] == "constellation-cli")
    assert (own["account"], own["state"]) == ("admin", "approved")
    examined = run(command_line, str(COMMAND), "doctor")
    assert "bad" not in examined
    for service in ("fakts", "registry", "deployer", "worker", "gateway"):
        assert re.search(rf"^ok +{service} +http", examined, re.MULTILINE), examined


def test_an_app_is_let_in_once_and_its_login_is_renewed(
    algorithms: tuple[str, str], platform: Up, admin: httpx.Client, home: Path
) -> None:
    text = home / "letter.txt"
    text.write_text("The ship left the harbour before the sun was up. We saw it go.")
    arguments = (sys.executable, str(EXAMPLES / "apps" / "reader" / "reader.py"), platform.url, str(text))
    program = Program(home, *arguments)
    assert admin.post(f"/admin/v1/codes/{program.code()}/approve").status_code == 200
    assert program.ended() == 0, program.said
    assert f"{text}: en, very easy, 14 words" in program.said

    (kept,) = (home / "constellation" / "logins").glob("*reader*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    login = json.loads(kept.read_text())
    kept.write_text(json.dumps(login | {"renew_at": 0.0, "expires_at": 0.0}))
    both = [Program(home, *arguments) for _ in range(2)]
    for again in both:
        assert again.ended() == 0, again.said
        assert "configure" not in again.said
        assert "en, very easy" in again.said
    renewed = json.loads(kept.read_text())
    assert renewed["client_id"] == login["client_id"]
    assert renewed["refresh_token"] != login["refresh_token"]
    assert renewed["access_token"] != login["access_token"]

    run(home, *arguments[:-1], "--logout")
    assert not kept.exists()
    ended = next(one for one in admin.get("/admin/v1/apps").json()["items"] if one["id"] == login["client_id"])
    form = {"grant_type": "refresh_token", "refresh_token": renewed["refresh_token"], "client_id": ended["id"]}
    assert httpx.post(f"{platform.url}/o/token/", data=form).json()["error"] in ("invalid_grant", "invalid_client")


def test_an_app_that_is_denied_is_told_why(platform: Up, admin: httpx.Client, home: Path) -> None:
    program = Program(home, sys.executable, str(EXAMPLES / "apps" / "reader" / "reader.py"), platform.url)
    answer = admin.post(f"/admin/v1/codes/{program.code()}/deny", json={"reason": "Not on this machine."})
    assert answer.status_code == 200
    assert program.ended() == 2
    assert "reader: Not on this machine." in program.said


@asynccontextmanager
async def stats(key: Ed25519PrivateKey) -> AsyncIterator[str]:
    """A service by somebody else, which signs its challenges."""

    async def challenge(request: Request) -> JSONResponse:
        signature = key.sign(f"fakts-challenge-v1:{request.query_params['nonce']}".encode())
        return JSONResponse({"signature": base64.b64encode(signature).decode()})

    async def count(request: Request) -> JSONResponse:
        return JSONResponse({"token": request.headers["authorization"].removeprefix("Bearer ")})

    app = Starlette(routes=[Route("/ht", challenge), Route("/count", count)])
    async with serving(app, grace=1) as url:
        yield url


async def offer(admin: httpx.AsyncClient, url: str, key: Ed25519PrivateKey) -> None:
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    alias = {"id": "a", "host": "127.0.0.1", "port": int(url.rpartition(":")[2]), "challenge": "ht"}
    body = {
        "service": STATS,
        "instance": "one",
        "aliases": [alias],
        "challenge_key": {"kind": "ed25519", "key": public},
    }
    answer = await admin.post("/admin/v1/services", json=body)
    assert answer.status_code in (200, 201), answer.text


async def test_a_service_that_moves_is_found_again_and_a_revoked_app_is_out(
    algorithms: tuple[str, str], platform: Up, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    manifest: dict[str, Any] = {
        "identifier": "org.example.counter",
        "version": "1.0",
        "scopes": ["openid", "offline_access", "algo:call"],
        "requirements": [
            {"key": "stats", "service": STATS},
            {"key": "extra", "service": "org.example.extra", "optional": True},
        ],
    }
    headers = {"authorization": f"Bearer {platform.admin['admin_api_key']}"}
    async with (
        httpx.AsyncClient(base_url=platform.url, headers=headers, timeout=30.0) as admin,
        AsyncExitStack() as running,
    ):
        token = (await admin.post("/admin/v1/redeem-tokens")).json()["token"]
        first = await running.enter_async_context(stats(key))
        await offer(admin, first, key)
        async with constellation.connect(
            platform.url, manifest, redeem_token=token, prompt=None, keep=tmp_path
        ) as app:
            assert app.account == "admin"
            assert await app.service("stats") == first
            assert (await app.request("GET", "/count", service="stats")).json()["token"] == await app.token()
            assert (await app.algo("admin/readability").pipe("A short text.")).result["words"] == 3
            with pytest.raises(constellation.CallFailed) as failed:
                await app.algo("admin/readability").pipe({"no": "text"})
            assert failed.value.kind == "InputError"
            with pytest.raises(constellation.Unavailable, match="offers no"):
                await app.service("extra")
            found = await admin.get("/admin/v1/apps", params={"q": "org.example.counter"})
            (listed,) = found.json()["items"]
            assert listed["report"]["alias_reports"]["stats"]["valid"] is True

            await running.aclose()
            moved = await running.enter_async_context(stats(key))
            await offer(admin, moved, key)
            assert (await app.request("GET", "/count", service="stats")).json()["token"] == await app.token()
            assert await app.service("stats") == moved

            assert (await admin.delete(f"/admin/v1/apps/{listed['id']}")).status_code == 204
            with pytest.raises(constellation.NeedsLogin, match="Log in again"):
                await _until_refused(app)
            with pytest.raises(constellation.NeedsLogin):
                await app.token()


async def _until_refused(app: constellation.App) -> None:
    """A revocation reaches the gateway with the next change of a feed."""
    async with asyncio.timeout(SECONDS):
        while True:
            await app.algo("admin/readability").pipe("A short text.")
