"""The settings of an algorithm: what a request may say, and what becomes of it. Pure.

Beside the members of the published API stands `scaling`, which is this platform's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from libs.common.contracts.catalog import Callability, Language, NetworkAccess, Scaling
from libs.common.problems import Invalid
from services.registry import environments

REQUIRED = ("source_visibility", "license", "network_access", "pipeline_enabled")
_KEPT = (*REQUIRED, "language", "environment", "algorithm_environment", "package_set")
_LANGUAGE = ("language", "algorithm_environment", "package_set")


class ScalingChange(BaseModel):
    """Members of `Scaling` that are to change. Unknown ones are refused: a typo must not pass for a setting."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: StrictInt | None = None
    max_replicas: StrictInt | None = None
    idle_seconds: float | None = None
    concurrency: StrictInt | None = None
    memory_mib: StrictInt | None = None
    cpus: float | None = None
    gpus: StrictInt | None = None


class SettingsChange(BaseModel):
    """`settings` of a create, update or publish request. Members of other platforms are ignored."""

    source_visibility: Literal["open", "closed"] | None = None
    license: Literal["apl", "apache2", "gpl3", "mit"] | None = None
    network_access: NetworkAccess | None = None
    pipeline_enabled: StrictBool | None = None
    language: str | None = None
    environment: Literal["cpu", "gpu"] | None = None
    algorithm_environment: UUID | None = None
    package_set: str | None = None
    royalty_microcredits: Annotated[int, Field(ge=0)] | None = None
    algorithm_callability: Callability | None = None
    insights_enabled: StrictBool | None = None
    scaling: ScalingChange | None = None


def created(asked: SettingsChange) -> tuple[Language, dict[str, Any], Scaling]:
    """Language, settings and scaling of a new algorithm. Raises Invalid that names what is missing."""
    missing = [f"settings.{name}" for name in REQUIRED if getattr(asked, name) is None]
    if missing:
        raise Invalid(f"{', '.join(missing)}: required to create an algorithm", code=3005)
    settings = changed({}, asked)
    return language_of(settings), settings, scaled(Scaling(), asked.scaling)


def changed(settings: dict[str, Any], asked: SettingsChange) -> dict[str, Any]:
    """The settings with what was asked for. Raises Invalid for what does not go together."""
    said = asked.model_dump(mode="json", include=set(_KEPT), exclude_none=True)
    if any(name in said for name in _LANGUAGE):
        settings = {name: value for name, value in settings.items() if name not in (*_LANGUAGE, "environment")}
    new = {**settings, **said}
    if new.get("source_visibility") == "closed" and new.get("license") != "apl":
        raise Invalid("settings.license: with source_visibility 'closed' it must be 'apl'")
    if new.get("environment") == "gpu":
        raise Invalid(
            "settings.environment: this platform offers 'cpu' only; settings.scaling.gpus says how many GPUs a"
            " replica needs"
        )
    if asked.royalty_microcredits:
        raise Invalid("settings.royalty_microcredits: this platform charges no royalties; leave it out or send 0")
    if "language" in new:
        new["language"] = environments.OTHER_NAMES.get(new["language"], new["language"])
        new.setdefault("environment", "cpu")
    return new


def language_of(settings: dict[str, Any]) -> Language:
    """The language that the settings choose, in one of three ways. Raises Invalid with code 4001."""
    said = {name: str(settings[name]) for name in _LANGUAGE if name in settings}
    if len(said) != 1:
        raise Invalid(
            "settings: choose the language by one of 'language' (with 'environment'), 'algorithm_environment' and"
            " 'package_set'",
            code=4001,
        )
    [(how, value)] = said.items()
    found = {
        "language": environments.by_language,
        "algorithm_environment": environments.by_id,
        "package_set": environments.by_package_set,
    }[how](value)
    if found is None:
        offered = ", ".join(repr(name) for name in environments.SETTING)
        raise Invalid(f"settings.{how}: '{value}' is not offered here; settings.language can be {offered}", code=4001)
    return found


def scaled(scaling: Scaling, asked: ScalingChange | None) -> Scaling:
    """The scaling with what was asked for. Raises Invalid for values out of range."""
    said = asked.model_dump(exclude_none=True) if asked is not None else {}
    try:
        new = Scaling.model_validate({**scaling.model_dump(), **said})
    except ValueError as error:
        raise Invalid(_explain(error)) from None
    if new.min_replicas > new.max_replicas:
        raise Invalid("settings.scaling: min_replicas is more than max_replicas")
    return new


def _explain(error: ValueError) -> str:
    faults = error.errors() if hasattr(error, "errors") else []
    return "; ".join(f"settings.scaling.{fault['loc'][0]}: {fault['msg']}" for fault in faults)
