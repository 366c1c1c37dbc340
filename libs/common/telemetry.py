"""Metrics of a process, and trace context through HTTP and bus.

Metrics are Prometheus collectors in the process-wide registry. Labels never hold ids.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "constellation_http_requests_total", "Requests answered.", ["service", "method", "route", "status"]
)
REQUEST_SECONDS = Histogram("constellation_http_request_seconds", "Time to answer a request.", ["service", "route"])
LOOP_SUCCESS = Gauge("constellation_loop_last_success_seconds", "When a loop last succeeded.", ["loop"])
LOOP_FAILURES = Counter("constellation_loop_failures_total", "Runs of a loop that failed.", ["loop"])

tracer = trace.get_tracer("constellation")


def inject() -> dict[str, str]:
    """The current trace context as W3C headers."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The trace context that W3C headers carry."""
    return propagate.extract(carrier)


__all__ = [
    "LOOP_FAILURES",
    "LOOP_SUCCESS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "context",
    "extract",
    "inject",
    "tracer",
]
