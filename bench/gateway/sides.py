"""The two sides that are compared, each as it would be run."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.processes import free_port, running, wait_for_path, wait_for_port
from libs.common.contracts.catalog import CATALOG_FEED, Artifact, Callability, CatalogEntry, Language, Revision
from libs.common.contracts.identity import FULL_PERMISSIONS, IDENTITY_FEED, Account, AccountKind, Key
from libs.common.contracts.replicas import ROUTES_FEED, Address, Route, RouteReplica
from libs.common.directory import ACCOUNT_PREFIX, KEY_PREFIX, key_hash
from libs.common.hosts import host_id
from services.gateway.kept import Kept, save

NGINX = "/usr/sbin/nginx"
RUNNER = Path(__file__).parents[2] / "services" / "worker" / "runner" / "main.py"
OWNER, NAME = "bench", "echo"


@dataclass(frozen=True)
class Side:
    """One of the things compared, while it runs."""

    name: str
    url: str
    path: str
    headers: Mapping[str, str]
    pids: Mapping[str, int]
    """Its processes, by what they do."""


@contextmanager
def nginx_and_uvicorn(folder: Path) -> Iterator[Side]:
    """The yardstick: nginx as a reverse proxy, with connections kept alive, before a bare ASGI echo."""
    folder.mkdir(parents=True)
    upstream, port = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port, user=_nginx_user()))
    log = folder / "log"
    uvicorn = [
        *(sys.executable, "-m", "uvicorn", "bench.gateway.echo_asgi:app", "--port", str(upstream), "--no-access-log"),
        *("--log-level", "error", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off"),
    ]
    with ExitStack() as stack:
        application = stack.enter_context(running(uvicorn, log))
        wait_for_port(upstream, log)
        proxy = stack.enter_context(running([NGINX, "-c", config, "-p", folder], log))
        wait_for_port(port, log)
        yield Side(
            name="nginx and uvicorn",
            url=f"http://127.0.0.1:{port}",
            path="/echo",
            headers={},
            pids={"nginx": proxy, "uvicorn": application},
        )


@contextmanager
def constellation(folder: Path) -> Iterator[Side]:
    """A gateway and one replica: the platform's own runner with an algorithm that returns its input."""
    folder.mkdir(parents=True)
    log = folder / "log"
    root = folder / "algorithm"
    (root / "src").mkdir(parents=True)
    (root / "src" / "__init__.py").touch()
    (root / "src" / f"{NAME}.py").write_text("def apply(input):\n    return input\n")
    spec = {
        "name": NAME,
        "root": str(root),
        "socket": str(folder / "call.sock"),
        "control": str(folder / "control.sock"),
        "log": str(folder / "replica.log"),
        "state": str(folder / "state"),
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    port = free_port()
    key = _write_feeds(folder / "gateway", folder / "call.sock")
    with ExitStack() as stack:
        runner = stack.enter_context(running([sys.executable, "-I", RUNNER, folder / "spec.json"], log))
        wait_for_path(folder / "call.sock", log)
        gateway = stack.enter_context(
            running([sys.executable, "-m", "bench.gateway.process", folder / "gateway", str(port)], log)
        )
        wait_for_port(port, log)
        yield Side(
            name="constellation",
            url=f"http://127.0.0.1:{port}",
            path=f"/v1/algo/{OWNER}/{NAME}",
            headers={"Authorization": f"Simple {key}"},
            pids={"gateway": gateway, "runner": runner},
        )


def _write_feeds(data_dir: Path, socket: Path) -> str:
    """What the gateway of a running platform has on disk. Returns the API key in it."""
    key = f"sim{secrets.token_hex(12)}1"
    account = Account(id=uuid4(), name=OWNER, kind=AccountKind.USER, session_limit=1000)
    revision = Revision(
        id=uuid4(),
        commit=secrets.token_hex(20),
        version="0.1.0",
        callability=Callability.PUBLIC,
        language=Language.PYTHON,
        artifact=Artifact(source="0" * 64, digest="0" * 64),
        built_at=datetime.now(UTC),
    )
    entry = CatalogEntry(id=uuid4(), owner=OWNER, name=NAME, revisions=(revision,))
    replica = RouteReplica(id=uuid4(), address=Address(host_id=host_id(), unix=str(socket)))
    _write_feed(
        data_dir,
        IDENTITY_FEED,
        {
            f"{ACCOUNT_PREFIX}{OWNER}": account,
            f"{KEY_PREFIX}{key_hash(key)}": Key(id=uuid4(), owner=OWNER, permissions=FULL_PERMISSIONS),
        },
    )
    _write_feed(data_dir, CATALOG_FEED, {str(entry.id): entry})
    _write_feed(data_dir, ROUTES_FEED, {str(revision.id): Route(revision_id=revision.id, replicas=(replica,))})
    save(data_dir, Kept(instance_id=str(uuid4()), call_token_secret=secrets.token_hex(32)))
    return key


def _write_feed(data_dir: Path, feed: str, entries: Mapping[str, Any]) -> None:
    path = data_dir / "feeds" / f"{feed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    bodies = {key: body.model_dump(mode="json") for key, body in entries.items()}
    path.write_text(json.dumps({"version": 1, "epoch": "bench", "entries": bodies}))


def _nginx_user() -> str:
    return "user root;" if os.geteuid() == 0 else ""


_NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream echo {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
