"""Logins in a closed loop: each connection starts the next when it has the token of the last."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles

from bench.preflight.sides import Server
from bench.processes import cpu_seconds
from bench.report import Result

_TIMEOUT = 30.0


def run(server: Server, connections: int, seconds: int, _: Path) -> Result:
    """Raises RuntimeError when any login failed, or a token came twice."""
    pids = {server.process: server.pid, "postgres": server.postgres_pid}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        loops = [pool.submit(_log_in, server, began + seconds) for _ in range(connections)]
        done = [login for loop in loops for login in loop.result()]
    elapsed = time.perf_counter() - began
    after = {name: cpu_seconds(pid) for name, pid in pids.items()}
    if len({token for token, _ in done}) != len(done):
        raise RuntimeError(f"{server.name} gave a token twice")
    took_us = sorted(took * 1e6 for _, took in done)
    percentiles = quantiles(took_us, n=100, method="inclusive")
    cpu_us = {name: (after[name] - before[name]) / len(done) * 1e6 for name in pids}
    return Result(
        side=server.name,
        connections=connections,
        per_second=len(done) / elapsed,
        p50_us=percentiles[49],
        p99_us=percentiles[98],
        cpu_us=cpu_us,
        core_us=cpu_us[server.process],
    )


def _log_in(server: Server, until: float) -> list[tuple[str, float]]:
    """Access tokens, and how many seconds each login took; two at least."""
    done: list[tuple[str, float]] = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT)
    try:
        while len(done) < 2 or time.perf_counter() < until:
            began = time.perf_counter()
            token = server.log_in(connection)
            done.append((token, time.perf_counter() - began))
    finally:
        connection.close()
    return done
