"""Reading manifests: what is wrong with one is said in words. Pure.

A logo's address is kept and never fetched: the server reaches addresses that the app does not.
"""

from __future__ import annotations

import re

from pydantic import ValidationError

from libs.common.contracts.joining import SERVICE_SCOPE, Manifest
from services.fakts.preflight import documents

MAX_REQUIREMENTS = 200
_MAX_TEXT, _MAX_URL, _MAX_WORDS = 255, 2000, 4000
_MAX_SCOPES = 100
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}")
"""RFC 6749, section 3.3."""


class InvalidManifest(ValueError):
    """The message says what is wrong with it."""


def parse(text: str) -> Manifest:
    """A manifest from JSON. Raises InvalidManifest."""
    try:
        return of_document(documents.read(text))
    except documents.Malformed as error:
        raise InvalidManifest(f"the manifest {error}") from None


def of_document(document: object) -> Manifest:
    """A manifest that was read from JSON already. Raises InvalidManifest."""
    if not isinstance(document, dict):
        raise InvalidManifest("the manifest is not a JSON object")
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
    texts = {
        "version": (manifest.version, _MAX_TEXT),
        "author": (manifest.author, _MAX_TEXT),
        "entrypoint": (manifest.entrypoint, _MAX_TEXT),
        "device_id": (manifest.device_id or "", _MAX_TEXT),
        "node_id": (manifest.node_id or "", _MAX_TEXT),
        "logo": (manifest.logo or "", _MAX_URL),
        "description": (manifest.description or "", _MAX_WORDS),
    }
    for name, (value, most) in texts.items():
        if len(value) > most:
            raise InvalidManifest(f"the manifest's {name} is longer than {most} characters")
    if len(manifest.scopes or ()) > _MAX_SCOPES:
        raise InvalidManifest(f"the manifest has more than {_MAX_SCOPES} scopes")
    for scope in manifest.scopes or ():
        if not _SCOPE.fullmatch(scope):
            raise InvalidManifest(f"the manifest's scope {scope[:40]!r} is not a word")
    requirements = manifest.requirements or ()
    if len(requirements) > MAX_REQUIREMENTS:
        raise InvalidManifest(f"the manifest has more than {MAX_REQUIREMENTS} requirements")
    seen = set()
    for requirement in requirements:
        if not 1 <= len(requirement.key) <= _MAX_TEXT or not 1 <= len(requirement.service) <= _MAX_TEXT:
            raise InvalidManifest(
                f"a requirement of the manifest needs a key and the name of a service, each at most {_MAX_TEXT} long"
            )
        if len(requirement.description or "") > _MAX_WORDS:
            raise InvalidManifest(f"a requirement's description is longer than {_MAX_WORDS} characters")
        if requirement.key in seen:
            raise InvalidManifest(f"the manifest names the requirement '{requirement.key[:40]}' twice")
        seen.add(requirement.key)


def _words(error: ValidationError) -> str:
    parts = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
    return f"the manifest is malformed: {'; '.join(parts[:5])}"
