"""What an app and the platform say to one another: the Fakts protocol 2, on OAuth 2.0 (RFC 6749, 7009, 8628).

Pure. What a server says is read tolerantly where an app can go on (an address of an unknown kind is left out) and
strictly where it cannot, or must not: credentials only ever go to the origin that was named.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from libs.common.connect.errors import ConnectFailed, Denied, Expired, NeedsLogin, Refused, Unreachable
from libs.common.contracts.joining import MANDATE_GRANT, Alias, Instance, Manifest

PROTOCOL_VERSION = "2"
WELL_KNOWN = "/.well-known/fakts"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REDEEM_GRANT = "urn:fakts:grant-type:redeem"
PENDING, SLOW_DOWN = "authorization_pending", "slow_down"
SLOW_DOWN_SECONDS = 5.0
"""What `slow_down` adds to the interval (RFC 8628, section 3.5)."""
_DEFAULT_LIFETIME = 300.0
_RENEW_EARLY = 60.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Deployment:
    """Where a platform wants to be asked what."""

    name: str
    version: str
    token_endpoint: str
    device_endpoint: str | None
    revocation_endpoint: str | None
    report_endpoint: str | None


@dataclass(frozen=True)
class DeviceLogin:
    """A login that waits for a person (RFC 8628, section 3.2)."""

    url: str
    """The page on which it is decided."""
    code: str
    """What that page must show."""
    seconds: float
    """How long there is for it."""
    interval: float
    device_code: str
    client_id: str


class TokenAnswer(BaseModel):
    """A token and what comes with it. None of `instances` means that they are what they were."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    access_token: str
    expires_in: float = _DEFAULT_LIFETIME
    refresh_token: str | None = None
    client_id: str = ""
    scope: str = ""
    instances: Mapping[str, Any] | None = None
    statuses: Mapping[str, str] | None = None


class Credential(BaseModel):
    """A login as it is kept: the tokens, when they are to be renewed, and what was granted. Times are Unix time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server: str
    identifier: str
    asked: str
    """Digest of what the app asked for: an app that asks for something else must ask anew."""
    client_id: str
    access_token: str
    refresh_token: str | None
    renew_at: float
    expires_at: float
    account: str | None
    """Whom the app acts for."""
    scope: str
    instances: dict[str, Instance]
    statuses: dict[str, str]


def server_url(text: str, *, allow_insecure: bool = False) -> str:
    """A platform's address, normalised. Raises ConnectFailed for one that credentials must not go to.

    Args:
        allow_insecure: tokens may cross a network in the clear.
    """
    url = text.strip().rstrip("/")
    parts = _split(url)
    if parts is None or parts.query or parts.fragment or parts.username is not None:
        raise ConnectFailed(f"'{text}' is no address of a platform: it looks like https://HOST or http://HOST:PORT")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname or ""):
        raise ConnectFailed(
            f"{url} is not encrypted: whoever is on the way could read the tokens. Use its https address, or "
            "say that the network is trusted (FAKTS_ALLOW_INSECURE_TRANSPORT=1, or `constellation login --insecure`)"
        )
    return url


def is_loopback(host: str) -> bool:
    """The host is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def deployment(url: str, document: object) -> Deployment:
    """What the well-known document at `url` says. Raises Unreachable."""
    if not isinstance(document, dict) or not isinstance(document.get("token_endpoint"), str):
        raise Unreachable(f"{url}{WELL_KNOWN} does not answer as a platform does; is the address right?")
    spoken = str(document.get("protocol_version", "1"))
    if spoken != PROTOCOL_VERSION:
        raise Unreachable(f"{url} speaks version {spoken} of the Fakts protocol, and this client {PROTOCOL_VERSION}")
    base = _endpoint(url, document, "base_url")
    token_endpoint = _endpoint(url, document, "token_endpoint")
    assert token_endpoint is not None  # noqa: S101 - it is a text, see above
    return Deployment(
        name=str(document.get("name", "")),
        version=str(document.get("version", "")),
        token_endpoint=token_endpoint,
        device_endpoint=_endpoint(url, document, "device_authorization_endpoint"),
        revocation_endpoint=_endpoint(url, document, "revocation_endpoint"),
        report_endpoint=f"{base}report/" if base else None,
    )


def device_login(url: str, document: object) -> DeviceLogin:
    """What a start was answered with. Raises Unreachable when it makes no sense."""
    match document:
        case {"device_code": str(secret), "client_id": str(client_id), "user_code": str(code), **more}:
            page = more.get("verification_uri_complete") or more.get("verification_uri")
            parts = _split(page) if isinstance(page, str) else None
            if parts is not None and f"{page}{code}".isprintable():
                return DeviceLogin(
                    url=parts.geturl(),
                    code=code,
                    seconds=_number(more.get("expires_in"), _DEFAULT_LIFETIME),
                    interval=max(_number(more.get("interval"), SLOW_DOWN_SECONDS), 1.0),
                    device_code=secret,
                    client_id=client_id,
                )
    raise Unreachable(f"{url} started a login without saying how it goes on")


def token_answer(url: str, document: object) -> TokenAnswer:
    """Raises Unreachable when it is none."""
    try:
        return TokenAnswer.model_validate(document)
    except ValidationError:
        raise Unreachable(f"{url} answered the login with something that is no token") from None


def refusal(document: object, status: int) -> Refused | None:
    """The error of an answer of an OAuth endpoint; None when the server is at fault, or says nothing useful."""
    if status < 500 and isinstance(document, dict) and isinstance(error := document.get("error"), str) and error:
        return Refused(error, str(document.get("error_description") or ""))
    return None


def decision(refused: Refused) -> ConnectFailed:
    """What a poll that will not succeed any more means."""
    match refused.error:
        case "access_denied":
            return Denied(refused.description or "the login was denied")
        case "expired_token":
            return Expired("nobody decided in time; connect again for a new code")
        case _:
            return refused


def lost(refused: Refused) -> ConnectFailed:
    """What it means that a credential was refused."""
    if refused.error in ("invalid_grant", "invalid_client"):
        return NeedsLogin(f"the login is not good any more: {str(refused).rstrip('.')}. Log in again")
    return refused


def start_body(manifest: Manifest, *, seconds: float) -> dict[str, Any]:
    return {
        "manifest": manifest.model_dump(mode="json"),
        "expiration_time_seconds": int(seconds),
        "redirect_uris": [],
        "requested_client_kind": "development",
        "requested_client_role": "interface",
    }


def device_form(login: DeviceLogin) -> dict[str, str]:
    return {"grant_type": DEVICE_GRANT, "device_code": login.device_code, "client_id": login.client_id}


def refresh_form(credential: Credential) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "refresh_token": credential.refresh_token or "",
        "client_id": credential.client_id,
    }


def mandate_form(key: str, manifest: Manifest) -> dict[str, str]:
    return {"grant_type": MANDATE_GRANT, "key": key, **_unattended(manifest)}


def redeem_form(token: str, manifest: Manifest) -> dict[str, str]:
    return {"grant_type": REDEEM_GRANT, "redeem_token": token, **_unattended(manifest)}


def revocation_form(credential: Credential) -> dict[str, str]:
    hint = "refresh_token" if credential.refresh_token else "access_token"
    return {
        "token": credential.refresh_token or credential.access_token,
        "token_type_hint": hint,
        "client_id": credential.client_id,
    }


def asked(manifest: Manifest) -> str:
    """Digest of what a manifest asks for: its scopes and requirements, whatever release of the app it is of."""
    wanted = manifest.model_dump(mode="json", include={"scopes", "requirements"})
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def credential(
    answer: TokenAnswer, server: str, manifest: Manifest, *, now: float, before: Credential | None = None
) -> Credential:
    """What to keep of a token answer.

    Args:
        before: what it renews; what the answer leaves out stays as it was.
    """
    instances = _instances(answer.instances) if answer.instances is not None else None
    return Credential(
        server=server,
        identifier=manifest.identifier,
        asked=before.asked if before else asked(manifest),
        client_id=answer.client_id or (before.client_id if before else ""),
        access_token=answer.access_token,
        refresh_token=answer.refresh_token or (before.refresh_token if before else None),
        renew_at=now + max(answer.expires_in - _RENEW_EARLY, answer.expires_in / 2),
        expires_at=now + answer.expires_in,
        account=account_of(answer.access_token),
        scope=answer.scope or (before.scope if before else ""),
        instances=instances if instances is not None else dict(before.instances if before else {}),
        statuses=dict(answer.statuses if answer.statuses is not None else before.statuses if before else {}),
    )


def account_of(token: str) -> str | None:
    """The name that an access token says it is for. Unverified: it is the app's own token, and only shown."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        name = claims.get("preferred_username")
    except (IndexError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _unattended(manifest: Manifest) -> dict[str, str]:
    return {
        "manifest": manifest.model_dump_json(),
        "requested_client_kind": "development",
        "requested_client_role": "agent",
        "request_auth_key": "false",
    }


def _instances(documents: Mapping[str, Any]) -> dict[str, Instance]:
    found = {}
    for key, document in documents.items():
        if isinstance(document, dict):
            aliases = [alias for one in document.get("aliases") or () if (alias := _alias(one)) is not None]
            try:
                found[key] = Instance.model_validate({**document, "aliases": aliases})
            except ValidationError:
                continue
    return found


def _alias(document: object) -> Alias | None:
    try:
        return Alias.model_validate(document)
    except ValidationError:
        return None


def _endpoint(url: str, document: Mapping[str, Any], name: str) -> str | None:
    found = document.get(name)
    if not isinstance(found, str):
        return None
    parts, own = _split(found), _split(url)
    if parts is None or own is None or _origin(parts) != _origin(own):
        raise Unreachable(
            f"{url} says that its {name} is {found}, on another origin, where no credential is sent. Connect to the "
            "platform by its public address"
        )
    return found


def _split(url: str) -> SplitResult | None:
    """The parts of an absolute HTTP address, or None when it is none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else default
