"""The command line, one file per command group. A command imports what it runs, so that `--help` is quick."""

from __future__ import annotations

import typer

from constellation.cli import (
    algo,
    application,
    audit,
    data,
    doctor,
    image,
    key,
    launch,
    login,
    migrate,
    org,
    satellite,
    serve,
    up,
    user,
    worker,
)
from constellation.cli import app as apps

app = typer.Typer(
    name="constellation",
    help="Serves algorithms across machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.add_typer(doctor.app)
app.add_typer(audit.app)
for name, group in (
    ("algo", algo),
    ("satellite", satellite),
    ("launch", launch),
    ("application", application),
    ("data", data),
    ("app", apps),
    ("image", image),
    ("worker", worker),
    ("user", user),
    ("org", org),
    ("key", key),
):
    app.add_typer(group.app, name=name)


def main() -> None:
    """Entry point of the `constellation` command."""
    app()
