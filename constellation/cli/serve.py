"""`constellation serve SERVICE`: one service by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    service: Annotated[str, typer.Argument(help="fakts, registry, deployer, worker or gateway")],
    env_file: Annotated[Path | None, typer.Option(help="File with CONSTELLATION_... settings.", exists=True)] = None,
) -> None:
    """Run one service, configured by environment variables; it finds the others through Fakts."""
    import httpx  # noqa: PLC0415
    import uvloop  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from constellation import serve as one  # noqa: PLC0415
    from constellation.server import PortTaken, ServiceFailed  # noqa: PLC0415
    from libs.common.join import JoinRefused  # noqa: PLC0415

    try:
        uvloop.run(one.serve(service, env_file))
    except ValidationError as error:
        wrong = "; ".join(f"CONSTELLATION_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise _failed(f"the settings of {service} do not fit: {wrong}") from error
    except (ValueError, PortTaken, ServiceFailed, JoinRefused, httpx.HTTPError) as error:
        raise _failed(str(error)) from error


def _failed(message: str) -> typer.Exit:
    typer.echo(f"constellation: {message}", err=True)
    return typer.Exit(1)
