"""`constellation image`: container images of algorithms, and of the platform itself for gateways elsewhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from constellation.cli.command import Session, command
from constellation.cli.connection import Failed

app = typer.Typer(help="Make container images of algorithms.", no_args_is_help=True)

ImageId = Annotated[str, typer.Argument(metavar="IMAGE_ID", help="The image's id.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is over.")]


@command(app, "ls")
def ls(session: Session) -> None:
    """List the images that the platform made, or is to make."""
    columns = {
        "ID": "id",
        "KIND": "kind",
        "ALGORITHM": "algorithm",
        "PLATFORM": "platform",
        "STATE": "state",
        "DIGEST": "digest",
        "BYTES": "size",
    }
    session.output.table(columns, session.administrator.images(), none="There are no images yet.")


@command(app, "show")
def show(session: Session, image_id: ImageId) -> None:
    """Show an image, and where it was pushed."""
    _show(session, session.administrator.image(image_id))


@command(app, "make")
def make(
    session: Session,
    algorithm: Annotated[
        str | None, typer.Argument(metavar="OWNER/NAME/VERSION", help="What was built; a commit too.")
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="The platform itself, for gateways of satellites.")
    ] = False,
    platform: Annotated[
        str | None, typer.Option(metavar="linux/ARCH", help="Default: that of the platform's registry service.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Anew, on what the base image is by now.")] = False,
    wait: Wait = True,
) -> None:
    """Have a worker of the platform make an image, unless it was made. The platform keeps it."""
    if gateway is (algorithm is not None):
        raise Failed("say of what: OWNER/NAME/VERSION, or --gateway")
    api = session.administrator
    order: dict[str, Any] = {"gateway": True} if gateway else {"algorithm": algorithm}
    order |= {"platform": platform} if platform else {}
    found = api.order_image(order | ({"renew": True} if renew else {}))
    if wait:
        found = api.follow_work(lambda: api.image(found["id"]), session.output.note)
    _show(session, found)
    _check(found)


@command(app, "push")
def push(
    session: Session,
    image_id: ImageId,
    to: Annotated[str, typer.Argument(metavar="HOST/PATH[:TAG]", help="Repository in a container registry.")],
    wait: Wait = True,
) -> None:
    """Have a worker push an image, with the credentials in Docker's configuration of the worker's user."""
    api = session.administrator
    found = api.push_image(image_id, to)
    if wait:
        found = api.follow_work(lambda: api.image_push(image_id, found["id"]), session.output.note)
    fields = {name: found[name] for name in ("to", "digest", "state", "reason")}
    session.output.document({"push": found["id"], **fields}, found)
    _check(found)


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


def _show(session: Session, found: dict[str, Any]) -> None:
    pushes = [f"{one['to']} {one['state']}" for one in found.get("pushes", ())]
    names = ("algorithm", "release", "platform", "state", "reason", "digest", "base", "size")
    fields = {"image": found["id"], **{name: found[name] for name in names}, "pushed": ", ".join(pushes) or None}
    session.output.document(fields, found)


def _check(found: dict[str, Any]) -> None:
    """The exit status of what failed."""
    if found["state"] == "failed":
        raise typer.Exit(1)


def _failed(message: str) -> typer.Exit:
    typer.echo(f"constellation: {message}", err=True)
    return typer.Exit(1)
