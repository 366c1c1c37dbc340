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

PACKAGES = ("constellation", "uvicorn", "httptools", "uvloop", "orjson")


@dataclass(frozen=True)
class Result:
    """One run of one side."""

    side: str
    connections: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]
    """CPU time per call, by process."""
    core_us: float
    """CPU time per call of what is measured: all processes, or those without what both sides use alike."""


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
    per_core: float
    """Calls per second of CPU time of what is measured."""
    ratio_per_core: float

    @property
    def cpu_total_us(self) -> float:
        return sum(self.cpu_us.values())


def summarise(results: Sequence[Result], yardstick: str) -> list[Row]:
    """A row per side and number of connections. Runs are paired in the order in which they were made."""
    rows = []
    for connections in sorted({result.connections for result in results}):
        at = [result for result in results if result.connections == connections]
        base = [result for result in at if result.side == yardstick]
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
                    ratio=median(run.per_second / of.per_second for run, of in zip(runs, base, strict=True)),
                    per_core=median(1e6 / run.core_us for run in runs),
                    ratio_per_core=median(of.core_us / run.core_us for run, of in zip(runs, base, strict=True)),
                )
            )
    return rows


def table(rows: Sequence[Row], unit: str) -> str:
    """Args: unit: what is counted, in the singular."""
    lines = [
        f"| side | connections | {unit}s/s | ratio | {unit}s/s per core | ratio per core | p50 ms | p99 ms "
        f"| CPU us per {unit}, by process |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cpu = ", ".join(f"{name} {value:.0f}" for name, value in row.cpu_us.items())
        lines.append(
            f"| {row.side} | {row.connections} | {row.per_second:,.0f} | {row.ratio:.2f} | {row.per_core:,.0f} "
            f"| {row.ratio_per_core:.2f} | {row.p50_us / 1000:.2f} | {row.p99_us / 1000:.1f} "
            f"| {row.cpu_total_us:.0f} ({cpu}) |"
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
    return found


def plot(rows: Sequence[Row], title: str) -> str:
    """Throughput by side and number of connections, as SVG."""
    width, bar, gap, left = 720, 26, 8, 270
    most = max(row.per_second for row in rows)
    height = 40 + len(rows) * (bar + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-weight="bold">{escape(title)}</text>',
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


def write(
    folder: Path,
    name: str,
    rows: Sequence[Row],
    results: Sequence[Result],
    conditions: dict[str, Any],
    *,
    title: str,
    unit: str,
) -> None:
    """The files `NAME.md`, `NAME.json` and `NAME.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(table(rows, unit) + "\n")
    (folder / f"{name}.json").write_text(document(rows, results, conditions) + "\n")
    (folder / f"{name}.svg").write_text(plot(rows, title))


def first_line(command: Sequence[str]) -> str:
    """What a program says first of itself."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - ours
    return (done.stdout + done.stderr).strip().splitlines()[0]
