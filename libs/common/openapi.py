"""What the OpenAPI documents of services say beyond what FastAPI finds out by itself: errors, and bodies that routes
read on their own. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

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
PRECONDITION: Responses = {
    412: {
        "description": "There is a newer one than If-Match names: a problem (RFC 9457) that says which.",
        "content": {PROBLEM: {"schema": _PROBLEM}},
    }
}
OAUTH_ERRORS = errors(
    "An error of OAuth (RFC 6749, section 5.2), or a problem (RFC 9457).",
    **{"application/json": _object(error=_TEXT), PROBLEM: _PROBLEM},
)
PLAIN = errors("Words for whoever runs git, or a problem (RFC 9457).", **{"text/plain": _TEXT, PROBLEM: _PROBLEM})
ANYTHING = errors("Whatever the service answers whose path it is.", **{"*/*": {}})
PAGES = errors("A page that says what is wrong.", **{"text/html": _TEXT})


def answers(*media_types: str) -> Responses:
    """Declares what a route answers that makes its answers itself."""
    return {200: {"content": {name: {} for name in media_types}}}


def tagged(description: str) -> Responses:
    """Declares the entity tag of what a route answers."""
    return {200: {"headers": {"ETag": {"description": description, "schema": _TEXT}}}}


def also(*statuses: int) -> Responses:
    """Declares errors of the server's side that a route may answer, for what it needs may be away or not offered."""
    return {status: {"description": HTTPStatus(status).phrase} for status in statuses}


def reads(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a JSON object itself, which fits the model."""
    schema = model.model_json_schema()
    return _body("application/json", _inlined(schema, schema.pop("$defs", {})))


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
    return _body(media_type, {"type": "object", "properties": members})


def _body(media_type: str, schema: Schema) -> dict[str, Any]:
    return {"requestBody": {"content": {media_type: {"schema": schema}}}}


def _inlined(schema: Any, definitions: Schema) -> Any:
    """The schema with its definitions where they are meant: what they stand in is not the document's root."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in schema.items()}
