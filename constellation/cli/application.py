"""`constellation application`: names that callers use, and the versions that answer for them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

app = typer.Typer(help="Switch versions behind the names that callers use.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The application's name.")]
Version = Annotated[str, typer.Argument(metavar="OWNER/NAME/HASH", help="An algorithm at a built commit.")]
Default = Annotated[
    str | None,
    typer.Option(
        "--default", metavar="JSON", help="Answer where the current version gives none, such as '{\"digit\": -1}'."
    ),
]
Goal = Annotated[
    int | None, typer.Option("--latency-goal", metavar="MS", help="Milliseconds that callers wait for an answer.")
]
Description = Annotated[str | None, typer.Option(help="For people.")]
Replicas = Annotated[int, typer.Option(help="How many replicas it has.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is ready.")]


@command(app, "create")
def create(
    session: Session, name: Name, default: Default = None, goal: Goal = None, description: Description = None
) -> None:
    """Make an application. It answers once a version is linked."""
    asked = {"name": name, **_members(default, goal, description)}
    _show(session, session.administrator.create_application(asked))


@command(app, "edit")
def edit(
    session: Session,
    name: Name,
    default: Default = None,
    goal: Goal = None,
    description: Description = None,
    no_default: Annotated[bool, typer.Option("--no-default", help="Tell errors as they are.")] = False,
    no_goal: Annotated[bool, typer.Option("--no-latency-goal", help="Let callers wait.")] = False,
) -> None:
    """Change the default answer or the latency goal. Calls have it at once."""
    change = _members(default, goal, description)
    change |= {"default_answer": None} if no_default else {}
    change |= {"latency_goal_ms": None} if no_goal else {}
    if not change:
        raise Failed(
            "say what to change: --default, --latency-goal, --no-default, --no-latency-goal or --description"
        )
    _show(session, session.administrator.change_application(name, change))


@command(app, "ls")
def ls(
    session: Session,
    search: Annotated[str | None, typer.Argument(help="Text in name or description.")] = None,
) -> None:
    """List the applications."""
    columns = {"NAME": "name", "CURRENT": "current", "SWITCHING TO": "switching_to", "LATENCY MS": "latency_goal_ms"}
    found = session.administrator.applications(search)
    session.output.table(columns, found, none="There are no applications yet.")


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show an application, its versions, and what runs of each."""
    found = session.administrator.application(name)
    _show(session, found)
    if session.output.as_json:
        return
    columns = {
        "VERSION": "algorithm",
        "CURRENT": "is_current",
        "STATE": "state",
        "READY": "running.ready",
        "OF": "replicas",
        "REASON": "running.reason",
        "DEPLOYMENT": "deployment_id",
    }
    session.output.table(columns, found["versions"], none="No version is linked yet.")


@command(app, "rm")
def rm(session: Session, name: Name) -> None:
    """Remove an application, and end what runs for it."""
    gone = session.administrator.remove_application(name)
    session.output.document(gone)


@command(app, "link")
def link(session: Session, name: Name, version: Version, replicas: Replicas = 1, wait: Wait = True) -> None:
    """Start a version beside the others. The first one is current at once."""
    _started(session, session.administrator.link_version(name, version, replicas), version, wait=wait)


@command(app, "unlink")
def unlink(session: Session, name: Name, version: Version) -> None:
    """End a version that is not current."""
    _show(session, session.administrator.unlink_version(name, version))


@command(app, "set-version")
def set_version(session: Session, name: Name, version: Version, wait: Wait = True) -> None:
    """Make a linked version current, or go back to one: at once if it is ready, else as soon as it is."""
    api = session.administrator
    found = api.set_version(name, version)
    if wait and found["switching_to"] is not None:
        found = api.follow_switch(name, session.output.note)
    _show(session, found)


@command(app, "set-replicas")
def set_replicas(
    session: Session,
    name: Name,
    version: Version,
    replicas: Annotated[int, typer.Argument(metavar="REPLICAS", help="How many replicas it has.")],
    wait: Wait = True,
) -> None:
    """Give a linked version so many replicas. One that is stopped is started."""
    _started(session, session.administrator.set_replicas(name, version, replicas), version, wait=wait)


@command(app, "stop-inactive")
def stop_inactive(session: Session, name: Name) -> None:
    """End the replicas of all versions but the current one. They stay linked."""
    _show(session, session.administrator.stop_inactive(name))


def _started(session: Session, found: dict[str, Any], version: str, *, wait: bool) -> None:
    """Wait until the replicas that were ordered are there. Exit status 1 when they cannot be had."""
    [one] = [one for one in found["versions"] if one["algorithm"] == version.removeprefix("algo://")]
    state = "ready"
    if wait:
        done = session.administrator.follow_deployment(one["deployment_id"], lambda new: _note(session, version, new))
        state = done["state"]
        found = session.administrator.application(found["name"])
    _show(session, found)
    if state in ("failed", "rolled_back"):
        raise typer.Exit(1)


def _note(session: Session, version: str, deployment: dict[str, Any]) -> None:
    entries = (f"{one['ready']} of {one['desired']} ready" for one in deployment["entries"])
    reason = f" ({deployment['reason']})" if deployment["reason"] else ""
    session.output.note(f"{version}: {deployment['state'].replace('_', ' ')}, {', '.join(entries)}{reason}")


def _show(session: Session, found: dict[str, Any]) -> None:
    default = found["default_answer"]
    fields = {
        "application": found["name"],
        "description": found["description"] or None,
        "current": found["current"],
        "switching to": found["switching_to"],
        "default answer": json.dumps(default) if default is not None else None,
        "latency goal": f"{found['latency_goal_ms']} ms" if found["latency_goal_ms"] is not None else None,
        "versions": ", ".join(f"{one['algorithm']} x{one['replicas']} {one['state']}" for one in found["versions"]),
        "address": f"{session.connection.url}{found['address']}",
    }
    session.output.document(fields, found)


def _members(default: str | None, goal: int | None, description: str | None) -> dict[str, Any]:
    """Raises Failed."""
    members: dict[str, Any] = {"latency_goal_ms": goal, "description": description}
    if default is not None:
        try:
            members["default_answer"] = json.loads(default)
        except ValueError:
            raise Failed(f"--default takes JSON, and '{default}' is none; a text needs quotes: '\"...\"'") from None
    return {name: value for name, value in members.items() if value is not None}
