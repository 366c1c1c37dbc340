"""Commands with a login instead of a key, and the commands about apps and about what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from constellation import doctor
from constellation.cli import app, logins
from constellation.doctor import State
from libs.common.connect import credentials, protocol
from libs.common.connect.credentials import CredentialFile
from libs.common.contracts.joining import Manifest
from tests.unit.connect.platform import URL, Platform

Run = Callable[..., Any]


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as a user who has no key and no platform here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CONSTELLATION_URL", "CONSTELLATION_API_KEY", "CONSTELLATION_ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def runner(*arguments: str, input: str | None = None) -> Any:
        return CliRunner().invoke(app, arguments, obj=platform.transport, input=input)

    return runner


@pytest.fixture
def logged_in(run: Run, platform: Platform, tmp_path: Path) -> CredentialFile:
    """The login of the command line that is kept, as an approval would have left it."""
    form = {"grant_type": protocol.REDEEM_GRANT, "redeem_token": "redeem"}
    with httpx.Client(transport=platform.transport) as http:
        answer = protocol.token_answer(URL, http.post(f"{URL}/o/token/", data=form).json())
    manifest = Manifest(identifier=logins.IDENTIFIER, version="0", scopes=logins.SCOPES)
    file = credentials.file_for(tmp_path / "constellation" / "logins", URL, logins.IDENTIFIER)
    file.write(protocol.credential(answer, URL, manifest, now=time.time()))
    return file


def on(platform: Platform, path: str, document: Any, status: int = 200) -> list[httpx.Request]:
    """Answers a path, and keeps the requests for it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json=document)

    platform.calls[path] = answer
    return seen


USER = {"name": "ana", "email": "a@example.org", "staff": True, "session_limit": 80, "created_at": "2026"}


def test_a_person_logs_in_and_out(run: Run, platform: Platform, tmp_path: Path) -> None:
    done = run("login", f"{URL}/")
    assert done.exit_code == 0, done.output
    assert f"{URL}/configure/ABCD1234" in done.stderr
    assert done.stdout == f"Logged in at {URL} as ana.\n"
    assert platform.started[0]["manifest"]["scopes"][-1] == "admin"
    (kept,) = (tmp_path / "constellation" / "logins").glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    users = on(platform, "/admin/v1/users", {"items": [USER], "cursor": None})
    assert "ana\ta@example.org" in run("user", "ls").stdout
    token = json.loads(kept.read_text())["access_token"]
    assert users[0].headers["authorization"] == f"Bearer {token}"
    assert token not in run("user", "ls").output

    assert run("logout").stdout == f"Logged out of {URL}.\n"
    assert platform.revoked == ["refresh-1"]
    assert not kept.exists()
    assert "not logged in anywhere" in run("logout").stderr
    assert "constellation login" in run("user", "ls").stderr


def test_a_denied_login_says_why(run: Run, platform: Platform) -> None:
    platform.polls = [(400, {"error": "access_denied", "error_description": "Not you."})]
    done = run("login", URL)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "constellation: Not you.")
    assert "is no address" in run("login", "lab.example").stderr
    assert "--insecure" in run("login", "http://lab.example").stderr


def test_a_refused_token_is_renewed_and_a_revoked_login_is_told(
    run: Run, platform: Platform, logged_in: CredentialFile
) -> None:
    kept = logged_in.read()
    assert kept is not None
    platform.refused.add(kept.access_token)
    on(platform, "/admin/v1/users", {"items": [USER], "cursor": None})
    assert run("user", "ls").exit_code == 0
    renewed = logged_in.read()
    assert renewed is not None
    assert renewed.refresh_token == "refresh-2"
    platform.refused.add(renewed.access_token)
    platform.end()
    done = run("user", "ls")
    assert done.exit_code == 1
    assert f"the login at {URL} is over; run `constellation login {URL}`" in done.stderr


def test_with_several_logins_one_must_be_named(run: Run, logged_in: CredentialFile, tmp_path: Path) -> None:
    kept = logged_in.read()
    assert kept is not None
    other = credentials.file_for(logged_in.path.parent, "https://other.example", logins.IDENTIFIER)
    other.write(kept.model_copy(update={"server": "https://other.example"}))
    assert "which platform?" in run("logout").stderr
    assert "not logged in at https://third.example" in run("logout", "https://third.example").stderr
    assert run("logout", URL).exit_code == 0
    assert not logged_in.path.exists()
    assert other.path.exists()


WAITING = {
    "id": "a1",
    "identifier": "org.example.app",
    "version": "1",
    "scope": "openid",
    "address": "10.0.0.1",
    "needs": "user",
    "expires_at": "2026",
}
LET_IN = {
    "id": "c1",
    "identifier": "org.example.app",
    "version": "1",
    "device": "pc",
    "account": "ana",
    "scopes": ["openid"],
    "state": "approved",
    "report": {"functional": True},
    "last_login_at": None,
}


def test_apps_are_listed_shown_and_decided(run: Run, platform: Platform, logged_in: CredentialFile) -> None:
    searched = on(platform, "/admin/v1/apps", {"items": [LET_IN], "cursor": None})
    on(platform, "/admin/v1/codes", {"items": [WAITING], "cursor": None})
    assert run("app", "ls", "-q", "app").stdout.splitlines()[1].startswith("c1\torg.example.app\t1\tpc\tana")
    assert searched[0].url.params["q"] == "app"
    assert "a1\torg.example.app\t1\topenid\t10.0.0.1\tuser" in run("app", "ls", "--waiting").stdout
    assert json.loads(run("app", "show", "c1", "--json").stdout) == LET_IN
    assert '{"functional": true}' in run("app", "show", "c1").stdout
    assert json.loads(run("app", "show", "a1", "--json").stdout) == WAITING
    assert "no app with the id" in run("app", "show", "x").stderr

    decided = {"identifier": "org.example.app", "client_id": "c1"}
    approved = on(platform, "/admin/v1/codes/ABCD-1234/approve", decided)
    assert run("app", "approve", "ABCD-1234", "--decline", "extra", "--org", "lab").exit_code == 0
    assert json.loads(approved[0].content) == {"declined": ["extra"], "organization": "lab"}
    denied = on(platform, "/admin/v1/codes/ABCD-1234/deny", decided)
    assert run("app", "deny", "ABCD-1234", "--reason", "No.").exit_code == 0
    assert json.loads(denied[0].content) == {"reason": "No."}
    revoked = on(platform, "/admin/v1/apps/c1", None, 204)
    assert run("app", "revoke", "c1").exit_code == 0
    assert revoked[0].method == "DELETE"


def test_rules_are_shown_and_replaced(
    run: Run, platform: Platform, logged_in: CredentialFile, tmp_path: Path
) -> None:
    document = {"rules": [{"name": "all", "strategy": "signed-in", "when": {}}], "strategies": ["signed-in"]}
    asked = on(platform, "/admin/v1/rules", document)
    shown = run("app", "rules").stdout
    assert json.loads(shown) == document
    (tmp_path / "rules.json").write_text(shown)
    for arguments, text in ((("rules.json",), None), (("-",), json.dumps(document["rules"]))):
        assert run("app", "rules", "--set", *arguments, input=text).exit_code == 0
        assert asked[-1].method == "PUT"
        assert json.loads(asked[-1].content) == {"rules": document["rules"]}
    for text, words in (("{", "is not JSON"), ("{}", "holds no rules")):
        (tmp_path / "rules.json").write_text(text)
        assert words in run("app", "rules", "--set", "rules.json").stderr
    assert len(asked) == 3


def service(name: str, host: str, *, live: bool = True) -> dict[str, Any]:
    alias = {"id": "1", "host": host, "port": 1}
    return {"service": f"constellation.{name}", "live": live, "aliases": [alias]}


class Surroundings:
    """The platform, with its services at addresses of their own."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.readiness = {"lab.example": httpx.Response(200)}
        self.date = formatdate(time.time(), usegmt=True)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            if request.url.host not in self.readiness:
                raise httpx.ConnectError("no route to host", request=request)
            return self.readiness[request.url.host]
        answer = self.platform(request)
        answer.headers["date"] = self.date
        return answer


@pytest.fixture
def examine(platform: Platform, run: Run, logged_in: CredentialFile) -> Callable[..., Any]:
    """Runs `doctor`; returns its exit status and the state and words of each finding by its name."""
    surroundings = Surroundings(platform)

    def examined(*arguments: str) -> Any:
        transport = httpx.MockTransport(surroundings)
        done = CliRunner().invoke(app, ["doctor", "--json", *arguments], obj=transport)
        return done.exit_code, {one["name"]: (one["state"], one["detail"]) for one in json.loads(done.stdout)}

    vars(examined)["surroundings"] = surroundings
    return examined


def test_what_works_is_ok_and_what_does_not_says_what_to_do(examine: Callable[..., Any], platform: Platform) -> None:
    surroundings: Surroundings = vars(examine)["surroundings"]
    on(platform, "/v1/algorithms", {"results": []})
    names = ("fakts", "registry", "deployer", "worker", "gateway")
    listed = [service(name, f"{name}.example") for name in names]
    on(platform, "/admin/v1/services", {"items": listed, "cursor": None})
    surroundings.readiness |= {f"{name}.example": httpx.Response(200) for name in names}
    status, found = examine()
    assert status == 0, found
    assert {state for name, (state, _) in found.items() if name != "version"} == {"ok"}
    assert set(found) == {"git", "address", "version", "clock", "readiness", "credential", *names}

    listed[2]["live"] = False
    unready = {"status": "unready", "failing": {"database": "connection refused"}}
    surroundings.readiness["registry.example"] = httpx.Response(503, json=unready)
    del surroundings.readiness["worker.example"]
    surroundings.date = formatdate(time.time() - 600, usegmt=True)
    status, found = examine()
    assert status == 1
    assert found["deployer"] == ("bad", "no instance is live; start one: constellation serve deployer")
    assert found["registry"] == ("bad", "http://registry.example:1: database: connection refused")
    assert found["worker"][0] == "note"
    assert found["clock"][0] == "bad"
    assert "ahead of" in found["clock"][1]
    assert found["gateway"][0] == "ok"


def test_a_bad_credential_or_address_is_told(examine: Callable[..., Any], platform: Platform) -> None:
    on(platform, "/v1/algorithms", {"error": {"message": "the key is not known"}}, 401)
    status, found = examine("--api-key", "simX")
    assert (status, found["credential"][0]) == (1, "bad")
    assert "the key is not known; run `constellation login" in found["credential"][1]
    on(platform, "/v1/algorithms", {"results": []})
    on(platform, "/admin/v1/services", {"detail": "no"}, 403)
    status, found = examine("--api-key", "simX")
    assert (status, found["services"][0]) == (0, "note")
    status, found = examine("--url", f"{URL}/elsewhere")
    assert (status, found["address"][0]) == (1, "bad")
    status, found = examine("--url", "http://nowhere.example")
    assert (status, found["address"][0]) == (1, "bad")
    assert "cannot be reached" in found["address"][1]
    platform.document["version"] = "99"
    status, found = examine()
    assert found["version"][0] == "note"


@pytest.mark.parametrize(
    ("off", "state", "words"),
    [(0, State.OK, "agrees"), (20, State.OK, "agrees"), (300, State.BAD, "behind"), (-300, State.BAD, "ahead of")],
)
def test_clocks_are_compared_to_within_what_tokens_bear(off: int, state: State, words: str) -> None:
    sent = 1_800_000_000.5
    found = doctor.clock(formatdate(sent + off, usegmt=True), sent, sent + 0.2)
    assert found.state is state
    assert words in found.detail


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_platform_that_tells_no_time_is_noted(date: str | None) -> None:
    assert doctor.clock(date, 0.0, 1.0).state is State.NOTE
