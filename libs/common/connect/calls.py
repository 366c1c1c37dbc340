"""Bodies of calls, and what their answers mean, as the Algorithmia API has them. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from libs.common.connect.errors import CallFailed

TEXT, JSON, BINARY = "text/plain", "application/json", "application/octet-stream"
DEFAULT_SECONDS = 300.0
"""How long an algorithm may run if nothing else is asked for."""
GRACE_SECONDS = 60.0
"""How much longer an answer is waited for: it may have to start a replica first."""


@dataclass(frozen=True)
class Answer:
    """What an algorithm answered."""

    result: Any
    """A text, bytes, or a JSON value."""
    kind: str
    """`text`, `json`, `binary` or `void`."""
    duration: float
    """Seconds."""
    request_id: str
    stdout: str | None = None
    """What the algorithm printed, if that was asked for and the caller is its owner."""


def path(reference: str) -> str:
    """Where OWNER/NAME[/VERSION], or any other spelling that the platform takes, is called."""
    return f"/v1/algo/{quote(reference.removeprefix('algo://'), safe='/*')}"


def options(seconds: float, *, stdout: bool) -> dict[str, str]:
    """The query of a call."""
    return {"timeout": f"{seconds:g}"} | ({"stdout": "true"} if stdout else {})


def content(value: Any) -> tuple[bytes, str]:
    """Body and media type of a call: text for a str, binary for bytes, JSON for everything else.

    Raises TypeError or ValueError for what JSON has no form of.
    """
    if isinstance(value, str):
        return value.encode(), TEXT
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), BINARY
    return json_content(value), JSON


def json_content(value: Any) -> bytes:
    """A value as the JSON body of a call."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def answer(document: Mapping[str, Any], status: int) -> Answer:
    """The answer to a call that reached the platform. Raises CallFailed for an error."""
    request_id = str(document.get("request_id", ""))
    if isinstance(error := document.get("error"), dict):
        raise CallFailed(
            str(error.get("message", "")),
            kind=str(error.get("error_type") or "AlgorithmError"),
            status=status,
            stack=error.get("stacktrace") or None,
            request_id=request_id,
        )
    metadata = document.get("metadata") or {}
    kind = str(metadata.get("content_type") or ("void" if "async" in document else "json"))
    result = document.get("result")
    return Answer(
        result=base64.b64decode(str(result)) if kind == "binary" else result,
        kind=kind,
        duration=float(metadata.get("duration", 0.0)),
        request_id=request_id,
        stdout=metadata.get("stdout"),
    )
