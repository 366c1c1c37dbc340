"""A token service for a registry: gives tokens as the registry's configuration says (distribution, "Token
Authentication"), signed by a certificate that the registry trusts."""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

_ISSUER, _SERVICE = "tests", "registry"


class TokenService:
    """`users` are passwords by name; each password is a refresh token as well. Ends with the `with` block."""

    def __init__(self, folder: Path, *, users: Mapping[str, str]) -> None:
        self.users = users
        self.scopes: list[tuple[str, ...]] = []
        """Of the tokens given, in their order."""
        private = rsa.generate_private_key(65537, 2048)
        self._key = RSAKey.import_key(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        today = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .sign(private, hashes.SHA256())
        )
        bundle = folder / "token-service.pem"
        bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                shown = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).decode()
                user, _, password = shown.partition(":")
                self._give(query, known=bool(user) and service.users.get(user) == password)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                form["scope"] = form["scope"][0].split()
                refreshing = form["grant_type"] == ["refresh_token"] and "client_id" in form
                self._give(form, known=refreshing and form["refresh_token"][0] in service.users.values())

            def _give(self, query: dict[str, list[str]], *, known: bool) -> None:
                right = known and query["service"] == [_SERVICE]
                members = {"token": service.token(query["scope"])} if right else {"details": "who are you?"}
                body = json.dumps(members).encode()
                self.send_response(200 if right else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self.auth: Mapping[str, Any] = {
            "token": {"realm": realm, "service": _SERVICE, "issuer": _ISSUER, "rootcertbundle": str(bundle)}
        }

    def token(self, scopes: list[str]) -> str:
        self.scopes.append(tuple(scopes))
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": _ISSUER, "sub": "tester", "aud": _SERVICE, "iat": now, "nbf": now - 60, "exp": now + 600}
        chain = [base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()]
        header = {"alg": "RS256", "typ": "JWT", "x5c": chain}
        return jwt.encode(header, {**claims, "jti": secrets.token_hex(8), "access": access}, self._key)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(60)
        self._server.server_close()
