"""Fakts as the other services see it, with everything scripted: tokens, leases, the identity feed, passwords.

An ASGI application that a test serves on a loopback port:

    async with FaktsDouble().serve() as fakts:
        fakts.configure("registry", database_url=..., secrets_key=...)
        fakts.add_account("joe", password="p")
        key = fakts.add_key("joe")
        settings = RegistrySettings(fakts_url=fakts.url, join_token=fakts.join_token, ...)

It signs with a key of its own, so that services verify tokens as they do in earnest. Leases do not lapse by
themselves: `lapse` ends one. What it refuses, it refuses as Fakts does; what a test must not depend on, it lacks.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from libs.common.contracts.bundles import SIGNATURE_TYPE
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.contracts.identity import (
    FULL_PERMISSIONS,
    Account,
    AccountKind,
    Ended,
    Key,
    Permissions,
    Role,
    TrustedIssuer,
    Vouched,
)
from libs.common.contracts.joining import (
    MANDATE_GRANT,
    SERVICE_PREFIX,
    SERVICE_SCOPE,
    Alias,
    Instance,
    InstanceLease,
    InstanceOffer,
    JoinAnswer,
    Manifest,
    Requirement,
    SelfDescription,
    ServiceConfiguration,
)
from libs.common.contracts.satellites import reporter
from libs.common.directory import ACCOUNT_PREFIX, ENDED_PREFIX, ISSUER_PREFIX, KEY_PREFIX, key_hash
from tests.support.serving import serving

LEASE_SECONDS = 15.0
TOKEN_SECONDS = 3600


@cache
def signing_key() -> RSAKey:
    """One per test process: making one takes a while."""
    return RSAKey.generate_key(2048, parameters={"kid": "double", "use": "sig", "alg": "RS256"})


class FaktsDouble:
    """See the module's documentation."""

    def __init__(self) -> None:
        self.url = ""
        self.join_token = secrets.token_hex(16)
        self.accounts: dict[str, Account] = {}
        self.leases: dict[str, InstanceOffer] = {}
        """Live instances that offered themselves, by id."""
        self.logins: list[Manifest] = []
        """Manifests of all that logged in, oldest first."""
        self.visits: list[Headers] = []
        """Headers of all who asked what is here, oldest first."""
        self._offered: dict[str, tuple[Instance, ...]] = {}
        self._configurations: dict[str, ServiceConfiguration] = {}
        self._passwords: dict[str, str] = {}
        self.vouched: dict[str, Vouched] = {}
        """What is answered about trusted issuers' tokens; all others are refused."""
        self.exchanged = 0
        """Questions about such tokens."""
        self._epoch = str(uuid4())
        self._version = 0
        self._entries: dict[str, tuple[int, dict[str, Any] | None]] = {}
        self._changed = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/.well-known/fakts", self._well_known),
                Route("/o/token/", self._token, methods=["POST"]),
                Route("/o/jwks/", self._jwks),
                Route("/lok/f/instances/{id}", self._offer, methods=["PUT"]),
                Route("/lok/f/instances/{id}", self._leave, methods=["DELETE"]),
                Route("/internal/feeds/identity", self._feed),
                Route("/internal/passwords/verify", self._verify, methods=["POST"]),
                Route("/internal/tokens/exchange", self._exchange, methods=["POST"]),
                Route("/internal/signatures", self._sign_bundle, methods=["POST"]),
                Route("/healthz", self._healthz),
            ]
        )

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """Answer on a loopback port while the context is open."""
        async with serving(self.app, grace=1) as url:
            self.url = url
            try:
                yield self
            finally:
                self._tell()

    # What tests set up

    def configure(self, service: str, **members: str | None) -> None:
        """The configuration that `service` gets when it logs in (members of ServiceConfiguration)."""
        self._configurations[service] = ServiceConfiguration(**members)

    def offer(self, service: str, *urls: str) -> None:
        """Instances of `service` that everybody who requires it is told of, besides those that offer themselves."""
        self._offered[SERVICE_PREFIX + service] = tuple(_instance(service, f"static-{url}", url) for url in urls)

    def lapse(self, instance_id: str) -> None:
        """The lease of an instance ends; it is in nobody's answers until it offers itself again."""
        self.leases.pop(instance_id, None)

    def add_account(
        self,
        name: str,
        *,
        password: str | None = None,
        kind: AccountKind = AccountKind.USER,
        organizations: Mapping[str, Role] | None = None,
        staff: bool = False,
        active: bool = True,
    ) -> Account:
        """A new account, or a change of one: it keeps its id."""
        known = self.accounts.get(name)
        account = Account(
            id=known.id if known else uuid4(),
            name=name,
            kind=kind,
            active=active,
            staff=staff,
            organizations=dict(organizations or {}),
        )
        self.accounts[name] = account
        if password is not None:
            self._passwords[name] = password
        self._publish(ACCOUNT_PREFIX + name, account.model_dump(mode="json"))
        return account

    def add_organization(self, name: str) -> Account:
        return self.add_account(name, kind=AccountKind.ORGANIZATION)

    def remove_account(self, name: str) -> None:
        self.accounts.pop(name, None)
        self._publish(ACCOUNT_PREFIX + name, None)

    def add_key(
        self,
        owner: str,
        *,
        permissions: Permissions = FULL_PERMISSIONS,
        admin: bool = False,
        raw: str | None = None,
    ) -> str:
        """An API key of an account; returns the key as its owner would send it."""
        raw = raw or f"sim{base64.b64encode(secrets.token_bytes(18)).decode()}1"
        key = Key(id=uuid4(), owner=owner, admin=admin, permissions=permissions)
        self._publish(KEY_PREFIX + key_hash(raw), key.model_dump(mode="json"))
        return raw

    def revoke_key(self, raw: str) -> None:
        self._publish(KEY_PREFIX + key_hash(raw), None)

    def trust(self, issuer: str) -> TrustedIssuer:
        """Trust an issuer, from now on."""
        trusted = TrustedIssuer(id=uuid4(), issuer=issuer)
        self._publish(f"{ISSUER_PREFIX}{trusted.id}", trusted.model_dump(mode="json"))
        return trusted

    def distrust(self, trusted: TrustedIssuer) -> None:
        self._publish(f"{ISSUER_PREFIX}{trusted.id}", None)

    def foreign_token(self, trusted: TrustedIssuer, account: Account, *, seconds: float = 600, **claims: Any) -> str:
        """A token of that issuer that is found to be for the account."""
        token = self._sign(**{"iss": trusted.issuer, "sub": "x", **claims})
        self.vouched[token] = Vouched(issuer_id=trusted.id, account=account, expires=time.time() + seconds)
        return token

    def service_token(self, service: str, *, instance: str | None = None) -> str:
        """What a service of the platform sends."""
        return self._sign(
            sub=instance or str(uuid4()),
            client_id=instance or str(uuid4()),
            client_app=SERVICE_PREFIX + service,
            scope=SERVICE_SCOPE,
        )

    def user_token(
        self, name: str, scope: str = "openid algo:call algo:manage data:write", *, sid: str = "", client_id: str = ""
    ) -> str:
        """What an app sends that a person signed in to."""
        login = {"sid": sid or str(uuid4()), "client_id": client_id or str(uuid4()), "client_app": "console"}
        return self._sign(sub=str(self.accounts[name].id), preferred_username=name, scope=scope, **login)

    def end(self, ended_id: str) -> None:
        """A login or a client is revoked."""
        until = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS)
        self._publish(ENDED_PREFIX + ended_id, Ended(until=until).model_dump(mode="json"))

    def satellite_token(self, launch_id: UUID, scope: str = "satellite:report") -> str:
        """What the gateways of a launch send that log in with a mandate's key."""
        client_id = str(uuid4())
        return self._sign(sub=client_id, client_id=client_id, client_app=reporter(launch_id), scope=scope)

    # The protocol

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _well_known(self, request: Request) -> Response:
        self.visits.append(request.headers)
        return JSONResponse(
            {
                "issuer": self.url,
                "base_url": f"{self.url}/lok/f/",
                "token_endpoint": f"{self.url}/o/token/",
                "jwks_uri": f"{self.url}/o/jwks/",
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(KeySet([signing_key()]).as_dict(private=False))

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        if form.get("grant_type") != MANDATE_GRANT:
            return _refusal(400, "unsupported_grant_type", "only the mandate key grant is scripted here")
        if form.get("key") != self.join_token:
            return _refusal(400, "invalid_grant", "the mandate key is not known")
        manifest = Manifest.model_validate_json(str(form["manifest"]))
        self.logins.append(manifest)
        client_id = _as_uuid(manifest.device_id) or str(uuid4())
        service = manifest.identifier.removeprefix(SERVICE_PREFIX)
        answer = JoinAnswer.model_validate(
            {
                "access_token": self._sign(
                    sub=client_id, client_id=client_id, client_app=manifest.identifier, scope=SERVICE_SCOPE
                ),
                "expires_in": TOKEN_SECONDS,
                "client_id": client_id,
                "scope": SERVICE_SCOPE,
                "self": SelfDescription(deployment_name="double", alias=_alias("fakts", self.url)),
                "instances": self._resolve(manifest.requirements or ()),
                "configuration": self._configurations.get(service, ServiceConfiguration()),
            }
        )
        return JSONResponse(answer.model_dump(mode="json", by_alias=True))

    async def _offer(self, request: Request) -> Response:
        claims = self._claims(request)
        if claims is None or claims.get("client_id") != request.path_params["id"]:
            return _refusal(401, "invalid_token", "this token does not offer this instance")
        offer = InstanceOffer.model_validate_json(await request.body())
        self.leases[request.path_params["id"]] = offer
        lease = InstanceLease(lease_seconds=LEASE_SECONDS, instances=self._resolve(offer.requirements))
        return JSONResponse(lease.model_dump(mode="json"))

    async def _leave(self, request: Request) -> Response:
        self.leases.pop(request.path_params["id"], None)
        return Response(status_code=204)

    async def _verify(self, request: Request) -> Response:
        claims = self._claims(request)
        if claims is None or claims.get("scope") != SERVICE_SCOPE:
            return _problem(403, "this route is for services of the platform")
        asked = await request.json()
        account = self.accounts.get(asked["username"])
        right = account is not None and self._passwords.get(account.name) == asked["password"]
        if account is None or not right or not account.active:
            return _problem(401, "wrong user name or password")
        return JSONResponse(account.model_dump(mode="json"))

    async def _sign_bundle(self, request: Request) -> Response:
        public = {name: signing_key().as_dict(private=False)[name] for name in ("kty", "n", "e")}
        header = {"alg": "RS256", "kid": "double", "typ": SIGNATURE_TYPE, "jwk": public}
        text = f"sha256:{(await request.json())['sha256']}"
        return JSONResponse({"signature": jws.serialize_compact(header, text, signing_key(), algorithms=["RS256"])})

    async def _exchange(self, request: Request) -> Response:
        claims = self._claims(request)
        if claims is None or claims.get("scope") != SERVICE_SCOPE:
            return _problem(403, "this route is for services of the platform")
        self.exchanged += 1
        vouched = self.vouched.get((await request.json())["token"])
        if vouched is None:
            return _problem(401, "the token is not good")
        return JSONResponse(vouched.model_dump(mode="json"))

    async def _feed(self, request: Request) -> Response:
        claims = self._claims(request)
        if claims is None or claims.get("scope") != SERVICE_SCOPE:
            return _problem(403, "this route is for services of the platform")
        asked = request.query_params
        since = int(asked.get("since", 0)) if asked.get("epoch") == self._epoch else 0
        if since >= self._version and float(asked.get("wait", 0)) > 0:
            changed = self._changed
            try:
                async with asyncio.timeout(min(float(asked["wait"]), 30.0)):
                    await changed.wait()
            except TimeoutError:
                pass
        newer = sorted((version, key, body) for key, (version, body) in self._entries.items() if version > since)
        page = FeedPage(
            epoch=self._epoch,
            version=self._version,
            changes=tuple(FeedChange(key=key, version=version, body=body) for version, key, body in newer),
        )
        return JSONResponse(page.model_dump(mode="json"))

    def _resolve(self, requirements: tuple[Requirement, ...]) -> dict[str, tuple[Instance, ...]]:
        return {requirement.key: self._instances(requirement.service) for requirement in requirements}

    def _instances(self, service: str) -> tuple[Instance, ...]:
        if service == f"{SERVICE_PREFIX}fakts":
            return (_instance("fakts", "double", self.url),)
        joined = tuple(
            Instance(service=service, identifier=instance_id, aliases=offer.aliases)
            for instance_id, offer in self.leases.items()
            if offer.service == service and offer.aliases
        )
        return (*joined, *self._offered.get(service, ()))

    def _publish(self, key: str, body: dict[str, Any] | None) -> None:
        self._version += 1
        self._entries[key] = (self._version, body)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _sign(self, **claims: Any) -> str:
        moment = int(time.time())
        common = {"iss": self.url, "aud": "constellation", "iat": moment, "exp": moment + TOKEN_SECONDS}
        return jwt.encode({"alg": "RS256", "kid": "double"}, {**common, "jti": str(uuid4()), **claims}, signing_key())

    def _claims(self, request: Request) -> dict[str, Any] | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return dict(jwt.decode(token, signing_key(), algorithms=["RS256"]).claims)


def _alias(name: str, url: str) -> Alias:
    parts = urlsplit(url)
    return Alias(id=name, host=parts.hostname or "", port=parts.port, ssl=parts.scheme == "https", path=parts.path)


def _instance(service: str, identifier: str, url: str) -> Instance:
    return Instance(service=SERVICE_PREFIX + service, identifier=identifier, aliases=(_alias(identifier, url),))


def _refusal(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)


def _problem(status: int, detail: str) -> Response:
    return JSONResponse({"title": "refused", "status": status, "detail": detail}, status)


def _as_uuid(text: str | None) -> str | None:
    try:
        return str(UUID(text or ""))
    except ValueError:
        return None
