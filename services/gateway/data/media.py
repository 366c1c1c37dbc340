"""The media type of a file's answer: what the client accepts, or else what the file is. Pure.

Published clients decide by the type how they decode, and some fail on another than they asked for. What browsers
would run is never named as that: files share their origin with the console.
"""

from __future__ import annotations

import mimetypes

BINARY = "application/octet-stream"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_SAFE = frozenset({"application/pdf", "application/zip", "application/gzip"})
_TYPES = mimetypes.MimeTypes()
"""Only what Python knows by itself: the same on every machine."""


def answer_type(accept: str, name: str, *, is_text: bool) -> str:
    """The value for Content-Type.

    Args:
        accept: the request's Accept header; empty when there is none.
        name: of the file.
        is_text: the file is UTF-8.
    """
    own = _own_type(name, is_text=is_text)
    for wanted in _by_weight(accept):
        if wanted in ("text/plain", "text/*"):
            return TEXT
        if wanted in (JSON, BINARY):
            return wanted
        if wanted in ("*/*", own, f"{own.partition('/')[0]}/*"):
            return own
    return own


def _own_type(name: str, *, is_text: bool) -> str:
    guessed, encoding = _TYPES.guess_type(f"/{name}")
    if guessed is None or encoding is not None or guessed.startswith("text/"):
        return TEXT if is_text and encoding is None else BINARY
    if guessed == JSON:
        return JSON if is_text else BINARY
    if guessed in _SAFE or (guessed.startswith(("image/", "audio/", "video/")) and "xml" not in guessed):
        return guessed
    return TEXT if is_text else BINARY


def _by_weight(accept: str) -> list[str]:
    """The media ranges of an Accept header (RFC 9110, 12.5.1), the most wanted first, without those of weight 0."""
    weighted = []
    for part in accept.split(","):
        media, *parameters = [word.strip().lower() for word in part.split(";")]
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 1.0
        if media and weight > 0:
            weighted.append((weight, media))
    return [media for _, media in sorted(weighted, key=lambda entry: -entry[0])]
