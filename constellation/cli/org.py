"""`constellation org`: organizations, which own algorithms together."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from constellation.cli.command import Session, command

app = typer.Typer(help="See and add organizations.", no_args_is_help=True)
members = typer.Typer(help="Who belongs to an organization.", no_args_is_help=True)
app.add_typer(members, name="members")

Role = Literal["owner", "member", "executor"]


@command(app, "ls")
def ls(session: Session) -> None:
    """List the organizations."""
    columns = {"NAME": "name", "LABEL": "label", "EMAIL": "email", "SINCE": "created_at"}
    session.output.table(columns, session.administrator.organizations(), none="There are no organizations.")


@command(app, "create")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Letters, digits and _, at most 30.")],
    email: Annotated[str, typer.Option(help="Where to reach it.")],
    label: Annotated[str | None, typer.Option(help="What people read. Default: the name.")] = None,
    contact: Annotated[str | None, typer.Option(help="Whom to ask for. Default: the name.")] = None,
) -> None:
    """Add an organization. You are its first owner."""
    made = session.administrator.create_organization(name, label=label or name, contact=contact or name, email=email)
    session.output.document({"organization": made["org_name"], "id": made["id"]}, made)


@command(members, "ls")
def list_members(
    session: Session, organization: Annotated[str, typer.Argument(help="The organization's name.")]
) -> None:
    """List the members of an organization."""
    columns = {"USER": "username", "ROLE": "role"}
    session.output.table(columns, session.administrator.members(organization), none="It has no members.")


@command(members, "add")
def add_member(
    session: Session,
    organization: Annotated[str, typer.Argument(help="The organization's name.")],
    user: Annotated[str, typer.Argument(help="The user's name.")],
    role: Annotated[Role | None, typer.Option(help="Default: as before, else member.")] = None,
) -> None:
    """Add a user to an organization, or change its role."""
    added = session.administrator.put_member(organization, user, role)
    session.output.document({"organization": organization, "user": user, "added": added})
