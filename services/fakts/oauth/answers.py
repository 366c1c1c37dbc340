"""The answers of the token endpoint: access token, the Fakts protocol's envelope, and OpenID's id token."""

from __future__ import annotations

import time
from typing import Any

from authlib.oidc.core.util import create_half_hash
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.joining import SERVICE_SCOPE, JoinAnswer, Manifest, SelfDescription
from services.fakts.context import Context
from services.fakts.models import Client, Login
from services.fakts.oauth import claims, people, tokens
from services.fakts.oauth.clients import NO_APPS
from services.fakts.oauth.keys import ALGORITHM
from services.fakts.oauth.people import Person
from services.fakts.origin import Origin
from services.fakts.preflight import instances
from services.fakts.preflight.composition import Composition
from services.fakts.where import Where, zone_of


async def token_answer(
    session: AsyncSession,
    context: Context,
    client: Client,
    login: Login,
    *,
    origin: Origin,
    where: Where,
    scope: str | None = None,
    refresh_token: str | None = None,
    envelope: bool = True,
) -> dict[str, Any]:
    """An access token, and what comes with it.

    Args:
        origin: that the client asked. All addresses of the platform are on it.
        where: the client is: it is given the addresses that it reaches from there.
        scope: of this access token; None for all that the login has.
        envelope: say where the client's services are, if it is an app of the Fakts protocol.
    """
    is_app = client.kind not in NO_APPS
    composition = await _composition(session, client, origin, where) if is_app else None
    person = await people.of_login(session, login)
    given = login.scope if scope is None else scope
    holder = _holder(client, login, given, person, composition)
    seconds = context.settings.access_token_seconds
    body: dict[str, Any] = {
        "access_token": await tokens.issue(
            session, context.keys, holder, issuer=context.issuer(origin), seconds=seconds
        ),
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": given,
        "client_id": str(client.id),
    }
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    if composition is not None and envelope:
        body |= _envelope(context, composition, origin)
    return body


async def id_token(
    session: AsyncSession, context: Context, client: Client, login: Login, access_token: str, *, origin: Origin
) -> str:
    """Who signed in, for a client that came by an authorization code (OpenID Connect Core, section 3.1.3.6)."""
    now = int(time.time())
    person = await people.of_login(session, login)
    assert person is not None  # noqa: S101 - codes are for people
    memberships = await people.memberships(session, person.account)
    said = claims.of_account(person.account, memberships, login.scope.split(), person.role)
    nonce = {"nonce": login.nonce} if login.nonce else {}
    return await context.keys.sign(
        session,
        {
            **said,
            **nonce,
            "iss": context.issuer(origin),
            "aud": str(client.id),
            "iat": now,
            "exp": now + context.settings.access_token_seconds,
            "auth_time": int(login.authenticated_at.timestamp()),
            "at_hash": create_half_hash(access_token, ALGORITHM).decode(),
            "sid": str(login.id),
        },
    )


async def envelope(
    session: AsyncSession, context: Context, client: Client, *, origin: Origin, where: Where
) -> dict[str, Any]:
    """What an app is told of its surroundings: `self`, `instances` and `statuses`."""
    return _envelope(context, await _composition(session, client, origin, where), origin)


async def _composition(session: AsyncSession, client: Client, origin: Origin, where: Where) -> Composition:
    requirements = Manifest.model_validate(client.manifest).requirements or ()
    if client.scope == SERVICE_SCOPE:
        return await instances.resolve(session, requirements)
    return await instances.resolve_for_app(
        session,
        requirements,
        zone=zone_of(where.address),
        platform=origin.alias("platform"),
        declined=client.declined or (),
    )


def _holder(
    client: Client, login: Login, scope: str, person: Person | None, composition: Composition | None
) -> tokens.Holder:
    account = person.account if person is not None else None
    organization = person.organization if person is not None else None
    audience: list[str] = []
    if composition is not None and client.scope != SERVICE_SCOPE:
        audience = sorted({found[0].identifier for found in composition.instances.values()})
    return tokens.Holder(
        login_id=str(login.id),
        client_id=str(client.id),
        client_app=client.identifier,
        client_release=client.version,
        client_device=client.device,
        scope=scope,
        subject=str(account.id if account is not None else client.id),
        username=account.name if account is not None else client.identifier,
        roles=claims.roles(person.account, scope.split(), person.role) if person is not None else (),
        organization=(str(organization.id), organization.name) if organization is not None else None,
        audience=audience,
    )


def _envelope(context: Context, composition: Composition, origin: Origin) -> dict[str, Any]:
    """The Fakts protocol's part: one instance per requirement, and nothing that strict clients stumble over."""
    answer = JoinAnswer.model_validate(
        {
            "access_token": "",
            "expires_in": 0,
            "client_id": "",
            "self": SelfDescription(deployment_name=context.settings.deployment_name, alias=origin.alias("self")),
            "instances": {key: found[0] for key, found in composition.instances.items()},
            "statuses": composition.statuses,
        }
    )
    return answer.model_dump(mode="json", by_alias=True, include={"self_", "instances", "statuses"})
