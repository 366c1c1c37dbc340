"""The body of a call, as the algorithm gets it."""

from __future__ import annotations

import json

from .protocol import BINARY, CODE_BAD_JSON, CODE_INVALID, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class BadInput(ValueError):
    """The body is not what its type says. `code` is the one that published clients know."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def decode_json(body: bytes) -> Any:
    """Strict JSON. Raises ValueError."""
    return _decode(body.decode())


def decode(kind: str, body: bytes) -> Any:
    """Raises BadInput, which says where the body is wrong."""
    if kind == BINARY:
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8: byte {body[error.start]:#04x} at position {error.start} ({error.reason})"
        raise BadInput(message, CODE_INVALID if kind == TEXT else CODE_BAD_JSON) from None
    if kind == TEXT:
        return text
    try:
        return _decode(text)
    except ValueError as error:
        raise BadInput(f"the body is not JSON: {error}", CODE_BAD_JSON) from None
    except RecursionError:
        raise BadInput("the body is not taken as JSON: it is nested too deeply", CODE_BAD_JSON) from None
