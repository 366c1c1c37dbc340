"""What an app says of itself beside its manifest when it asks to be let in. Pure.

Every parameter is honoured, or refused with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from libs.common.contracts.joining import Manifest
from services.fakts.preflight import manifests

MEMBERS = (
    "manifest",
    "expiration_time_seconds",
    "requested_client_kind",
    "requested_client_role",
    "redirect_uris",
    "requested_organization",
    "requested_platform_version",
    "request_auth_key",
)
"""What a start may say. Others are ignored."""
DEFAULT_SECONDS = 300
KINDS = ("development", "website", "desktop", "mobile")
ROLES = ("interface", "agent")
_REFUSED_KINDS = {
    "relying_party": "an administrator registers relying parties; ask one",
    "hub": "this deployment takes in no hubs",
}
_MAX_URIS, _MAX_URI = 20, 2000
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_NOT_TO_BE_OPENED = frozenset({"javascript", "data", "vbscript", "file", "about", "blob"})


class InvalidStart(ValueError):
    """The message says which parameter is refused, and why."""


@dataclass(frozen=True)
class Start:
    manifest: Manifest
    seconds: float
    """How long a person may take to decide."""
    kind: str
    role: str
    redirect_uris: tuple[str, ...]
    organization: str | None
    """The organization that the app asks to act in, by name."""


def read(document: Mapping[str, Any], platform_version: str) -> Start:
    """The start of either version of the protocol.

    Args:
        platform_version: of this deployment.

    Raises:
        InvalidManifest: the manifest is malformed.
        InvalidStart: a parameter is.
    """
    if document.get("manifest") is None:
        raise InvalidStart("send the app's manifest")
    manifest = manifests.of_document(document["manifest"])
    wanted = _text(document, "requested_platform_version")
    if wanted is not None and not _satisfies(platform_version, wanted):
        raise InvalidStart(f"this deployment is version {platform_version}, and the app wants {wanted[:40]}")
    if document.get("request_auth_key") not in (None, False):
        raise InvalidStart("this deployment has no mesh network: start without request_auth_key")
    return Start(
        manifest=manifest,
        seconds=_seconds(document.get("expiration_time_seconds")),
        kind=kind(_text(document, "requested_client_kind")),
        role=role(_text(document, "requested_client_role")),
        redirect_uris=_uris(document.get("redirect_uris")),
        organization=_text(document, "requested_organization"),
    )


def kind(text: str | None) -> str:
    """`requested_client_kind`. Raises InvalidStart."""
    if text in _REFUSED_KINDS:
        raise InvalidStart(f"requested_client_kind '{text}' is refused: {_REFUSED_KINDS[text]}")
    return _one_of("requested_client_kind", text, KINDS)


def role(text: str | None) -> str:
    """`requested_client_role`. Raises InvalidStart."""
    return _one_of("requested_client_role", text, ROLES)


def _one_of(name: str, text: str | None, known: tuple[str, ...]) -> str:
    if text is None:
        return known[0]
    if text not in known:
        raise InvalidStart(f"{name} '{text[:40]}' is not known here; there are {', '.join(known)}")
    return text


def _text(document: Mapping[str, Any], name: str) -> str | None:
    """A text, or None where there is none or an empty one."""
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 255:
        raise InvalidStart(f"{name} is a text of at most 255 characters")
    return value


def _seconds(value: object) -> float:
    if value is None:
        return DEFAULT_SECONDS
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
        raise InvalidStart("expiration_time_seconds is a number of seconds, at least 1")
    return float(min(value, 10**9))


def _uris(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_URIS:
        raise InvalidStart(f"redirect_uris is a list of at most {_MAX_URIS}")
    for uri in value:
        if not isinstance(uri, str) or len(uri) > _MAX_URI or not _may_be_opened(uri):
            raise InvalidStart("redirect_uris holds absolute addresses without a fragment, such as https://host/path")
    return tuple(value)


def _may_be_opened(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if "#" in uri or not _SCHEME.fullmatch(parts.scheme) or parts.scheme in _NOT_TO_BE_OPENED:
        return False
    return bool(parts.hostname) if parts.scheme in ("http", "https") else bool(parts.netloc or parts.path)


def _satisfies(version: str, wanted: str) -> bool:
    """Is the version one of those wanted: `0.2` for all 0.2.x, or conditions as in `>=0.1,<2`?"""
    try:
        Version(wanted)
        conditions = SpecifierSet(f"=={wanted}.*" if re.fullmatch(r"[0-9]+(\.[0-9]+)*", wanted) else f"=={wanted}")
    except InvalidVersion:
        try:
            conditions = SpecifierSet(wanted)
        except InvalidSpecifier:
            raise InvalidStart(
                f"requested_platform_version '{wanted[:40]}' is neither a version nor conditions such as '>=0.1,<2'"
            ) from None
    return conditions.contains(version, prereleases=True)
