"""Asking an upstream provider who somebody is: OpenID Connect's code flow with state, nonce and PKCE, by Authlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import Request, Response
from httpx2 import HTTPError
from joserfc.errors import JoseError

from libs.common import logs
from libs.common.problems import Invalid, NotFound, Unavailable
from services.fakts.pages.providers import Provider

log = logs.get(__name__)

_SECONDS = 15.0


@dataclass(frozen=True)
class Vouched:
    """What a provider says about a person."""

    issuer: str
    subject: str
    claims: dict[str, Any]


class Providers:
    """The providers of this platform."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._clients = OAuth()
        for provider in providers:
            secret = provider.client_secret
            self._clients.register(
                provider.name,
                client_id=provider.client_id,
                client_secret=secret.get_secret_value() if secret is not None else None,
                server_metadata_url=provider.discovery,
                client_kwargs={
                    "scope": " ".join(provider.scopes),
                    "code_challenge_method": "S256",
                    "timeout": _SECONDS,
                    **({"token_endpoint_auth_method": "none"} if secret is None else {}),
                },
            )

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Names and labels, for the sign-in page."""
        return [(provider.name, provider.label) for provider in self._providers.values()]

    def get(self, name: str) -> Provider:
        """Raises NotFound."""
        if name not in self._providers:
            raise NotFound("there is no such way to sign in")
        return self._providers[name]

    async def begin(self, request: Request, name: str, callback: str, *, again: bool) -> Response:
        """The redirect to the provider. What must be known when the person comes back is in `request.session`.

        Args:
            again: the provider is to ask the person even if it knows who they are.

        Raises:
            NotFound, Unavailable: as they say.
        """
        provider = self.get(name)
        more = {"prompt": "login"} if again else {}
        try:
            await self._metadata(provider)
            answer: Response = await self._client(name).authorize_redirect(request, callback, **more)
        except (HTTPError, RuntimeError, ValueError) as error:
            raise self._silent(name, provider.label, error) from error
        return answer

    async def finish(self, request: Request, name: str) -> Vouched:
        """Who came back.

        Raises:
            Invalid: it did not begin in this browser, or the provider did not vouch for the person.
            NotFound, Unavailable: as they say.
        """
        provider = self.get(name)
        client = self._client(name)
        try:
            metadata = await self._metadata(provider)
            # A key that both sides know, or none, proves nothing here (RFC 8725, sections 3.1 and 3.2).
            offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
            metadata["id_token_signing_alg_values_supported"] = [
                algorithm for algorithm in offered if algorithm != "none" and not algorithm.startswith("HS")
            ]
            token = await client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "value": metadata["issuer"]},
                    "aud": {"essential": True, "value": provider.client_id},
                },
            )
            claims = dict(token.get("userinfo") or {})
            if not claims.get("sub"):
                raise Invalid(f"{provider.label} did not say who you are; try again, or tell an administrator")
            if metadata.get("userinfo_endpoint"):
                further = dict(await client.userinfo(token=token))
                # OpenID Connect Core, section 5.3.2: of another subject it must not be used.
                claims = {**further, **claims} if further.get("sub") == claims["sub"] else claims
        except (OAuthError, JoseError) as error:
            log.warning("provider_did_not_vouch", provider=name, reason=str(error))
            raise Invalid(f"{provider.label} did not sign you in; start again") from error
        except (HTTPError, RuntimeError, ValueError, KeyError) as error:
            raise self._silent(name, provider.label, error) from error
        return Vouched(str(metadata["issuer"]), str(claims["sub"]), claims)

    async def _metadata(self, provider: Provider) -> dict[str, Any]:
        """What the provider's document says of it. Raises ValueError for a document of another issuer."""
        client = self._client(provider.name)
        metadata: dict[str, Any] = await client.load_server_metadata()
        issuer = metadata.get("issuer")
        if not provider.is_issuer(issuer):
            metadata.clear()  # it is read again the next time
            log.error("provider_is_another_issuer", provider=provider.name, issuer=issuer, expected=provider.realm)
            raise ValueError("the document is that of another issuer")
        return metadata

    def _client(self, name: str) -> Any:
        return self._clients.create_client(name)

    def _silent(self, name: str, label: str, error: Exception) -> Unavailable:
        log.warning("provider_does_not_answer", provider=name, reason=type(error).__name__)
        return Unavailable(f"{label} does not answer as it should; try again later, or sign in another way")
