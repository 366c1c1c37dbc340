"""Numbers of a gateway: plain integers that calls add to, read only when metrics are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3000.0)


class Tally:
    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self.failed = 0
        """Calls that ended in an error of any kind, also those with status 200."""
        self.defaults = 0
        """Answers that were an application's default."""
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.buffered = 0
        """Bytes of input that are kept."""

    def count(self, status: int, seconds: float, *, failed: bool) -> None:
        """One call is over."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.failed += failed
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


Gauges = Mapping[str, tuple[str, Callable[[], float]]]
"""Words, and what computes the value when it is asked for, by name."""


class TallyCollector(Collector):
    """Reads a tally, and gauges that are computed when asked for."""

    def __init__(self, tally: Tally, gauges: Gauges) -> None:
        self._tally = tally
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        tally = self._tally
        calls = CounterMetricFamily("constellation_calls", "Calls that are over.", labels=["status"])
        for status, count in sorted(tally.by_status.items()):
            calls.add_metric([str(status)], count)
        yield calls
        yield CounterMetricFamily("constellation_calls_failed", "Calls that ended in an error.", value=tally.failed)
        yield CounterMetricFamily(
            "constellation_default_answers", "Answers that were an application's default.", value=tally.defaults
        )
        yield self._durations()
        yield GaugeMetricFamily("constellation_calls_buffered_bytes", "Input kept here.", value=tally.buffered)
        for name, (words, read) in self._gauges.items():
            yield GaugeMetricFamily(name, words, value=read())

    def _durations(self) -> HistogramMetricFamily:
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._tally.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(
            "constellation_call_seconds",
            "From head to end of answer.",
            buckets=buckets,
            sum_value=self._tally.seconds,
        )
