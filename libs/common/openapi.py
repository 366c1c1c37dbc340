"""What the OpenAPI documents of services say beyond what FastAPI finds out by itself: errors, and bodies that routes
read on their own. Pure."""

from __future__ import annotations

from typing import Any

PROBLEM, FORM = "application/problem+json", "application/x-www-form-urlencoded"

Responses = dict[int | str, dict[str, Any]]
Schema = dict[str, Any]


def _object(**members: Schema) -> Schema:
    return {"type": "object", "required": [*members], "properties": members}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_PROBLEM = _object(type=_TEXT, title=_TEXT, status=_NUMBER, detail=_TEXT, code=_NUMBER, request_id=_TEXT)
_ENVELOPE = _object(error=_object(id=_TEXT, code=_NUMBER, message=_TEXT))


def errors(description: str, **content: Schema) -> Responses:
    """Declares the answers that no other status describes, by their content types."""
    return {
        "default": {"description": description, "content": {name: {"schema": one} for name, one in content.items()}}
    }


ERRORS = errors(
    "The request cannot be answered as asked: a problem (RFC 9457); on /v1 in the envelope of the Algorithmia API.",
    **{PROBLEM: _PROBLEM, "application/json": _ENVELOPE},
)
OAUTH_ERRORS = errors(
    "An error of OAuth (RFC 6749, section 5.2), or a problem (RFC 9457).",
    **{"application/json": _object(error=_TEXT), PROBLEM: _PROBLEM},
)
PAGES = errors("A page that says what is wrong.", **{"text/html": _TEXT})


def reads_json(*members: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a JSON object itself, which may have these members."""
    return _reads("application/json", {name: {} for name in members})


def reads_form(*fields: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a form itself, which may have these fields."""
    return _reads(FORM, dict.fromkeys(fields, _TEXT))


def either(*bodies: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads any of these."""
    content: Schema = {}
    for one in bodies:
        content |= one["requestBody"]["content"]
    return {"requestBody": {"content": content}}


def _reads(media_type: str, members: Schema) -> dict[str, Any]:
    return {"requestBody": {"content": {media_type: {"schema": {"type": "object", "properties": members}}}}}
