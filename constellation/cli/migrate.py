"""`constellation migrate [SERVICE]`: schema migrations."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def migrate(
    service: Annotated[str | None, typer.Argument(help="One service. Default: all that keep tables.")] = None,
    env_file: Annotated[Path | None, typer.Option(help="File with CONSTELLATION_... settings.", exists=True)] = None,
) -> None:
    """Bring database schemas up to date. Safe to run from several hosts at once."""
    from constellation import serve, services  # noqa: PLC0415

    names = (service,) if service else services.NAMES
    try:
        done = asyncio.run(serve.migrate(names, env_file))
    except ValueError as error:
        typer.echo(f"constellation: {error}", err=True)
        raise typer.Exit(1) from error
    for name in done:
        typer.echo(f"{name}: schema is up to date")
