"""`constellation launch`: launch instances of satellites, and what runs of them."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated, Any

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

app = typer.Typer(help="Launch satellites, and see what runs.", no_args_is_help=True)

LaunchId = Annotated[str, typer.Argument(metavar="LAUNCH_ID", help="The launch instance's id.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Of the satellite.")]
Description = Annotated[str | None, typer.Option(help="For people.")]
Kind = Annotated[str | None, typer.Option("--target", help="workers, kubernetes or bundle. Default: workers.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Only workers with this label. Repeat it."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A member of the target, such as namespace=prod. Repeat it."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is over.")]


@command(app, "create")
def create(
    session: Session,
    satellite_id: Annotated[str, typer.Argument(metavar="SATELLITE_ID", help="The satellite's id.")],
    name: Annotated[str, typer.Argument(help="What people call the launch.")],
    version: Version = None,
    description: Description = None,
    kind: Kind = None,
    labels: Labels = None,
    options: Options = None,
) -> None:
    """Make a launch instance. Nothing runs before it is deployed."""
    launch = _given(
        name=name, satellite_version=version, description=description, target=_target(kind, labels, options)
    )
    _show(session, session.administrator.create_launch(satellite_id, launch))


@command(app, "edit")
def edit(
    session: Session,
    launch_id: LaunchId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    version: Version = None,
    description: Description = None,
    kind: Kind = None,
    labels: Labels = None,
    options: Options = None,
) -> None:
    """Change a launch instance. What runs stays as it is until the next deploy."""
    change = _given(
        name=name, satellite_version=version, description=description, target=_target(kind, labels, options)
    )
    if not change:
        raise Failed("say what to change: --version, --name, --description, --target, --label or --set")
    _show(session, session.administrator.change_launch(launch_id, change))


@command(app, "ls")
def ls(
    session: Session,
    search: Annotated[str | None, typer.Argument(help="Text in name or description.")] = None,
    satellite: Annotated[str | None, typer.Option(help="Only this satellite's; its id.")] = None,
) -> None:
    """List launch instances, with the version that should run and the one that does."""
    columns = {
        "ID": "id",
        "NAME": "name",
        "SATELLITE": "satellite",
        "VERSION": "satellite_version",
        "ORDERED": "desired.satellite_version",
        "STATE": "running.state",
        "SERVING": "running.serving_version",
        "READY": "running.ready",
        "OF": "running.desired",
    }
    found = session.administrator.launches(satellite, search)
    session.output.table(columns, found, none="There are no launch instances yet.")


@command(app, "show")
def show(session: Session, launch_id: LaunchId) -> None:
    """Show a launch instance: what is configured, ordered and running, and what satellites apart from here report."""
    api = session.administrator
    found = api.launch(launch_id)
    if found.get("satellites", ()):
        found = {**found, "usage": api.launch_usage(launch_id)}
    _show(session, found)


@command(app, "deploy")
def deploy(session: Session, launch_id: LaunchId, version: Version = None, wait: Wait = True) -> None:
    """Bring the launch's version to run, or another one, which then is the launch's."""
    _order(session, launch_id, "deploy", _given(satellite_version=version), wait=wait)


@command(app, "stop")
def stop(session: Session, launch_id: LaunchId, wait: Wait = True) -> None:
    """End all that runs of a launch, also of a removed one."""
    _order(session, launch_id, "stop", {}, wait=wait)


@command(app, "rollback")
def rollback(session: Session, launch_id: LaunchId, version: Version = None, wait: Wait = True) -> None:
    """Deploy the version before, or the one that is named."""
    _order(session, launch_id, "rollback", _given(satellite_version=version), wait=wait)


@command(app, "promote")
def promote(
    session: Session,
    launch_id: LaunchId,
    to: Annotated[str, typer.Argument(metavar="TO", help="Id of the launch that takes the version over.")],
    wait: Wait = True,
) -> None:
    """Deploy the version that runs here with another launch: from development to production.

    Only what is deployed is promoted.
    """
    _order(session, launch_id, "promote", {"to": to}, wait=wait)


@command(app, "pause")
def pause(session: Session, launch_id: LaunchId, undo: Annotated[bool, typer.Option("--undo")] = False) -> None:
    """Start and end nothing of a launch. Calls go on. With --undo, or by 'stop', this ends."""
    ordered = session.administrator.order_launch(launch_id, "resume" if undo else "pause")
    session.output.document({"launch": launch_id, "paused": ordered["paused"]}, ordered)


@command(app, "rm")
def rm(session: Session, launch_id: LaunchId) -> None:
    """Remove a launch instance's configuration. What runs goes on: stop it first, or later by its id."""
    gone = session.administrator.remove_launch(launch_id)
    running = gone["running"]
    words = (
        None if running is None else f"version {running['serving_version']}; end it with 'launch stop {launch_id}'"
    )
    session.output.document({"removed": gone["removed"], "still running": words}, gone)


@command(app, "logs")
def logs(
    session: Session,
    launch_id: LaunchId,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show.")] = 50,
    replica: Annotated[str | None, typer.Option(help="Show what this replica printed; its id.")] = None,
    pods: Annotated[bool, typer.Option("--pods", help="Show what its pods printed, in a cluster.")] = False,
    entry: Annotated[str | None, typer.Option(help="With --pods: those of this vanity URL only.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Show calls that failed, as satellites report.")] = False,
) -> None:
    """Show what happened to the newest deployment of a launch, newest first, or what one replica printed.

    With --errors, and of a bundle: calls that failed where it runs.
    """
    api = session.administrator
    if replica is not None:
        _show_replica_log(session, replica)
        return
    found = api.launch(launch_id)
    if errors or found["target"]["kind"] == "bundle":
        _show_errors(session, launch_id, limit)
        return
    order = found["desired"]
    if order is None:
        raise Failed("this launch was never deployed")
    if pods:
        said = api.deployment_log(order["deployment_id"], entry)
        if session.output.as_json:
            session.output.document(said)
        else:
            session.output.text(said["text"], end="")
        return
    columns = {"AT": "at", "WHAT": "kind", "WORKER": "worker_id", "REPLICA": "replica_id", "MESSAGE": "message"}
    events = islice(api.deployment_events(order["deployment_id"]), limit)
    session.output.table(columns, events, none="Nothing has happened yet.")


def _show_errors(session: Session, launch_id: str, limit: int) -> None:
    columns = {
        "AT": "at",
        "GATEWAY": "gateway",
        "CALLED": "reference",
        "BY": "account",
        "STATUS": "status",
        "KIND": "error_type",
        "MESSAGE": "error",
    }
    failed = islice(session.administrator.launch_errors(launch_id), limit)
    session.output.table(columns, failed, none="No call has failed there.")


def _show_replica_log(session: Session, replica: str) -> None:
    """All that there is of it now."""
    output, pieces, offset = session.output, list[str](), 0
    while True:
        part = session.administrator.replica_log(replica, offset)
        if output.as_json:
            pieces.append(part["text"])
        else:
            output.text(part["text"], end="")
        if part["ended"] or not part["text"]:
            break
        offset = part["next_offset"]
    if output.as_json:
        output.document({**part, "text": "".join(pieces), "offset": 0})


def _order(session: Session, launch_id: str, act: str, body: dict[str, Any], *, wait: bool) -> None:
    api, output = session.administrator, session.output
    ordered = api.order_launch(launch_id, act, body)
    if wait:
        ordered = api.follow_deployment(ordered["id"], lambda found: output.note(_progress(found)))
    fields = {name: ordered.get(name) for name in ("state", "satellite_version", "serving_version", "reason")}
    output.document({"deployment": ordered["id"], **fields}, ordered)
    if ordered["state"] in ("failed", "rolled_back"):
        raise typer.Exit(1)


def _progress(found: dict[str, Any]) -> str:
    entries = (
        f"{one['vanity_url']} {one['ready']}/{one['desired']}" + (f" ({one['reason']})" if one["reason"] else "")
        for one in found["entries"]
    )
    return f"{found['state'].replace('_', ' ')}: {', '.join(entries) or 'nothing runs'}"


def _show(session: Session, found: dict[str, Any]) -> None:
    desired, running = found["desired"], found["running"]
    fields = {
        "launch": found["id"],
        "name": found["name"],
        "satellite": f"{found['satellite']} ({found['satellite_id']})",
        "version": found["satellite_version"],
        "description": found["description"] or None,
        "target": json.dumps(found["target"]),
        "ordered": None if desired is None else f"{desired['action']} version {desired['satellite_version']}",
        "running": None if running is None else _running(running),
        "reason": None if running is None else running["reason"],
        "address": f"{session.connection.url}{found['address']}" if found["target"]["kind"] == "workers" else None,
        **{f"gateway {one['instance'][:8]} {one['run'][-4:]}": _gateway(one) for one in found.get("satellites", ())},
        **{f"calls of {one['vanity_url']}": _usage(one) for one in found.get("usage", {}).get("entries", ())},
    }
    session.output.document(fields, found)


def _running(status: dict[str, Any]) -> str:
    ready = f"{status['ready']} of {status['desired']} ready"
    return f"{status['state']}, version {status['serving_version']}, {ready}"


def _gateway(one: dict[str, Any]) -> str:
    """What a gateway apart from the platform reported."""
    said = f"version {one['satellite_version']}{'' if one['up_to_date'] else ' (another one should run)'}"
    said += f", {one['ready']} of {one['desired']} ready, heard of {one['last_heard']}"
    lacking = "; ".join(f"{entry['vanity_url']}: {entry['reason']}" for entry in one["entries"] if entry["reason"])
    return f"{'silent, ' if one['stale'] else ''}{said}{f' ({lacking})' if lacking else ''}"


def _usage(one: dict[str, Any]) -> str:
    return f"{one['calls']} in 7 days, {one['errors']} of them failed, {one['seconds']:.1f} s"


def _target(kind: str | None, labels: list[str] | None, options: list[str] | None) -> dict[str, Any] | None:
    """The target that options describe; None when they say nothing of one. Raises Failed."""
    if kind is None and not labels and not options:
        return None
    members = {name: int(value) if value.isdigit() else value for name, value in map(_pair, options or ())}
    target: dict[str, Any] = {"kind": kind or "workers", **members}
    return target | ({"labels": dict(map(_pair, labels))} if labels else {})


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Failed(f"'{text}' is not KEY=VALUE")
    return name, value


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
