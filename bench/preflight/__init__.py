"""Whole logins at fakts, beside the device flow of npm's `oidc-provider`, both on one PostgreSQL."""

from __future__ import annotations

from bench.measurement import Measurement
from bench.preflight import load
from bench.preflight.sides import PEER, peer_versions, sides

MEASUREMENT = Measurement(
    name="preflight",
    title="Logins per second at one server process with PostgreSQL: start, approval, token",
    unit="login",
    yardstick=PEER,
    connections=(1, 8),
    sides=sides,
    run=load.run,
    versions=peer_versions,
    notes={
        "per_core": "of the server's own process; PostgreSQL's time is beside it",
        "approval": "at once with the start: by a rule in fakts, by the peer's own models in the peer",
        "difference": "fakts registers a client per login and writes its audit; the peer has one client",
        "load_generator": "threads with a connection each, closed loop, on the same machine",
    },
)
