"""The words that the runner shares with those who call it: paths, headers, flags, limits.

A gateway sends `POST /call` with a body of one of three media types and gets the whole answer that its
client will see. `GET /health` is answered on the same socket. The control socket takes `GET /health`,
`GET /ready` (503 while no calls are taken), `POST /drain` and `POST /stop`; a health port the first two.
"""

from __future__ import annotations

CALL_PATH = "/call"
HEALTH_PATH = "/health"
READY_PATH = "/ready"
DRAIN_PATH = "/drain"
STOP_PATH = "/stop"

REQUEST_ID = "x-request-id"
"""Comes back as `request_id` of the answer."""
TIMEOUT = "x-timeout"
"""Seconds that the algorithm may run, as a decimal number."""
FLAGS = "x-flags"
"""Comma-separated list of the FLAG_ words."""
CALLER = "x-caller"
"""Opaque token that the local door sends as the identity of chained calls. May be absent."""
REPLICA_TOKEN = "x-replica-token"  # noqa: S105 - the name of a header
"""Must match the replica's token where calls come over TCP."""

FLAG_STDOUT = "stdout"
"""Put what the call printed into `metadata.stdout`."""
FLAG_TRACE = "trace"
"""Put the stack trace into an error."""
FLAG_RAW = "raw"
"""Answer with the bare result instead of the envelope."""

OUTCOME = "x-outcome"
DURATION = "x-duration"
"""Seconds that the call took, in each answer."""
OUTCOME_OK = "ok"
OUTCOME_ERROR = "error"
OUTCOME_UNSTARTED = "unstarted"
"""The algorithm has not seen the call: sending it to another replica is safe."""

PARENT_REQUEST = "x-parent-request-id"
"""Added by the local door: the call on whose behalf a chained call is made."""

TEXT = "text"
JSON = "json"
BINARY = "binary"
KINDS = {"text/plain": TEXT, "application/json": JSON, "application/octet-stream": BINARY}

MAX_TIMEOUT_S = 3000.0
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_RESULT_BYTES = 15 * 1024 * 1024
"""Of the result itself: UTF-8 text, JSON text, or bytes before base64."""
MAX_REQUEST_ID_BYTES = 160
MAX_CALLER_BYTES = 7 * 1024
MAX_CONNECTIONS = 512
"""Of gateways to one replica; further ones wait."""

CODE_BAD_JSON = 2013
CODE_INVALID = 2015
CODE_INVALID_REQUEST = 6001
