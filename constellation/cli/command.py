"""Commands that talk to a platform: what they have in common.

A command is a function whose first parameter is a Session. `command` registers it with the options that say which
platform is meant, and turns what goes wrong into a sentence on standard error and an exit status.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from constellation.cli import connection, logins
from constellation.cli.connection import Connection, Failed
from constellation.cli.output import Output

if TYPE_CHECKING:
    from constellation.api import Api
    from constellation.rest import Key

Command = Callable[..., None]

Url = Annotated[
    str | None,
    typer.Option("--url", help=f"Address of the platform. Else {connection.URL}, or the one that runs here."),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help=f"Better in {connection.API_KEY} or {connection.ADMIN_API_KEY}: other users see command lines.",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data directory of a platform that runs here.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Session:
    """What a command works with.

    Args:
        transport: carries requests; the network does when it is None. Given as the `obj` of the whole command line.
    """

    def __init__(self, found: Connection, output: Output, stack: ExitStack, transport: Any) -> None:
        self.connection = found
        self.output = output
        self._stack = stack
        self._transport = transport

    @functools.cached_property
    def author(self) -> Api:
        """For work on algorithms."""
        return self._api(self.connection.authors_key())

    @functools.cached_property
    def administrator(self) -> Api:
        """For work on the platform."""
        return self._api(self.connection.administrators_key())

    @property
    def transport(self) -> Any:
        """What carries requests; None for the network."""
        return self._transport

    def _api(self, key: Key) -> Api:
        from constellation.api import Api  # noqa: PLC0415 - only a command that runs needs it

        return self._stack.enter_context(Api(self.connection.url, key, transport=self._transport))


def command(app: typer.Typer, name: str, *, json: bool = True) -> Callable[[Command], Command]:
    """Register a command.

    Args:
        json: it has an option `--json`, which makes its output JSON.
    """

    def register(function: Command) -> Command:
        own = inspect.signature(function, eval_str=True)
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        shared = [context, _option("url", Url), _option("api_key", ApiKey), _option("data_dir", DataDir)]
        if json:
            shared.append(_option("as_json", AsJson, default=False))

        @functools.wraps(function)
        def run(
            *,
            context: typer.Context,
            url: str | None,
            api_key: str | None,
            data_dir: Path | None,
            as_json: bool = False,
            **arguments: Any,
        ) -> None:
            with explained(), ExitStack() as stack:
                kept = functools.partial(logins.kept, os.environ, context.obj)
                found = connection.connect(os.environ, url=url, api_key=api_key, data_dir=data_dir, logins=kept)
                function(Session(found, Output(as_json=as_json), stack, context.obj), **arguments)

        parameters = [*list(own.parameters.values())[1:], *shared]
        vars(run)["__signature__"] = own.replace(parameters=[p.replace(kind=p.KEYWORD_ONLY) for p in parameters])
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return app.command(name)(run)

    return register


def _option(name: str, annotation: Any, *, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@contextmanager
def explained() -> Iterator[None]:
    """Ends the command with a sentence when something goes wrong."""
    from constellation.rest import ApiError  # noqa: PLC0415 - see above
    from libs.common.connect.errors import ConnectFailed  # noqa: PLC0415 - see above

    try:
        yield
    except ApiError as error:
        if error.trace:
            Output().note(error.trace.rstrip())
        _fail(f"{error.kind}: {error}" if error.kind else str(error))
    except (Failed, ConnectFailed) as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: `| head` is no failure
        raise typer.Exit(1) from None
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))


def _fail(message: str) -> NoReturn:
    Output().note(f"constellation: {message}")
    raise typer.Exit(1)
