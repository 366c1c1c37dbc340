"""`python -m bench`: closed loops of wrk against both sides, by turns, and their medians.

The load generator runs on the same machine, so only the ratio within one run says something about another machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load, report
from bench.sides import NGINX, constellation, nginx_and_uvicorn

RESULTS = Path(__file__).parent / "results"
YARDSTICK = "nginx and uvicorn"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="of each run")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side at each number of connections")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    for tool in (load.WRK, NGINX):
        if shutil.which(tool) is None:
            print(f"{tool} is needed; on Debian: apt-get install wrk nginx-light", file=sys.stderr)  # noqa: T201
            return 2
    load_before = os.getloadavg()
    results = []
    with tempfile.TemporaryDirectory(prefix="bench") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        sides = [
            stack.enter_context(nginx_and_uvicorn(folder / "nginx")),
            stack.enter_context(constellation(folder / "constellation")),
        ]
        for side in sides:
            load.check(side)
            load.run(side, max(options.connections), min(options.seconds, 3), folder)  # to warm up
        for connections in options.connections:
            for pair in range(options.pairs):
                for side in sides:
                    result = load.run(side, connections, options.seconds, folder)
                    results.append(result)
                    print(  # noqa: T201 - progress for whoever waits
                        f"{side.name}, {connections} connections, run {pair + 1}: {result.per_second:,.0f} calls/s",
                        flush=True,
                    )
    rows = report.summarise(results, YARDSTICK)
    conditions = {
        "versions": report.versions(),
        "seconds": options.seconds,
        "pairs": options.pairs,
        "body_bytes": len(load.BODY),
        "processors": len(os.sched_getaffinity(0)),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "scheduling": "real time" if os.sched_getscheduler(0) == os.SCHED_FIFO else "normal",
        "load_generator": "wrk -t1, closed loop, on the same machine",
    }
    report.write(options.results, rows, results, conditions)
    print(f"\n{report.table(rows)}\n\nwritten to {options.results}")  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
