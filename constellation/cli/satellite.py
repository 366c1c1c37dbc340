"""`constellation satellite`: algorithms that are launched together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from constellation.cli import bundle
from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

app = typer.Typer(
    cls=bundle.SatelliteGroup, help="Group algorithms into satellites.", epilog=bundle.EPILOG, no_args_is_help=True
)

SatelliteId = Annotated[str, typer.Argument(metavar="SATELLITE_ID", help="The satellite's id.")]
Entries = Annotated[
    list[str] | None,
    typer.Option(
        "--algorithm",
        "-a",
        metavar="OWNER/NAME/HASH=VANITY/URL[:REPLICAS]",
        help="An algorithm at a built commit, its vanity URL, and how many replicas it has. Repeat it.",
    ),
]


@command(app, "create")
def create(
    session: Session, name: Annotated[str, typer.Argument(help="What people call it.")], algorithms: Entries = None
) -> None:
    """Make a satellite."""
    _show(session, session.administrator.create_satellite(name, [_entry(one) for one in algorithms or ()]))


@command(app, "edit")
def edit(
    session: Session,
    satellite_id: SatelliteId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    algorithms: Entries = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="VANITY/URL", help="Leave this one out. Repeat it.")
    ] = None,
    renew_keys: Annotated[bool, typer.Option("--renew-keys", help="Accept the API keys of today.")] = False,
) -> None:
    """Change the algorithms, which makes a new version. What runs stays as it is until the next deploy."""
    api = session.administrator
    change: dict[str, Any] = {} if name is None else {"name": name}
    version = None
    if algorithms or remove:
        found = api.satellite(satellite_id)
        version, held = found["version"], {one["vanity_url"]: one for one in found["algorithms"]}
        for vanity in remove or ():
            if held.pop(vanity, None) is None:
                raise Failed(f"the satellite has no '{vanity}'; it has {', '.join(held)}")
        held |= {one["vanity_url"]: one for one in map(_entry, algorithms or ())}
        change["algorithms"] = list(held.values())
    if not (change or renew_keys):
        raise Failed("say what to change: --algorithm, --remove, --name or --renew-keys")
    changed = api.change_satellite(satellite_id, change, version=version) if change else {}
    _show(session, (changed | api.renew_satellite_keys(satellite_id)) if renew_keys else changed)


@command(app, "ls")
def ls(session: Session, search: Annotated[str | None, typer.Argument(help="Text in the name.")] = None) -> None:
    """List the satellites."""
    columns = {"ID": "id", "NAME": "name", "VERSION": "version", "EDITED": "updated_at", "MADE BY": "created_by"}
    session.output.table(columns, session.administrator.satellites(search), none="There are no satellites yet.")


@command(app, "show")
def show(session: Session, satellite_id: SatelliteId) -> None:
    """Show a satellite, its versions, and what runs of it."""
    api = session.administrator
    found = api.satellite(satellite_id)
    if session.output.as_json:
        session.output.document(found | {"versions": list(api.satellite_versions(satellite_id))})
        return
    _show(session, found)
    columns = {"VERSION": "version", "MADE": "created_at", "BY": "created_by", "ALGORITHMS": "algorithms"}
    rows = [{**one, "algorithms": _words(one["algorithms"])} for one in api.satellite_versions(satellite_id)]
    session.output.table(columns, rows, none="")


@command(app, "rm")
def rm(session: Session, satellite_id: SatelliteId) -> None:
    """Remove a satellite that has no launch instances."""
    gone = session.administrator.remove_satellite(satellite_id)
    session.output.document({"removed": gone["removed"], "still running": _running(gone)}, gone)


def _show(session: Session, found: dict[str, Any]) -> None:
    fields = {
        "satellite": found["id"],
        "name": found["name"],
        "version": found["version"],
        "algorithms": _words(found["algorithms"]),
        "running": _running(found),
    }
    session.output.document(fields, found)


def _running(found: dict[str, Any]) -> str | None:
    lines = [
        f"{one['name']} ({one['launch_id']}): version {one['satellite_version']}" for one in found.get("running", ())
    ]
    return "; ".join(lines) or None


def _words(entries: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['vanity_url']} = {one['algorithm']} x{one['replicas']}" for one in entries)


def _entry(text: str) -> dict[str, Any]:
    """Raises Failed."""
    algorithm, _, rest = text.partition("=")
    vanity, _, count = rest.partition(":")
    if not (algorithm and vanity) or (count and not count.removeprefix("-").isdigit()):
        raise Failed(f"'{text}' is not OWNER/NAME/HASH=VANITY/URL[:REPLICAS], such as joe/echo/4f1c...=text/echo:2")
    return {"algorithm": algorithm, "vanity_url": vanity, "replicas": int(count or 1)}
