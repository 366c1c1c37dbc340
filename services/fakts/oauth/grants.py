"""The grants of the token endpoint: who gets an access token, and what comes with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import (
    MANDATE_GRANT,
    SERVICE_PREFIX,
    SERVICE_SCOPE,
    JoinAnswer,
    Manifest,
    SelfDescription,
)
from services.fakts.context import Context
from services.fakts.models import Client, Mandate
from services.fakts.oauth import clients, tokens
from services.fakts.origin import Origin
from services.fakts.preflight import instances, mandates, manifests, patterns
from services.fakts.preflight.composition import Composition
from services.fakts.preflight.configuration import configuration
from services.fakts.settings import FaktsSettings

Grant = Callable[[AsyncSession, Context, Mapping[str, str], Origin], Awaitable[dict[str, Any]]]
OWN_SERVICE = f"{SERVICE_PREFIX}fakts"


class GrantRefused(Exception):
    """An OAuth error answer (RFC 6749, section 5.2)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


async def answer(session: AsyncSession, context: Context, form: Mapping[str, str], origin: Origin) -> dict[str, Any]:
    """The token answer to a form. Raises GrantRefused."""
    name = form.get("grant_type", "")
    if not name:
        raise GrantRefused("invalid_request", "grant_type is missing")
    grant = GRANTS.get(name)
    if grant is None:
        raise GrantRefused("unsupported_grant_type", f"supported here: {', '.join(GRANTS)}")
    return await grant(session, context, form, origin)


async def _mandate_key(
    session: AsyncSession, context: Context, form: Mapping[str, str], origin: Origin
) -> dict[str, Any]:
    """Nobody is there: a key, which an administrator made, stands for their approval.

    There is no refresh token: the client logs in again with its key, so that a revoked key dies with the last token.
    """
    manifest = _manifest(form)
    mandate = await _in_force(session, form, manifest)
    is_service = mandate.kind == mandates.SERVICE
    composition = await instances.resolve(session, manifest.requirements or ())
    if composition.missing:
        raise GrantRefused("invalid_grant", f"This deployment offers no {', '.join(composition.missing)}.")
    scope = SERVICE_SCOPE if is_service else manifests.scopes(manifest)
    try:
        client = await clients.log_in(session, mandate, manifest, scope)
    except clients.NotThisClient as refusal:
        raise GrantRefused("invalid_grant", str(refusal)) from None
    token = await _token(session, context, client, origin)
    body = _token_answer(token, client, composition, origin, context.settings)
    if is_service:
        name = manifest.identifier.removeprefix(SERVICE_PREFIX)
        configured = configuration(name, context.settings, context.master)
        body["configuration"] = configured.model_dump(mode="json", exclude_none=True)
    return body


GRANTS: Mapping[str, Grant] = {MANDATE_GRANT: _mandate_key}


def _manifest(form: Mapping[str, str]) -> Manifest:
    text = form.get("manifest", "")
    if not text:
        raise GrantRefused("invalid_request", "manifest is missing: a JSON object, as text")
    try:
        return manifests.parse(text)
    except manifests.InvalidManifest as error:
        raise GrantRefused("invalid_request", str(error)) from None


async def _in_force(session: AsyncSession, form: Mapping[str, str], manifest: Manifest) -> Mandate:
    """The mandate of the form's key, if it is good for this manifest."""
    key = form.get("key", "")
    if not key:
        raise GrantRefused("invalid_request", "key is missing")
    mandate = await mandates.by_key(session, key)
    if mandate is None:
        raise GrantRefused("invalid_grant", "This key is not known.")
    if mandate.revoked_at is not None:
        raise GrantRefused("invalid_grant", "This key was revoked.")
    if mandate.expires_at is not None and mandate.expires_at <= db.now():
        raise GrantRefused("invalid_grant", "This key has expired.")
    own = manifest.identifier.startswith(SERVICE_PREFIX)
    if (
        own != (mandate.kind == mandates.SERVICE)
        or manifest.identifier == OWN_SERVICE
        or not patterns.covers(mandate.identifiers, manifest.identifier)
    ):
        raise GrantRefused("invalid_grant", f"This key does not cover '{manifest.identifier}'.")
    return mandate


async def _token(session: AsyncSession, context: Context, client: Client, origin: Origin) -> str:
    holder = tokens.Holder(
        client_id=str(client.id),
        client_app=client.identifier,
        client_release=client.version,
        scope=client.scope,
        subject=str(client.id),
        username=client.identifier,
    )
    seconds = context.settings.access_token_seconds
    return await tokens.issue(session, context.keys, holder, issuer=context.issuer(origin), seconds=seconds)


def _token_answer(
    token: str, client: Client, composition: Composition, origin: Origin, settings: FaktsSettings
) -> dict[str, Any]:
    """The published answer: one instance per requirement, and nothing that a strict client would stumble over."""
    answered = JoinAnswer.model_validate(
        {
            "access_token": token,
            "expires_in": settings.access_token_seconds,
            "client_id": str(client.id),
            "scope": client.scope,
            "self": SelfDescription(deployment_name=settings.deployment_name, alias=origin.alias("self")),
            "instances": {key: found[0] for key, found in composition.instances.items()},
            "statuses": composition.statuses,
        }
    )
    body = answered.model_dump(mode="json", by_alias=True, exclude={"configuration"})
    return body | {"expires_in": settings.access_token_seconds}
