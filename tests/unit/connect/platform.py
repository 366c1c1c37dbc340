"""A platform for apps, in memory: discovery, approvals, tokens that rotate, services that come and go, algorithms."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any
from urllib.parse import parse_qs

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

URL = "https://lab.example"
MANIFEST: dict[str, Any] = {"identifier": "org.example.app", "version": "1.0", "scopes": ["openid", "algo:call"]}
STATS = {"key": "stats", "service": "org.example.stats"}


class Platform:
    """Answers requests; `transport` carries them here. What tests set up are its attributes."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.forms: list[dict[str, str]] = []
        self.started: list[dict[str, Any]] = []
        self.revoked: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.polls: list[tuple[int, dict[str, str]] | Exception] = []
        """What polls are answered with before the approval."""
        self.down = False
        self.seconds = 3600.0
        self.document: dict[str, Any] = {
            "name": "lab",
            "version": "1.0",
            "protocol_version": "2",
            "base_url": f"{URL}/lok/f/",
            "token_endpoint": f"{URL}/o/token/",
            "device_authorization_endpoint": f"{URL}/o/device/",
            "revocation_endpoint": f"{URL}/o/revoke/",
        }
        self.instances: dict[str, Any] = {}
        self.statuses: dict[str, str] = {}
        self.alive: set[str] = set()
        """Origins of services that answer."""
        self.service_key: Ed25519PrivateKey | None = None
        """What services sign challenges with."""
        self.refused: set[str] = set()
        """Access tokens that are not taken any more."""
        self.calls: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.good_keys = {"mandate", "redeem"}
        self._refresh: str | None = None
        self._numbers = count(1)
        self.transport = httpx.MockTransport(self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if f"{request.url.scheme}://{request.url.netloc.decode()}" != URL:
            return self._service(request)
        if self.down:
            raise httpx.ConnectError("nobody listens", request=request)
        self.requests.append(request)
        routes = {
            "/.well-known/fakts": lambda _: httpx.Response(200, json=self.document),
            "/o/device/": self._start,
            "/o/token/": self._token,
            "/o/revoke/": self._revoke,
            "/lok/f/report/": self._report,
        }
        return routes.get(request.url.path, self._call)(request)

    def offer(self, *origins: str, service: Mapping[str, str] = STATS, **more: Any) -> None:
        """A service is granted at these origins, in this order."""
        aliases = []
        for number, origin in enumerate(origins):
            host, _, port = origin.partition("://")[2].partition(":")
            aliases.append({"id": str(number), "host": host, "port": int(port), "ssl": False, "challenge": "ht"})
        identity = {"service": service["service"], "identifier": "1", "challenge_key": None}
        self.instances[service["key"]] = identity | {"aliases": aliases} | more
        self.statuses[service["key"]] = "granted"

    def end(self) -> None:
        """The login is revoked."""
        self._refresh = None

    def count(self, path: str) -> int:
        return sum(request.url.path == path for request in self.requests)

    def _start(self, request: httpx.Request) -> httpx.Response:
        self.started.append(json.loads(request.content))
        page = f"{URL}/configure/ABCD1234"
        body = {"device_code": "secret", "user_code": "ABCD1234", "client_id": "c1", "expires_in": 300, "interval": 1}
        return httpx.Response(200, json={"status": "granted", "verification_uri_complete": page, **body})

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = _form(request)
        self.forms.append(form)
        match form["grant_type"]:
            case "refresh_token":
                good = form["refresh_token"] == self._refresh
            case "urn:fakts:grant-type:mandate-key":
                good = form["key"] in self.good_keys
            case "urn:fakts:grant-type:redeem":
                good = form["redeem_token"] in self.good_keys
            case _:
                if self.polls:
                    reply = self.polls.pop(0)
                    if isinstance(reply, Exception):
                        raise reply
                    return httpx.Response(reply[0], json=reply[1])
                good = form["device_code"] == "secret"
        if not good:
            return httpx.Response(400, json={"error": "invalid_grant", "error_description": "It was revoked."})
        number = next(self._numbers)
        claims = base64.urlsafe_b64encode(json.dumps({"preferred_username": "ana", "n": number}).encode()).decode()
        answer = {
            "access_token": f"e30.{claims.rstrip('=')}.sig",
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "scope": "openid algo:call",
            "client_id": "c1",
            "self": {"deployment_name": "lab", "alias": {"id": "self", "host": "lab.example", "ssl": True}},
            "instances": self.instances,
            "statuses": self.statuses,
        }
        if form["grant_type"] != "urn:fakts:grant-type:mandate-key":
            answer["refresh_token"] = self._refresh = f"refresh-{number}"
        return httpx.Response(200, json=answer)

    def _revoke(self, request: httpx.Request) -> httpx.Response:
        self.revoked.append(_form(request)["token"])
        self.end()
        return httpx.Response(200, json={})

    def _report(self, request: httpx.Request) -> httpx.Response:
        self.reports.append(json.loads(request.content))
        return httpx.Response(200, json={"status": "reported"})

    def _call(self, request: httpx.Request) -> httpx.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or token in self.refused:
            error = {"message": "the token is not known", "error_type": "AuthorizationError"}
            return httpx.Response(401, json={"error": error})
        answer = self.calls.get(request.url.path)
        return answer(request) if answer else httpx.Response(404, json={"error": {"message": "there is none"}})

    def _service(self, request: httpx.Request) -> httpx.Response:
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        if origin not in self.alive:
            raise httpx.ConnectError("nobody listens", request=request)
        self.requests.append(request)
        nonce = request.url.params.get("nonce")
        if self.service_key is not None and nonce is not None:
            signature = self.service_key.sign(f"fakts-challenge-v1:{nonce}".encode())
            return httpx.Response(200, json={"signature": base64.b64encode(signature).decode()})
        return httpx.Response(200, json={"path": request.url.path, "token": request.headers.get("authorization")})


def _form(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode(), keep_blank_values=True).items()}
