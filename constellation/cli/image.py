"""`constellation image`: algorithms as container images, made without a container engine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

app = typer.Typer(help="Make container images of algorithms.", no_args_is_help=True)


@app.command("build")
def build(
    algorithm: Annotated[str, typer.Argument(metavar="OWNER/NAME[/VERSION]", help="What was built; a commit too.")],
    base: Annotated[
        str | None, typer.Option(help="Base image with Python: a reference, or an OCI layout's folder or tar.")
    ] = None,
    python: Annotated[str | None, typer.Option(help="Path of the Python in the base image.")] = None,
    push: Annotated[str | None, typer.Option(metavar="REF", help="Push it there.")] = None,
    layout: Annotated[Path | None, typer.Option(metavar="DIR", help="Write it to an OCI layout.")] = None,
    plain_http: Annotated[
        list[str] | None, typer.Option(metavar="HOST[:PORT]", help="A registry without TLS. May be repeated.")
    ] = None,
    env_file: Annotated[Path | None, typer.Option(help="File with CONSTELLATION_... settings.", exists=True)] = None,
) -> None:
    """Make the image of a revision that was built. Run it on a worker's machine, with a worker's settings but a
    CONSTELLATION_DATA_DIR of its own. Prints the image's digest. Passwords come from Docker's configuration."""
    if push is None and layout is None:
        raise _failed("where to? Give --push REF, --layout DIR, or both")
    import uvloop  # noqa: PLC0415 - only a command that runs needs these
    from pydantic import ValidationError  # noqa: PLC0415

    from libs.common import logs  # noqa: PLC0415
    from services.worker import image_build  # noqa: PLC0415
    from services.worker.settings import WorkerSettings  # noqa: PLC0415

    given: dict[str, Any] = {"image_base": base, "image_python": None if python is None else PurePosixPath(python)}
    source: dict[str, Any] = {} if env_file is None else {"_env_file": env_file}
    try:
        settings = WorkerSettings(**source, **{name: value for name, value in given.items() if value is not None})
        logs.configure(level="WARNING", human=True)
        target = image_build.Target(push, layout)
        made = image_build.build(
            settings,
            algorithm,
            target,
            plain_http=plain_http or (),
            say=lambda text: typer.echo(text, err=True, nl=False),
        )
        typer.echo(uvloop.run(made))
    except ValidationError as error:
        wrong = "; ".join(f"CONSTELLATION_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise _failed(f"the settings of a worker do not fit: {wrong}") from error
    except image_build.ImageNotBuilt as error:
        raise _failed(str(error)) from error


def _failed(message: str) -> typer.Exit:
    typer.echo(f"constellation: {message}", err=True)
    return typer.Exit(1)
