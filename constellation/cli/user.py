"""`constellation user`: people who use the platform."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.cli.command import Session, command

app = typer.Typer(help="See and add users.", no_args_is_help=True)


@command(app, "ls")
def ls(session: Session) -> None:
    """List the users."""
    columns = {
        "NAME": "name",
        "EMAIL": "email",
        "FULL NAME": "fullname",
        "ADMINISTRATOR": "staff",
        "CALLS AT ONCE": "session_limit",
        "SINCE": "created_at",
    }
    session.output.table(columns, session.administrator.users(), none="There are no users.")


@command(app, "create")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Letters, digits and _, at most 30.")],
    email: Annotated[str, typer.Option(help="Of the user; nobody else's.")],
    full_name: Annotated[str | None, typer.Option(help="As people say it.")] = None,
    staff: Annotated[bool, typer.Option("--admin", help="Make the user an administrator.")] = False,
    password: Annotated[bool, typer.Option("--password", help="Ask for a password to sign in with.")] = False,
) -> None:
    """Add a user. `constellation key create --owner NAME` makes the first API key."""
    change: dict[str, object] = {"staff": True} if staff else {}
    if password:
        change["password"] = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    api = session.administrator
    made = api.create_user(name, email=email, full_name=full_name)
    if change:
        api.change_user(name, change)
    session.output.document({"user": made["username"], "id": made["id"]}, made)
