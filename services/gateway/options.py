"""What a call's URL and headers ask for: options and media types. Pure.

Source: the query options and content types of the Algorithmia API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl

from libs.common.contracts.runner import BINARY, JSON, TEXT

DEFAULT_TIMEOUT = 300.0
MAX_TIMEOUT = 3000.0
MAX_QUERY = 4096
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_TRUE = frozenset({"true", "1"})
_MEDIA = {TEXT: TEXT, "application/text": TEXT, JSON: JSON, BINARY: BINARY}


class InvalidOption(ValueError):
    """An option has a value that cannot be honoured; the message says which."""


class Output(StrEnum):
    JSON = "json"
    RAW = "raw"
    """The bare result as body."""
    VOID = "void"
    """Answer at once; the call runs on."""


@dataclass(frozen=True, slots=True)
class Options:
    timeout: float = DEFAULT_TIMEOUT
    """Seconds."""
    stdout: bool = False
    output: Output = Output.JSON
    sudo: bool = False


def parse_options(query: str) -> Options:
    """The options of a query string. Unknown ones are ignored, empty ones have their defaults.

    Raises:
        InvalidOption: for a timeout that is no number of seconds up to the limit.
    """
    if not query:
        return Options()
    if len(query) > MAX_QUERY:
        raise InvalidOption(f"the query is longer than {MAX_QUERY} characters")
    given = dict(parse_qsl(query))
    output = given.get("output", "").lower()
    return Options(
        timeout=_timeout(given.get("timeout")),
        stdout=given.get("stdout", "").lower() in _TRUE,
        output=Output(output) if output in ("raw", "void") else Output.JSON,
        sudo=given.get("sudo", "").lower() in _TRUE,
    )


def media_type(content_type: str) -> str | None:
    """The media type that the header names, as replicas know it; None for one that calls cannot have."""
    return _MEDIA.get(content_type.partition(";")[0].strip().lower())


def _timeout(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= MAX_TIMEOUT:
        raise InvalidOption(f"timeout '{text[:20]}' is not a number of seconds above 0 and at most {MAX_TIMEOUT:.0f}")
    return float(text)
