"""A real OpenID Connect provider, as a process: npm's `oidc-provider`, installed here if it is missing."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_ports

CLIENT_ID, CLIENT_SECRET = "constellation", "a-secret-of-this-test"
_HERE = Path(__file__).parent
_START_SECONDS = 60.0
_INSTALL_SECONDS = 240.0


@dataclass(frozen=True)
class OpenIdProvider:
    url: str

    @property
    def discovery(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"

    def person(self, **claims: Any) -> None:
        """Whoever signs in from now on is this person; with `declines` they do not let the client know."""
        httpx.post(f"{self.url}/person", json=claims).raise_for_status()

    def sign_in(self, url: str) -> str:
        """What a browser without a session does with the authorization URL; returns where it is sent back to."""
        with httpx.Client() as browser:
            while url.startswith(self.url):
                answer = browser.get(url)
                assert answer.is_redirect, (answer.status_code, answer.text)
                url = str(answer.next_request.url) if answer.next_request else ""
        return url


def install(package: str) -> None:
    """Install the packages of this folder, unless this one is there."""
    if not (_HERE / "node_modules" / package).is_dir():
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=_HERE, check=True, capture_output=True, timeout=_INSTALL_SECONDS)


@contextmanager
def openid_provider(redirect_uri: str) -> Iterator[OpenIdProvider]:
    """The provider, with one client that people may be sent back to at `redirect_uri`."""
    install("oidc-provider")
    port = free_ports(1)[0]
    client: Mapping[str, Any] = {
        "port": port,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [redirect_uri],
    }
    process = subprocess.Popen(
        ["node", str(_HERE / "provider.mjs"), json.dumps(client)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], _START_SECONDS)[0], "the provider did not start"
        assert process.stdout.readline() == b"listening\n"
        yield OpenIdProvider(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
