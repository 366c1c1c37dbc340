"""`constellation data`: collections and files of hosted data."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from constellation.cli.command import Session, command

app = typer.Typer(help="See, bring, fetch and remove hosted data.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="data://OWNER/COLLECTION/FILE; .my is yours.")]


class Readers(StrEnum):
    """Who reads a collection beside its owner."""

    OWNER = "owner"
    ALGORITHMS = "algorithms"
    EVERYBODY = "everybody"


@command(app, "ls")
def ls(
    session: Session,
    address: Annotated[str, typer.Argument(help="Of a collection, or an account's own folder.")] = "data://.my",
) -> None:
    """List collections, or the files of one."""
    entries = [
        {"name": entry.get("name") or entry["filename"], **entry} for entry in session.author.data.list(address)
    ]
    columns = {"NAME": "name", "SIZE": "size", "MODIFIED": "last_modified"}
    session.output.table(columns, entries, none="There is nothing.")


@command(app, "mkdir")
def mkdir(
    session: Session,
    address: Address,
    readers: Annotated[
        Readers, typer.Option(help="Who reads it: nobody else, your algorithms for any caller, or everybody.")
    ] = Readers.ALGORITHMS,
) -> None:
    """Make a collection."""
    session.output.document({"made": session.author.data.make(address, readers)})


@command(app, "put")
def put(
    session: Session,
    file: Annotated[Path, typer.Argument(help="Here.", exists=True, dir_okay=False)],
    address: Annotated[str, typer.Argument(help="Of the file there, or of the collection it goes into.")],
) -> None:
    """Bring a file. One that is there already is replaced."""
    session.output.document({"written": session.author.data.put(file, address)})


@command(app, "get", json=False)
def get(
    session: Session,
    address: Address,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here. Default: standard output.")
    ] = None,
) -> None:
    """Fetch a file."""
    chunks = session.author.data.get(address)
    if output is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        return
    with NamedTemporaryFile(dir=output.resolve().parent, prefix=f".{output.name}.") as part:
        for chunk in chunks:
            part.write(chunk)
        part.flush()
        shutil.copyfile(part.name, output)


@command(app, "rm")
def rm(
    session: Session,
    address: Address,
    force: Annotated[bool, typer.Option("--force", help="A collection with all that is in it.")] = False,
) -> None:
    """Remove a file, or an empty collection."""
    session.output.document({"removed": session.author.data.remove(address, force=force)})
