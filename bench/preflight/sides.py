"""The two servers that apps log in at. Each is one process; both keep what they must not lose in one PostgreSQL."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.engine import make_url

from bench.processes import free_port, running, wait_for_port
from bench.report import first_line
from libs.common.embedded_postgres import EmbeddedPostgres

OURS, PEER = "fakts", "oidc-provider"
PEERS = Path(__file__).parents[1] / "peers"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_CLIENT = "bench"
_INSTALL_SECONDS = 300
_UNLIMITED = str(10**9)
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_START = {
    "manifest": {"identifier": "org.example.bench", "version": "1.0", "scopes": ["openid", "offline_access"]},
    "expiration_time_seconds": 300,
    "requested_client_kind": "desktop",
}


@dataclass(frozen=True)
class Server:
    """One of the things compared, while it runs."""

    name: str
    port: int
    process: str
    pid: int
    postgres_pid: int
    log_in: Callable[[HTTPConnection], str]
    """One whole login. Returns the access token; raises RuntimeError when there is none."""


@contextmanager
def sides(folder: Path) -> Iterator[tuple[Server, ...]]:
    data = folder / "postgres"
    postgres = EmbeddedPostgres(data)
    url = postgres.start()
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        with _oidc_provider(folder, url, pid) as peer, _fakts(folder, url, pid) as ours:
            yield peer, ours
    finally:
        postgres.stop()


def peer_versions() -> dict[str, str]:
    found = {"node": first_line(["node", "--version"])}
    for name in ("oidc-provider", "pg"):
        found[name] = json.loads((PEERS / "node_modules" / name / "package.json").read_text())["version"]
    return found


@contextmanager
def _fakts(folder: Path, database_url: str, postgres_pid: int) -> Iterator[Server]:
    """Fakts as it is served by itself. A rule lets the app in at once; no limit on rates is reached."""
    port, log, rules = free_port(), folder / "fakts.log", folder / "rules.json"
    rules.write_text(json.dumps({"rules": [{"name": "bench", "strategy": "approve", "account": "admin"}]}))
    settings = {
        "PORT": str(port),
        "DATA_DIR": str(folder / "fakts"),
        "DATABASE_URL": database_url,
        "JOIN_TOKEN": secrets.token_hex(16),
        "ADMIN_FILE": str(folder / "admin.json"),
        "RULES_FILE": str(rules),
        "STARTS_PER_MINUTE": _UNLIMITED,
        "TOKEN_REQUESTS_PER_MINUTE": _UNLIMITED,
        "LOG_LEVEL": "ERROR",
    }
    environment = {f"CONSTELLATION_{name}": value for name, value in settings.items()}
    command = ["env", *(f"{name}={value}" for name, value in environment.items())]
    command += [str(Path(sys.executable).parent / "constellation"), "serve", "fakts"]
    with running(command, log) as pid:
        wait_for_port(port, log)
        yield Server(OURS, port, "fakts", pid, postgres_pid, _log_in_at_fakts)


@contextmanager
def _oidc_provider(folder: Path, database_url: str, postgres_pid: int) -> Iterator[Server]:
    """The yardstick: a certified OpenID Connect provider, with its adapter for PostgreSQL."""
    if not (PEERS / "node_modules" / ".package-lock.json").exists():
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=PEERS, check=True, capture_output=True, timeout=_INSTALL_SECONDS)  # noqa: S603
    port, log, url = free_port(), folder / "oidc-provider.log", make_url(database_url)
    host = url.host or url.query["host"]
    options = {
        "port": port,
        "client": _CLIENT,
        "database": {"host": host, "port": url.port or 5432, "user": url.username, "database": url.database},
    }
    command = ["env", "NODE_ENV=production", "node", str(PEERS / "provider.mjs"), json.dumps(options)]
    with running(command, log) as pid:
        wait_for_port(port, log)
        yield Server(PEER, port, "node", pid, postgres_pid, _log_in_at_peer)


def _log_in_at_fakts(connection: HTTPConnection) -> str:
    started = _post(connection, "/o/app-authorization/", _JSON, json.dumps(_START))
    return _token(connection, "/o/token/", started["device_code"], started["client_id"])


def _log_in_at_peer(connection: HTTPConnection) -> str:
    form = urlencode({"client_id": _CLIENT, "scope": "openid offline_access"})
    started = _post(connection, "/device/auth", _FORM, form)
    return _token(connection, "/token", started["device_code"], _CLIENT)


def _token(connection: HTTPConnection, path: str, device_code: str, client_id: str) -> str:
    form = {"grant_type": _DEVICE_GRANT, "device_code": device_code, "client_id": client_id}
    answer = _post(connection, path, _FORM, urlencode(form))
    if not answer.get("refresh_token"):
        raise RuntimeError(f"{path} gave no refresh token")
    return str(answer["access_token"])


def _post(connection: HTTPConnection, path: str, kind: str, body: str) -> dict[str, Any]:
    connection.request("POST", path, body.encode(), {"Content-Type": kind})
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status} {text[:300]!r}")
    answer: dict[str, Any] = json.loads(text)
    return answer
