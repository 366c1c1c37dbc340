"""JSON from apps: an object, and nothing in it that a database or another reader would take differently. Pure."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from libs.common.text import check_json


class Malformed(ValueError):
    """The message goes on after what it is that is malformed."""


def read(text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("is not JSON") from None
    if not isinstance(document, dict):
        raise Malformed("is not a JSON object")
    try:
        check_json(document)
    except ValueError as error:
        raise Malformed(f"is malformed: {error}") from None
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Malformed("is malformed: it names a member twice")
    return document


def _no_number(text: str) -> NoReturn:
    raise Malformed(f"is malformed: {text} is no JSON")
