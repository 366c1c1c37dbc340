"""Reading OAuth's forms, and answering in OAuth's words (RFC 6749, appendix B and section 5.2)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from fastapi import Request
from fastapi.responses import JSONResponse

from libs.common.text import plain
from services.fakts.oauth import server
from services.fakts.oauth.server import Answer, refuse

_MAX_FIELDS = 50
_FORM = "application/x-www-form-urlencoded"
NOT_STORED = {"cache-control": "no-store", "pragma": "no-cache"}


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


async def form_request(request: Request, *, by_service: bool = False) -> server.Request:
    """The form that was sent. Raises OAuth2Error for a body that is none."""
    if not is_form(request):
        refuse(InvalidRequestError, f"send a form: content-type {_FORM}")
    try:
        text = (await request.body()).decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        refuse(InvalidRequestError, "the form is malformed")
    if len(dict(fields)) != len(fields):
        refuse(InvalidRequestError, "the form names a field twice")
    return server.Request("POST", fields, request.headers.get("authorization"), by_service=by_service)


def query_parameters(request: Request) -> list[tuple[str, str]]:
    """The query's parameters, those without a value left out (RFC 6749, section 3.1). Raises OAuth2Error."""
    try:
        found = parse_qsl(request.url.query, max_num_fields=_MAX_FIELDS, errors="strict")
        return [(name, plain(value)) for name, value in found]
    except ValueError:
        refuse(InvalidRequestError, "the request is malformed")


def answered(answer: Answer) -> JSONResponse:
    """Authlib's answer; its content type is that of every JSON answer."""
    headers = {name: value for name, value in answer.headers if name.lower() != "content-type"}
    return JSONResponse(dict(answer.body), answer.status, headers=headers)


async def on_refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OAuth2Error)  # noqa: S101 - registered for it
    return refusal(error)


def refusal(error: OAuth2Error) -> JSONResponse:
    """An OAuth error answer."""
    return answered(Answer(*error()))
