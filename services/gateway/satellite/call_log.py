"""A line of JSON on standard output for every call: who forwards a satellite's logs has its calls among them."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import orjson

from libs.common import logs
from libs.common.contracts.events import CallRecord

_LEFT_OUT = {"input_head"}
"""A log is no place for what callers send."""


def write(records: Iterable[CallRecord]) -> None:
    """One write for all of them. A standard output that is closed is no reason not to serve."""
    lines = [line(record) for record in records]
    if lines and sys.stdout is not None:
        try:
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
        except (OSError, ValueError):
            return


def line(record: CallRecord) -> str:
    members = record.model_dump(exclude=_LEFT_OUT, exclude_none=True)
    if record.error is not None:
        members["error"] = logs.redact(record.error)
    level = "warning" if record.error_type is not None else "info"
    stamped = {"event": "call", "level": level, "timestamp": members.pop("at"), **members}
    return orjson.dumps(stamped, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z).decode()
