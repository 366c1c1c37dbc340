"""How a gateway calls a replica: `POST /call` over HTTP/1.1, on a Unix socket or TCP.

The request has a Content-Length, one of the three media types without parameters, and the headers below. The answer
has a Content-Length too (no transfer coding), and its body is the one that the client gets. Anything that speaks this
can be a replica; the platform's own runner does.
"""

from __future__ import annotations

CALL_PATH = "/call"

REQUEST_ID = "x-request-id"
"""Comes back as `request_id` of the answer."""
TIMEOUT = "x-timeout"
"""Seconds that the algorithm may run, as a decimal number."""
FLAGS = "x-flags"
"""Comma-separated list of the FLAG_ words. Absent when there are none."""
CALLER = "x-caller"
"""Token with which the algorithm acts for its caller. Absent when it may not."""
REPLICA_TOKEN = "x-replica-token"  # noqa: S105 - the name of a header
"""Proves over TCP that the call comes from a gateway."""

FLAG_STDOUT = "stdout"
"""Put what the call printed into `metadata.stdout`."""
FLAG_TRACE = "trace"
"""Put the stack trace into an error."""
FLAG_RAW = "raw"
"""Answer with the bare result instead of the envelope."""

OUTCOME = "x-outcome"
OUTCOME_OK = "ok"
OUTCOME_ERROR = "error"
"""The body is an error envelope."""
OUTCOME_UNSTARTED = "unstarted"
"""The algorithm has not seen the call: sending it to another replica is safe."""
DURATION = "x-duration"
"""Seconds that the call took, in each answer."""

STATUSES = frozenset({200, 400, 403, 404, 405, 411, 413, 415, 431, 503})
"""An answer's status is one of these: 200 for all that an algorithm does, or why the replica did not run the call."""

TEXT = "text/plain"
JSON = "application/json"
BINARY = "application/octet-stream"
MEDIA_TYPES = (TEXT, JSON, BINARY)
"""What a call's body can be, as its Content-Type says."""
