"""`constellation doctor`: what works from here, and what to do about what does not."""

from __future__ import annotations

from dataclasses import asdict

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import NotConnected

app = typer.Typer()


@command(app, "doctor")
def doctor(session: Session) -> None:
    """Check the way to the platform, the credential and all services. Fails when something is bad."""
    from constellation.doctor import Doctor, State  # noqa: PLC0415 - only a command that runs needs it

    try:
        key = session.connection.administrators_key()
    except NotConnected:
        key = None
    findings = []
    for found in Doctor(session.connection.url, key, transport=session.transport).examine():
        findings.append(found)
        if not session.output.as_json:
            session.output.text(f"{found.state:<4}  {found.name:<10}  {found.detail}")
    if session.output.as_json:
        session.output.table({}, map(asdict, findings), none="")
    if any(found.state is State.BAD for found in findings):
        raise typer.Exit(1)
