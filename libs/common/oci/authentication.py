"""Showing a registry who asks: Basic, or Bearer with a token of the service that the registry names
(distribution.github.io/distribution/spec/auth/token)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from libs.common.oci import challenges
from libs.common.oci.credentials import Credentials
from libs.common.oci.problems import RegistryProblem, RegistryUnreachable, Unauthorized, refusal

_CLIENT = "constellation"

Scope = tuple[str, ...]
"""What a token is to allow, such as `repository:NAME:pull,push`."""


def scope(repository: str, *, push: bool = False, mount_from: str | None = None) -> Scope:
    own = f"repository:{repository}:pull{',push' if push else ''}"
    return (own, f"repository:{mount_from}:pull") if mount_from else (own,)


class Authentication:
    """Of one client at one registry. Keeps tokens by scope until the registry takes them no more."""

    def __init__(
        self, http: httpx.AsyncClient, registry: str, credentials: Credentials | None, *, plain: bool
    ) -> None:
        self._http = http
        self._registry = registry
        self._credentials = credentials
        self._plain = plain
        self._basic: str | None = None
        self._tokens: dict[Scope, str] = {}

    def header(self, wanted: Scope) -> str | None:
        """Value of the Authorization header, as far as the registry has asked for one."""
        return self._tokens.get(wanted) or self._basic

    async def meet(self, headers: Sequence[str], wanted: Scope) -> None:
        """Do what a 401 asked for. Raises Unauthorized when that cannot be done, and RegistryUnreachable."""
        offered = {one.scheme: one for header in headers for one in challenges.parse(header)}
        if "bearer" in offered:
            self._tokens.pop(wanted, None)
            self._tokens[wanted] = f"Bearer {await self._token(offered['bearer'], wanted)}"
        elif "basic" in offered and self._credentials is not None and self._credentials.password:
            self._basic = self._credentials.basic
        elif "basic" in offered:
            raise Unauthorized(f"the registry {self._registry} asks for a user and password; none are given", 401)
        else:
            known = ", ".join(offered) or "nothing"
            raise Unauthorized(f"the registry {self._registry} asks for {known}; Bearer or Basic is known here", 401)

    async def _token(self, challenge: challenges.Challenge, wanted: Scope) -> str:
        realm = challenge.parameters.get("realm", "")
        place = urlsplit(realm)
        what = f"the registry {self._registry} names the token service '{realm}'"
        if place.scheme not in ("http", "https") or not place.hostname:
            raise Unauthorized(f"{what}, which is no address", 401)
        if place.scheme == "http" and not self._plain:
            raise Unauthorized(f"{what}, which would be told passwords without TLS", 401)
        fields = {"service": challenge.parameters.get("service", ""), "scope": " ".join(wanted)}
        credentials = self._credentials
        try:
            if credentials is not None and credentials.identity_token:
                form = fields | {"grant_type": "refresh_token", "client_id": _CLIENT}
                form["refresh_token"] = credentials.identity_token
                answer = await self._http.post(realm, data=form)
            else:
                headers = {} if credentials is None else {"Authorization": credentials.basic}
                query = {"service": fields["service"], "scope": list(wanted)}
                answer = await self._http.get(realm, params=query, headers=headers)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise RegistryUnreachable(f"{what}, which cannot be reached: {reason}") from error
        if answer.status_code != 200:
            raise refusal(answer, answer.content, f"{what}, which gives no token for {' '.join(wanted)}")
        try:
            members = answer.json()
            token = members.get("token") or members["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise RegistryProblem(f"{what}, which answers without a token") from error
        return str(token)
