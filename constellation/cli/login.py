"""`constellation login` and `logout`: let the commands in by a person's approval instead of an API key."""

from __future__ import annotations

import os
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from constellation.cli import logins
from constellation.cli.command import explained
from constellation.cli.connection import Failed
from constellation.cli.output import Output

if TYPE_CHECKING:
    from libs.common.connect.protocol import DeviceLogin

Insecure = Annotated[
    bool, typer.Option("--insecure", help="The network is trusted: send tokens over plain HTTP to another machine.")
]
Browser = Annotated[bool, typer.Option("--browser", help="Open the page in a browser here.")]


def login(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Address of the platform.")],
    insecure: Insecure = False,
    browser: Browser = False,
) -> None:
    """Log in at a platform: shows a page and a code, and waits until you have approved it there.

    The login is kept for commands that are given no key, in a file that only you can read.
    """
    output = Output()

    def prompt(asked: DeviceLogin) -> None:
        output.note(f"Open    {asked.url}\nand see that it shows the code    {asked.code}")
        output.note(f"Waiting for your approval, {max(round(asked.seconds / 60), 1)} minutes at most.")
        if browser:
            webbrowser.open(asked.url)

    with explained():
        made = logins.log_in(os.environ, url, prompt, allow_insecure=insecure, transport=context.obj)
        output.text(f"Logged in at {made.server} as {made.account or 'an app without a user'}.")


def logout(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="Address of the platform. Default: the only one.")] = None,
) -> None:
    """End the login at a platform, here and there."""
    with explained():
        known = [one.url for one in logins.kept(os.environ)]
        if url is None and len(known) > 1:
            raise Failed(f"which platform? You are logged in at {', '.join(known)}")
        chosen = (url or next(iter(known), "")).rstrip("/")
        if chosen not in known:
            raise Failed(f"you are not logged in at {chosen}" if chosen else "you are not logged in anywhere")
        logins.log_out(os.environ, chosen, context.obj)
        Output().text(f"Logged out of {chosen}.")
