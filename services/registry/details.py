"""`details` of an algorithm: what people read about it. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from libs.common.problems import Invalid


class DetailsChange(BaseModel):
    """What is absent stays."""

    label: Annotated[str, Field(max_length=255)] | None = None
    summary: Annotated[str, Field(max_length=1_000_000)] | None = None
    tagline: Annotated[str, Field(max_length=1000)] | None = None

    def applied(self, details: dict[str, Any]) -> dict[str, Any]:
        """The details with what was asked for. Raises Invalid when there is no label."""
        new = {**details, **self.model_dump(exclude_none=True)}
        if not new.get("label"):
            raise Invalid("details.label: required", code=3005)
        return new
