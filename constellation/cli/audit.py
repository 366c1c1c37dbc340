"""`constellation audit`: who changed what."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from constellation.cli.command import Session, command

app = typer.Typer()


@command(app, "audit")
def audit(
    session: Session,
    actor: Annotated[str | None, typer.Option(help="Only what this account did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as `version.publish`.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show.")] = 50,
) -> None:
    """List administrative acts, the newest first."""
    columns = {
        "AT": "at",
        "ACTOR": "actor",
        "ACTION": "action",
        "SUBJECT": "subject",
        "OUTCOME": "outcome",
        "DETAIL": "detail",
    }
    found = session.administrator.audit(actor=actor, action=action, subject=subject)
    session.output.table(columns, islice(found, limit), none="Nothing was done yet.")
