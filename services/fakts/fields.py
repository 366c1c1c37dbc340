"""Values that callers send: what is legal, and errors that say so."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

from libs.common import db
from libs.common.contracts.references import NAME
from libs.common.problems import Invalid

MISSING = 3005
_MAX_DEPTH = 32


def plain(text: str) -> str:
    """The text, if a database keeps it. Raises ValueError for a NUL character or half a surrogate pair."""
    if "\x00" in text:
        raise ValueError("a NUL character is not allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


def check_json(value: Any) -> None:
    """Raises ValueError when a JSON value holds text that is not `plain`, no number, or is nested too deeply."""
    level, depth = [value], 0
    while level:
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                plain(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise ValueError("a number is too large")
            elif isinstance(one, dict):
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple):
                below += one
        level, depth = below, depth + 1


Plain = AfterValidator(plain)
Label = Annotated[str, Field(max_length=200), Plain]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), Plain]
Url = Annotated[str, Field(max_length=2000), Plain]
ExternalName = Annotated[str, Field(max_length=255), Plain]


def _to_come(moment: datetime) -> datetime:
    if moment <= db.now():
        raise ValueError("must be in the future")
    return moment


Expiry = Annotated[AwareDatetime, AfterValidator(_to_come)]


def legal_name(name: str | None, what: str) -> str:
    """Raises Invalid for what cannot name a user or an organization."""
    if not name:
        raise Invalid(f"{what} is required", code=MISSING)
    if not NAME.fullmatch(name):
        raise Invalid(f"{what}: '{name[:40]}' is not a legal name: a letter, then letters, digits or _, at most 30")
    return name


def required(value: str | None, what: str) -> str:
    """Raises Invalid when there is no value."""
    if not value:
        raise Invalid(f"{what} is required", code=MISSING)
    return value
