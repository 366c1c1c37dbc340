"""The gateway with a real runner, beside nginx before a bare uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateway import load
from bench.gateway.sides import NGINX, Side, constellation, nginx_and_uvicorn
from bench.measurement import Measurement
from bench.report import first_line


@contextmanager
def _sides(folder: Path) -> Iterator[tuple[Side, ...]]:
    with nginx_and_uvicorn(folder / "nginx") as yardstick, constellation(folder / "constellation") as ours:
        for side in (yardstick, ours):
            load.check(side)
        yield yardstick, ours


MEASUREMENT = Measurement(
    name="gateway",
    title="Calls per second through one gateway to one replica",
    unit="call",
    yardstick="nginx and uvicorn",
    connections=(1, 64),
    sides=_sides,
    run=load.run,
    versions=lambda: {"nginx": first_line([NGINX, "-v"]), "wrk": first_line([load.WRK, "-v"])},
    notes={"body_bytes": len(load.BODY), "load_generator": "wrk -t1, closed loop, on the same machine"},
)
