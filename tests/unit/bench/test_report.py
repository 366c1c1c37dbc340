"""What runs of the benchmark say together."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from bench.gateway.load import BODY
from bench.report import Result, document, plot, summarise, table


def result(side: str, connections: int, per_second: float) -> Result:
    cpu_us = 1e6 / per_second
    return Result(side, connections, per_second, 1000, 9000, {side: cpu_us, "shared": 50.0}, core_us=cpu_us / 2)


RUNS = [
    result("base", 1, 100),
    result("ours", 1, 150),
    result("base", 1, 200),
    result("ours", 1, 200),
    result("base", 1, 400),
    result("ours", 1, 1000),
    result("base", 64, 1000),
    result("ours", 64, 500),
]


def test_ratios_are_medians_over_pairs_of_runs() -> None:
    rows = {(row.side, row.connections): row for row in summarise(RUNS, "base")}
    assert rows["ours", 1].ratio == 1.5
    assert rows["ours", 1].per_second == 200
    assert rows["ours", 64].ratio == 0.5
    assert rows["base", 1].ratio == 1.0
    assert rows["base", 1].runs == 3
    assert (rows["ours", 1].per_core, rows["ours", 1].ratio_per_core) == (400, 1.5)
    assert rows["ours", 1].cpu_total_us == 5050


def test_the_results_are_written_for_people_and_programs() -> None:
    rows = summarise(RUNS, "base")
    assert "| ours | 64 | 500 | 0.50 | 1,000 | 0.50 |" in table(rows, "call")
    written = json.loads(document(rows, RUNS, {"seconds": 1}))
    assert len(written["runs"]) == len(RUNS)
    assert written["conditions"]["seconds"] == 1
    texts = [
        text.text for text in ElementTree.fromstring(plot(rows, "Calls")).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"Calls", "500 (0.50x)"} <= set(texts)


def test_the_body_is_a_hundred_bytes_of_json() -> None:
    assert len(BODY) == 100
    json.loads(BODY)
