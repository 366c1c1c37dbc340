"""The grants of the Fakts protocol for apps and services that nobody watches."""

from __future__ import annotations

from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749.errors import InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from libs.common import db
from libs.common.contracts.joining import MANDATE_GRANT, SERVICE_PREFIX, SERVICE_SCOPE
from libs.common.problems import Conflict, Forbidden
from services.fakts.models import Mandate
from services.fakts.oauth import answers, clients, logins
from services.fakts.oauth.server import Server, refuse, wait
from services.fakts.preflight import instances, mandates, manifests, parameters, patterns, redeem_tokens
from services.fakts.preflight.admission import not_offered
from services.fakts.preflight.configuration import configuration
from services.fakts.where import zone_of

OWN_SERVICE = f"{SERVICE_PREFIX}fakts"
REDEEM_GRANT = "urn:fakts:grant-type:redeem"


class _Headless(BaseGrant, TokenEndpointMixin):
    """A manifest, and a secret that stands for an approval."""

    server: Server

    def validate_token_request(self) -> None:
        text = self.request.form.get("manifest", "")
        if not text:
            refuse(InvalidRequestError, "manifest is missing: a JSON object, as text")
        try:
            self.manifest = manifests.parse(text)
        except manifests.InvalidManifest as error:
            refuse(InvalidRequestError, str(error))

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        return 200, wait(self.log_in()), default_json_headers

    async def log_in(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def kind(self) -> str:
        try:
            return parameters.kind(self.request.form.get("requested_client_kind") or None)
        except parameters.InvalidStart as error:
            refuse(InvalidRequestError, str(error))


class MandateKey(_Headless):
    """A key, which an administrator made, stands for their approval.

    There is no refresh token: the client logs in again with its key, so that a revoked key dies with the last token.
    """

    GRANT_TYPE = MANDATE_GRANT

    async def log_in(self) -> dict[str, Any]:
        server, manifest = self.server, self.manifest
        mandate = await self._in_force()
        is_service = mandate.kind == mandates.SERVICE
        await self._check_offered(is_service)
        scope = SERVICE_SCOPE if is_service else manifests.scopes(manifest)
        try:
            client = await clients.log_in(server.session, mandate, manifest, scope, self.kind)
        except clients.NotThisClient as refusal:
            refuse(InvalidGrantError, str(refusal))
        login, _ = await logins.open_login(
            server.session, server.context, client, account=None, organization=None, scope=scope, refreshes=False
        )
        body = await answers.token_answer(
            server.session, server.context, client, login, origin=server.origin, where=server.where
        )
        if is_service:
            name = manifest.identifier.removeprefix(SERVICE_PREFIX)
            configured = configuration(name, server.context.settings, server.context.master)
            body["configuration"] = configured.model_dump(mode="json", exclude_none=True)
        return body

    async def _in_force(self) -> Mandate:
        """The mandate of the form's key, if it is good for this manifest."""
        key, identifier = self.request.form.get("key", ""), self.manifest.identifier
        if not key:
            refuse(InvalidRequestError, "key is missing")
        mandate = await mandates.by_key(self.server.session, key)
        if mandate is None:
            refuse(InvalidGrantError, "This key is not known.")
        if mandate.revoked_at is not None:
            refuse(InvalidGrantError, "This key was revoked.")
        if mandate.expires_at is not None and mandate.expires_at <= db.now():
            refuse(InvalidGrantError, "This key has expired.")
        own = identifier.startswith(SERVICE_PREFIX)
        if (
            own != (mandate.kind == mandates.SERVICE)
            or identifier == OWN_SERVICE
            or not patterns.covers(mandate.identifiers, identifier)
        ):
            refuse(InvalidGrantError, f"This key does not cover '{identifier}'.")
        return mandate

    async def _check_offered(self, is_service: bool) -> None:
        requirements = self.manifest.requirements or ()
        server = self.server
        if is_service:
            composition = await instances.resolve(server.session, requirements)
        else:
            composition = await instances.resolve_for_app(
                server.session,
                requirements,
                zone=zone_of(server.where.address),
                platform=server.origin.alias("platform"),
            )
        if composition.missing:
            refuse(InvalidGrantError, not_offered(composition.missing))


class Redeem(_Headless):
    """A redeem token, which somebody made beforehand, stands for their approval. Used by older Fakts clients."""

    GRANT_TYPE = REDEEM_GRANT

    async def log_in(self) -> dict[str, Any]:
        session, context, where = self.server.session, self.server.context, self.server.where
        token = self.request.form.get("redeem_token", "")
        if not token:
            refuse(InvalidRequestError, "redeem_token is missing")
        try:
            async with session.begin_nested():  # a refusal is an answer, and must leave nothing behind
                client = await redeem_tokens.redeem(session, context, token, self.manifest, where)
        except (Forbidden, Conflict) as refusal:
            refuse(InvalidGrantError, refusal.detail)
        account, organization = await logins.acts_for(session, client)
        login, refresh_token = await logins.open_login(
            session, context, client, account=account, organization=organization, scope=client.scope
        )
        return await answers.token_answer(
            session, context, client, login, origin=self.server.origin, where=where, refresh_token=refresh_token
        )
