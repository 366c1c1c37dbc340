"""`python -m bench`: all measurements, or those that are named."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import gateway, preflight
from bench.measurement import Measurement

RESULTS = Path(__file__).parent / "results"
TOOLS = {"gateway": ("wrk", "/usr/sbin/nginx"), "preflight": ("node", "npm")}
MEASUREMENTS: dict[str, Measurement[Any]] = {"gateway": gateway.MEASUREMENT, "preflight": preflight.MEASUREMENT}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measurements", nargs="*", metavar="MEASUREMENT", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--seconds", type=int, default=8, help="of each run")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side at each number of connections")
    parser.add_argument("--connections", type=int, nargs="+", help="instead of each measurement's own")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = options.measurements or list(MEASUREMENTS)
    for name in names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no measurement '{name}', only {', '.join(MEASUREMENTS)}")
        for tool in TOOLS[name]:
            if shutil.which(tool) is None:
                print(f"{tool} is needed; on Debian: apt-get install wrk nginx-light nodejs npm", file=sys.stderr)  # noqa: T201
                return 2
    for name in names:
        measurement = MEASUREMENTS[name]
        if options.connections:
            measurement = replace(measurement, connections=tuple(options.connections))
        table = measurement.measure(options.seconds, options.pairs, options.results)
        print(f"\n{table}\n\nwritten to {options.results}\n", flush=True)  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
