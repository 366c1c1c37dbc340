"""What an application may be, checked before anything is looked up. Pure."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictInt

from libs.common.contracts.applications import MAX_LATENCY_GOAL_MS, reference
from libs.common.contracts.launches import MAX_REPLICAS, VANITY
from libs.common.problems import Unprocessable
from services.registry import satellite_entries

MAX_NAME = 30
MAX_DESCRIPTION = 10_000
MAX_DEFAULT_BYTES = 64 * 1024
MAX_VERSIONS = 200


class ApplicationBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    default_answer: JsonValue = None
    """What callers get when the current version does not answer as it should; null for none."""
    latency_goal_ms: StrictInt | None = None
    """How long callers wait for the current version; null for as long as they say themselves."""


class ApplicationChange(BaseModel):
    """What is absent stays."""

    model_config = ConfigDict(extra="forbid")

    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    default_answer: JsonValue = None
    latency_goal_ms: StrictInt | None = None


class LinkBody(BaseModel):
    """`{"algorithm": "OWNER/NAME/HASH", "replicas": 2}`"""

    model_config = ConfigDict(extra="forbid")

    algorithm: str
    replicas: StrictInt = 1


class CurrentBody(BaseModel):
    """`{"algorithm": "OWNER/NAME/HASH"}`"""

    model_config = ConfigDict(extra="forbid")

    algorithm: str


class ReplicasBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replicas: StrictInt


def name(text: str) -> str:
    """Raises Unprocessable for a name that cannot stand in an address."""
    if len(text) > MAX_NAME or not VANITY.fullmatch(reference(text)):
        raise Unprocessable(
            f"'{text[:90]}' cannot name an application: use letters, digits, '_' and inner '-', at most {MAX_NAME}"
        )
    return text


def default_answer(value: Any) -> Any:
    """Raises Unprocessable for one that is too large to be at hand in every gateway."""
    size = len(orjson.dumps(value))
    if size > MAX_DEFAULT_BYTES:
        raise Unprocessable(
            f"the default answer has {size} bytes as JSON, and at most {MAX_DEFAULT_BYTES} are possible; "
            "put it in the Data API and answer its address"
        )
    return value


def latency_goal(milliseconds: int | None) -> int | None:
    """Raises Unprocessable."""
    if milliseconds is not None and not 1 <= milliseconds <= MAX_LATENCY_GOAL_MS:
        raise Unprocessable(
            f"latency_goal_ms: {milliseconds} is not possible: use 1 to {MAX_LATENCY_GOAL_MS}, or null for none"
        )
    return milliseconds


def replicas(count: int) -> int:
    """Raises Unprocessable."""
    if not 1 <= count <= MAX_REPLICAS:
        more = "; to end them all, unlink the version, or stop those that are not current" if count == 0 else ""
        raise Unprocessable(f"{count} replicas are not possible: use 1 to {MAX_REPLICAS}{more}")
    return count


def version(text: str) -> tuple[str, str, str]:
    """Owner, name and commit of `OWNER/NAME/HASH`. Raises Unprocessable."""
    found = satellite_entries.parts(text)
    if found is None:
        raise Unprocessable(satellite_entries.not_a_version(text))
    return found
