"""What a worker counts and times. No label holds an id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800)

REPLICAS = Gauge("constellation_worker_replicas", "Replicas on this worker.", ["state"])
STARTS = Counter("constellation_worker_replica_starts_total", "Replica starts that ended.", ["outcome"])
START_SECONDS = Histogram(
    "constellation_worker_replica_start_seconds", "Time from order to ready.", ["language"], buckets=_LONG
)
LOST = Counter("constellation_worker_replicas_lost_total", "Replicas that ended without being told to.")
REPORTS = Counter("constellation_worker_reports_total", "Reports to the deployer.", ["outcome"])
BUILDS = Counter("constellation_worker_builds_total", "Builds that ended.", ["language", "outcome"])
BUILD_SECONDS = Histogram(
    "constellation_worker_build_seconds", "Time that a build took.", ["language"], buckets=_LONG
)
ENVIRONMENTS = Counter("constellation_worker_environments_total", "Environments asked for.", ["language", "outcome"])
CACHE_BYTES = Gauge("constellation_worker_cache_bytes", "Disk that sources, environments and package caches take.")
