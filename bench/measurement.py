"""One measurement: closed loops against two sides, by turns, and their medians.

The load generator runs on the same machine, so only the ratio within one run says something about another machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bench import report
from bench.report import Result


class Named(Protocol):
    @property
    def name(self) -> str: ...


SideT = TypeVar("SideT", bound=Named)


@dataclass(frozen=True)
class Measurement(Generic[SideT]):
    name: str
    """Of the files of its results."""
    title: str
    unit: str
    """What is counted, in the singular."""
    yardstick: str
    """Name of the side that the ratios are to."""
    connections: tuple[int, ...]
    sides: Callable[[Path], AbstractContextManager[Sequence[SideT]]]
    """Starts them, with a folder to write to."""
    run: Callable[[SideT, int, int, Path], Result]
    """One run: side, connections, seconds, folder."""
    versions: Callable[[], Mapping[str, str]]
    """Of what takes part besides our own packages."""
    notes: Mapping[str, Any]
    """What else readers of the results should know."""

    def measure(self, seconds: int, pairs: int, results_folder: Path) -> str:
        """Run it and write its results. Returns the table."""
        load_before = os.getloadavg()
        results = []
        with tempfile.TemporaryDirectory(prefix="bench") as scratch, self.sides(Path(scratch)) as sides:
            for side in sides:
                self.run(side, max(self.connections), min(seconds, 3), Path(scratch))  # to warm up
            for connections in self.connections:
                for pair in range(pairs):
                    for side in sides:
                        result = self.run(side, connections, seconds, Path(scratch))
                        results.append(result)
                        print(  # noqa: T201 - progress for whoever waits
                            f"{side.name}, {connections} connections, run {pair + 1}: "
                            f"{result.per_second:,.0f} {self.unit}s/s",
                            flush=True,
                        )
        rows = report.summarise(results, self.yardstick)
        conditions = {
            "versions": {**report.versions(), **self.versions()},
            "seconds": seconds,
            "pairs": pairs,
            "processors": len(os.sched_getaffinity(0)),
            "load_average": {"before": load_before, "after": os.getloadavg()},
            "scheduling": "real time" if os.sched_getscheduler(0) == os.SCHED_FIFO else "normal",
            **self.notes,
        }
        report.write(results_folder, self.name, rows, results, conditions, title=self.title, unit=self.unit)
        return report.table(rows, self.unit)
