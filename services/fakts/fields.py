"""Values that callers send: what is legal, and errors that say so."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from libs.common import db
from libs.common.contracts.references import NAME
from libs.common.problems import Invalid
from libs.common.text import plain

MISSING = 3005

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
