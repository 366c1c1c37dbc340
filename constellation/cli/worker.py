"""`constellation worker`: the nodes that run algorithms."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import typer

from constellation.cli.command import Session, command

app = typer.Typer(help="See, empty and add worker nodes.", no_args_is_help=True)


@command(app, "ls")
def ls(session: Session) -> None:
    """List the workers."""
    columns = {
        "ID": "id",
        "NAME": "name",
        "STATE": "state",
        "REPLICAS": "used.replicas",
        "OF": "capacity.replicas",
        "MEMORY MiB": "used.memory_mib",
        "OF MiB": "capacity.memory_mib",
        "GPUS": "used.gpus",
        "OF GPUS": "capacity.gpus",
        "LANGUAGES": "languages",
        "VERSION": "version",
    }
    session.output.table(columns, session.administrator.workers(), none="No worker has joined yet.")


@command(app, "drain")
def drain(
    session: Session,
    worker: Annotated[str, typer.Argument(help="The worker's id.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it take replicas again.")] = False,
) -> None:
    """Empty a worker: its replicas finish their calls and are replaced elsewhere."""
    found = session.administrator.drain_worker(worker, drain=not undo)
    session.output.document({"worker": found["id"], "state": found["state"]}, found)


@command(app, "token")
def token(
    session: Session,
    uses: Annotated[int | None, typer.Option(min=1, help="How many workers it lets in. Default: any number.")] = None,
    note: Annotated[str, typer.Option(help="For the list of such tokens.")] = "",
) -> None:
    """Make a token with which workers join, and show how. Nothing shows the token again."""
    mandate = {"kind": "service", "identifiers": ["constellation.worker"], "uses": uses, "note": note}
    made = session.administrator.create_mandate(mandate)
    url, key = session.connection.url, made["key"]
    line = f"CONSTELLATION_FAKTS_URL={url} CONSTELLATION_JOIN_TOKEN={key} constellation serve worker"
    if not session.output.as_json and _is_loopback(url):
        session.output.note(f"{url} is an address of this machine only: elsewhere put the one that it has there")
    session.output.document({"token": key, "command": line}, {**made, "command": line})


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
