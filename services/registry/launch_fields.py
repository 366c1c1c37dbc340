"""What administrators say of a launch instance, and whether a target is one. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from libs.common.contracts.launches import Target
from libs.common.problems import Unprocessable

MAX_DESCRIPTION = 10_000
TARGET: TypeAdapter[Target] = TypeAdapter(Target)


class LaunchBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    satellite_version: int | None = None
    """The newest one if it is left out."""
    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    target: dict[str, Any] = Field(default_factory=lambda: {"kind": "workers"})


class LaunchChange(BaseModel):
    """What is absent stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    satellite_version: int | None = None
    description: str | None = Field(default=None, max_length=MAX_DESCRIPTION)
    target: dict[str, Any] | None = None


def target(document: dict[str, Any]) -> dict[str, Any]:
    """A target as it is kept. Raises Unprocessable that names the member."""
    try:
        known = dict(TARGET.validate_python(document).model_dump(mode="json"))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        said = "; ".join(f"target.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in faults)
        raise Unprocessable(said) from None
    if strange := sorted(document.keys() - known.keys()):
        raise Unprocessable(f"target: a target of kind '{known['kind']}' has no {', '.join(strange)}")
    return known
