"""What the runs say together: medians, ratios, a table, a JSON document and a plot."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from bench.load import WRK, Result
from bench.sides import NGINX

PACKAGES = ("constellation", "uvicorn", "httptools", "uvloop", "orjson")


@dataclass(frozen=True)
class Row:
    """One side at one number of connections: medians over the runs."""

    side: str
    connections: int
    runs: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]
    ratio: float
    """Of its throughput to the yardstick's, as the median over the pairs of runs."""

    @property
    def cpu_total_us(self) -> float:
        return sum(self.cpu_us.values())


def summarise(results: Sequence[Result], yardstick: str) -> list[Row]:
    """A row per side and number of connections. Runs are paired in the order in which they were made."""
    rows = []
    for connections in sorted({result.connections for result in results}):
        at = [result for result in results if result.connections == connections]
        base = [result.per_second for result in at if result.side == yardstick]
        for side in dict.fromkeys(result.side for result in at):
            runs = [result for result in at if result.side == side]
            rows.append(
                Row(
                    side=side,
                    connections=connections,
                    runs=len(runs),
                    per_second=median(run.per_second for run in runs),
                    p50_us=median(run.p50_us for run in runs),
                    p99_us=median(run.p99_us for run in runs),
                    cpu_us={name: median(run.cpu_us[name] for run in runs) for name in runs[0].cpu_us},
                    ratio=median(run.per_second / of for run, of in zip(runs, base, strict=True)),
                )
            )
    return rows


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| side | connections | calls/s | ratio | p50 ms | p99 ms | CPU us per call, by process |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cpu = ", ".join(f"{name} {value:.0f}" for name, value in row.cpu_us.items())
        lines.append(
            f"| {row.side} | {row.connections} | {row.per_second:,.0f} | {row.ratio:.2f} | {row.p50_us / 1000:.2f} "
            f"| {row.p99_us / 1000:.1f} | {row.cpu_total_us:.0f} ({cpu}) |"
        )
    return "\n".join(lines)


def document(rows: Sequence[Row], results: Sequence[Result], conditions: dict[str, Any]) -> str:
    return json.dumps(
        {
            "conditions": conditions,
            "rows": [{**asdict(row), "cpu_total_us": row.cpu_total_us} for row in rows],
            "runs": [asdict(result) for result in results],
        },
        indent=2,
    )


def versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    found["python"] = platform.python_version()
    found["kernel"] = platform.release()
    found["nginx"] = _first_line([NGINX, "-v"])
    found["wrk"] = _first_line([WRK, "-v"])
    return found


def plot(rows: Sequence[Row]) -> str:
    """Throughput by side and number of connections, as SVG."""
    width, bar, gap, left = 720, 26, 8, 270
    most = max(row.per_second for row in rows)
    height = 40 + len(rows) * (bar + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="12" y="22" font-weight="bold">Calls per second through one gateway to one replica</text>',
    ]
    sides = list(dict.fromkeys(row.side for row in rows))
    colours = dict(zip(sides, ("#9aa5b1", "#2f6fde", "#4caf7d", "#d98c3f"), strict=False))
    for index, row in enumerate(rows):
        top = 34 + index * (bar + gap)
        length = max(1.0, (width - left - 130) * row.per_second / most)
        connections = f"{row.connections} connection{'s' if row.connections > 1 else ''}"
        parts.append(f'<text x="12" y="{top + 18}">{escape(row.side)}, {connections}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{length:.0f}" height="{bar}" fill="{colours.get(row.side, "#555")}"/>'
        )
        parts.append(
            f'<text x="{left + length + 8:.0f}" y="{top + 18}">{row.per_second:,.0f} ({row.ratio:.2f}x)</text>'
        )
    return "\n".join((*parts, "</svg>\n"))


def write(folder: Path, rows: Sequence[Row], results: Sequence[Result], conditions: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gateway.md").write_text(table(rows) + "\n")
    (folder / "gateway.json").write_text(document(rows, results, conditions) + "\n")
    (folder / "gateway.svg").write_text(plot(rows))


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - ours
    return (done.stdout + done.stderr).strip().splitlines()[0]
