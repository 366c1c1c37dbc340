"""Reading manifests: what is wrong with one is said in words. Pure."""

from __future__ import annotations

import json
import re

from pydantic import ValidationError

from libs.common.contracts.joining import SERVICE_SCOPE, Manifest
from services.fakts.fields import check_json

MAX_REQUIREMENTS = 200
_MAX_TEXT = 255
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}")
"""RFC 6749, section 3.3."""


class InvalidManifest(ValueError):
    """The message says what is wrong with it."""


def parse(text: str) -> Manifest:
    """A manifest from JSON. Raises InvalidManifest."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidManifest("the manifest is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidManifest("the manifest is not a JSON object")
    try:
        check_json(document)
    except ValueError as error:
        raise InvalidManifest(f"the manifest is malformed: {error}") from None
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise InvalidManifest(_words(error)) from None
    _check(manifest)
    return manifest


def scopes(manifest: Manifest) -> str:
    """The scopes an app may have of those it asks for: what marks the platform's own services is not for apps."""
    return " ".join(dict.fromkeys(scope for scope in manifest.scopes or () if scope != SERVICE_SCOPE))


def device(manifest: Manifest) -> str:
    """The machine that the manifest names, under the name of either protocol version; empty if it names none."""
    return manifest.device_id or manifest.node_id or ""


def _check(manifest: Manifest) -> None:
    for name, value in (("version", manifest.version), ("device_id", device(manifest))):
        if len(value) > _MAX_TEXT:
            raise InvalidManifest(f"the manifest's {name} is longer than {_MAX_TEXT} characters")
    for scope in manifest.scopes or ():
        if not _SCOPE.fullmatch(scope):
            raise InvalidManifest(f"the manifest's scope {scope[:40]!r} is not a word")
    requirements = manifest.requirements or ()
    if len(requirements) > MAX_REQUIREMENTS:
        raise InvalidManifest(f"the manifest has more than {MAX_REQUIREMENTS} requirements")
    seen = set()
    for requirement in requirements:
        if not requirement.key or not requirement.service or len(requirement.service) > _MAX_TEXT:
            raise InvalidManifest("a requirement of the manifest needs a key and the name of a service")
        if requirement.key in seen:
            raise InvalidManifest(f"the manifest names the requirement '{requirement.key[:40]}' twice")
        seen.add(requirement.key)


def _words(error: ValidationError) -> str:
    parts = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
    return f"the manifest is malformed: {'; '.join(parts[:5])}"
