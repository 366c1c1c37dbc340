"""`constellation up`: all five services on this machine."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from constellation.up import Options, Platform


class Runtime(StrEnum):
    PROCESS = "process"
    DOCKER = "docker"


def up(
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".constellation"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The one public port; 0 takes a free one.")] = 8000,
    database: Annotated[
        str | None, typer.Option(help="PostgreSQL URL. Default: an embedded server in the data directory.")
    ] = None,
    bus: Annotated[str | None, typer.Option(help="RabbitMQ URL. Default: an in-process bus.")] = None,
    runtime: Annotated[
        Runtime,
        typer.Option(help="How replicas run. Containers need a Docker engine."),
    ] = Runtime.PROCESS,
    demo: Annotated[bool, typer.Option("--demo", help="Publish the bundled examples on the first start.")] = False,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run all five services on this machine until Ctrl-C."""
    import uvloop  # noqa: PLC0415

    from constellation.up import Options  # noqa: PLC0415
    from libs.common import logs  # noqa: PLC0415

    logs.configure(level=log_level.upper(), human=True)
    options = Options(data_dir, host, port, database, bus, runtime.value)
    raise typer.Exit(uvloop.run(_run(options, demo=demo)))


async def _run(options: Options, *, demo: bool) -> int:
    from constellation.data_dir import DataDirRefused  # noqa: PLC0415
    from constellation.server import PortTaken, ServiceFailed, settle  # noqa: PLC0415
    from constellation.up import cancel_on_signals, platform  # noqa: PLC0415

    cancel_on_signals()
    try:
        async with platform(options) as running:
            settle()
            telling = asyncio.create_task(_tell(running, demo=demo))
            try:
                await asyncio.shield(running.failed)
            finally:
                telling.cancel()
                await asyncio.wait({telling})
                typer.echo("\nStopping ...")
    except (PortTaken, DataDirRefused, ServiceFailed, RuntimeError) as error:
        typer.echo(f"constellation: {error}", err=True)
        return 1
    except asyncio.CancelledError:  # by a signal, and all has ended
        pass
    return 0


async def _tell(running: Platform, *, demo: bool) -> None:
    """Say where the platform is and how to use it, once calls are answered."""
    admin_file = running.data_dir / "admin.json"
    example = None
    if demo:
        example = await _publish_examples(running)
    lines = [
        "",
        f"Constellation is ready at {running.url}",
        f"  sign in:                {running.url}/signin",
        f"  password and API keys:  {admin_file} (readable by you alone)",
    ]
    if example:
        key = f'$(python3 -c \'import json;print(json.load(open("{admin_file}"))["api_key"])\')'
        lines += [
            "  a first call:",
            "",
            f'curl -s {running.url}/v1/algo/{example} -H "Authorization: Simple {key}" '
            "-H 'Content-Type: text/plain' -d 'The quick brown fox jumps over the lazy dog.'",
        ]
    typer.echo("\n".join([*lines, "", "Ctrl-C stops it."]))


async def _publish_examples(running: Platform) -> str | None:
    """Publish what is not published yet. Returns the reference to show, or None when nothing could be."""
    from constellation.examples import publish_all  # noqa: PLC0415

    try:
        admin = running.admin()
    except FileNotFoundError:
        typer.echo("The examples are left alone: admin.json was taken away.")
        return None
    failures = await asyncio.to_thread(publish_all, running.url, admin, typer.echo)
    for name, reason in failures.items():
        typer.echo(f"The example {name} was not published: {reason}", err=True)
    return f"{admin['username']}/readability" if "readability" not in failures else None
