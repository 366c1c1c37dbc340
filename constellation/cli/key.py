"""`constellation key`: API keys of accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

app = typer.Typer(help="See, make and revoke API keys.", no_args_is_help=True)

Owner = Annotated[str | None, typer.Option(help="A user's. Default: your own.")]
Organization = Annotated[str | None, typer.Option("--org", help="An organization's.")]


@command(app, "ls")
def ls(
    session: Session,
    owner: Owner = None,
    org: Organization = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's, for administrators.")] = False,
) -> None:
    """List the API keys in force. None is shown whole."""
    columns = {
        "ID": "id",
        "OWNER": "owner_name",
        "LABEL": "key_label",
        "TYPE": "key_type",
        "KEY": "api_key_mask",
        "EXPIRES": "expires_at",
    }
    api = session.administrator
    if everybody:
        found = api.all_keys()
    else:
        account, is_org = _account(session, owner, org)
        found = api.keys(account, organization=is_org)
    session.output.table(columns, found, none="There are no API keys.")


@command(app, "create")
def create(
    session: Session,
    label: Annotated[str, typer.Argument(help="What the key is for.")],
    owner: Owner = None,
    org: Organization = None,
    admin: Annotated[bool, typer.Option("--admin", help="Reaches administrators' routes.")] = False,
    call: Annotated[
        list[str] | None,
        typer.Option("--call", metavar="REF", help="May call these: '*', 'OWNER/*' or 'OWNER/NAME'. Repeat it."),
    ] = None,
    manage: Annotated[bool, typer.Option("--manage", help="May push and publish algorithms.")] = False,
    data: Annotated[bool, typer.Option("--data", help="May read data.")] = False,
    data_write: Annotated[bool, typer.Option("--data-write", help="May read and write data.")] = False,
    days: Annotated[float | None, typer.Option(min=0.01, help="How long it is in force. Default: ever.")] = None,
) -> None:
    """Make an API key, which may do only what is said here. Nothing shows it again."""
    account, is_org = _account(session, owner, org)
    permissions = {
        "allow_algo": bool(call),
        "algo_acl": [_entry(one) for one in call or ()],
        "allow_algo_management": manage,
        "allow_data": data or data_write,
        "allow_data_write": data_write,
    }
    key = {
        "key_label": label,
        "key_type": "PlatformAdminKey" if admin else "AlgorithmKey",
        "permissions": permissions,
        "expires_at": None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat(),
    }
    made = session.administrator.create_key(account, key, organization=is_org)
    session.output.document({"id": made["id"], "owner": made["owner_name"], "key": made["api_key"]}, made)


@command(app, "revoke")
def revoke(
    session: Session,
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    owner: Owner = None,
    org: Organization = None,
) -> None:
    """End a key at once and for good."""
    account, is_org = _account(session, owner, org)
    session.administrator.revoke_key(account, key_id, organization=is_org)
    session.output.document({"revoked": key_id})


def _account(session: Session, owner: str | None, org: str | None) -> tuple[str, bool]:
    """Whose keys, and whether that is an organization."""
    if owner and org:
        raise Failed("give --owner or --org, not both")
    return (org, True) if org else (session.connection.account(owner), False)


def _entry(reference: str) -> str:
    """An entry of `algo_acl`."""
    text = reference.removeprefix("algo://")
    return f"algo://{text}" if text.endswith("*") else f"algo://{text}/*"
