"""`constellation app`: apps that were let in, those that wait, and the rules that decide."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

if TYPE_CHECKING:
    from constellation.api import Api

app = typer.Typer(help="See apps, let them in, and end them.", no_args_is_help=True)

Code = Annotated[str, typer.Argument(help="The code that the app shows, or the id that `ls --waiting` does.")]
_STANDARD_INPUT = Path("-")


@command(app, "ls")
def ls(
    session: Session,
    search: Annotated[str, typer.Option("--search", "-q", help="Part of an app's or an account's name.")] = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="Those that wait for a decision.")] = False,
) -> None:
    """List the apps that were let in, the revoked among them, or those that wait."""
    if waiting:
        columns = {
            "ID": "id",
            "APP": "identifier",
            "VERSION": "version",
            "ASKS FOR": "scope",
            "FROM": "address",
            "BY": "needs",
            "UNTIL": "expires_at",
        }
        session.output.table(columns, session.administrator.waiting_apps(), none="No app waits.")
        return
    columns = {
        "ID": "id",
        "APP": "identifier",
        "VERSION": "version",
        "DEVICE": "device",
        "ACCOUNT": "account",
        "STATE": "state",
        "LAST LOGIN": "last_login_at",
    }
    session.output.table(columns, session.administrator.apps(search), none="No app was let in yet.")


@command(app, "show")
def show(
    session: Session, app_id: Annotated[str, typer.Argument(help="Id of the app, or of one that waits.")]
) -> None:
    """Show one app, with what it last said about the services that it uses."""
    found = _find(session.administrator, app_id)
    session.output.document({name.replace("_", " "): _shown(value) for name, value in found.items()}, found)


@command(app, "approve")
def approve(
    session: Session,
    code: Code,
    decline: Annotated[
        list[str] | None,
        typer.Option("--decline", metavar="KEY", help="It does not get this requirement. Repeat it."),
    ] = None,
    org: Annotated[str | None, typer.Option(help="It acts in this organization of yours.")] = None,
) -> None:
    """Let an app in. It acts for you."""
    decided = session.administrator.approve_app(code, declined=decline or (), organization=org)
    session.output.document({"approved": decided["identifier"], "id": decided["client_id"]}, decided)


@command(app, "deny")
def deny(
    session: Session,
    code: Code,
    reason: Annotated[str, typer.Option(help="In words, for whoever runs the app.")] = "",
) -> None:
    """Turn an app away."""
    decided = session.administrator.deny_app(code, reason=reason)
    session.output.document({"denied": decided["identifier"]}, decided)


@command(app, "revoke")
def revoke(session: Session, app_id: Annotated[str, typer.Argument(help="Id of the app.")]) -> None:
    """End an app everywhere, at once and for good. It can ask again."""
    session.administrator.revoke_app(app_id)
    session.output.document({"revoked": app_id})


@command(app, "rules", json=False)
def rules(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Option("--set", metavar="FILE", help='Replace them: {"rules": [...]}; `-` reads standard input.'),
    ] = None,
) -> None:
    """Show the rules that decide who may let which app in, and the strategies that they may name, as JSON."""
    api = session.administrator
    current = api.rules() if file is None else api.replace_rules(_rules(file))
    session.output.text(json.dumps(current, indent=2, ensure_ascii=False))


def _find(api: Api, app_id: str) -> dict[str, Any]:
    for listed in (api.apps(), api.waiting_apps()):
        for one in listed:
            if one["id"] == app_id:
                return one
    raise Failed(f"there is no app with the id '{app_id}'; `constellation app ls` shows all")


def _shown(value: Any) -> Any:
    """The value in one line; None, which is not shown, for an empty one."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else None
    return None if value == "" else value


def _rules(file: Path) -> list[Any]:
    try:
        document = json.loads(sys.stdin.read() if file == _STANDARD_INPUT else file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failed(f"{file} is not JSON: {error}") from None
    found = document.get("rules") if isinstance(document, dict) else document
    if not isinstance(found, list):
        raise Failed(f'{file} holds no rules: it looks like {{"rules": [...]}}')
    return found
