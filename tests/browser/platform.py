"""The platform that browsers look at, with people, an organization, services, and apps that ask to be let in."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.support.deployment import Up

PASSWORD = "correct horse battery"
OFFERED, NOT_OFFERED = "org.example.storage", "org.example.absent"
_DEADLINE = 60.0


class Platform(Up):
    """`constellation up`: pages are asked for at its gateway."""

    def prepare(self) -> None:
        self.ask("POST", "/v1/users", json={"username": "jane", "email": "jane@example.org"})
        self.ask("PATCH", "/admin/v1/users/jane", json={"password": PASSWORD})
        about = {"org_name": "lab", "org_label": "Imaging Lab", "org_contact_name": "C", "org_email": "o@example.org"}
        self.ask("POST", "/v1/organizations", json=about)
        self.ask("PUT", "/v1/organizations/lab/members/jane")
        aliases = [{"id": "a", "host": "127.0.0.1"}]
        self.ask("POST", "/admin/v1/services", json={"service": OFFERED, "instance": "s", "aliases": aliases})

    def ask(self, method: str, path: str, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {self.admin['admin_api_key']}"}
        answer = httpx.request(method, f"{self.url}{path}", headers=headers, timeout=_DEADLINE, **options)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def app(self, seconds: int = 600) -> App:
        """An app that starts, with one optional requirement that is met and one that is not."""
        needs = [
            {"key": "files", "service": OFFERED},
            {"key": "images", "service": OFFERED, "optional": True, "description": "Where it keeps images"},
            {"key": "other", "service": NOT_OFFERED, "optional": True},
        ]
        manifest = {
            "identifier": "org.example.microscope",
            "version": "1.2.0",
            "author": "Some One",
            "description": "Drives the microscope in room 2.14.",
            "scopes": ["openid", "algo:call", "org.example:write"],
            "requirements": needs,
            "device_id": "scope-214",
        }
        body = {"manifest": manifest, "expiration_time_seconds": seconds}
        return App(self, self.ask("POST", "/o/app-authorization/", json=body))


class App:
    def __init__(self, platform: Platform, started: dict[str, Any]) -> None:
        self._platform = platform
        self.code: str = started["user_code"]
        self.link: str = started["verification_uri_complete"]
        self._form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": started["device_code"],
            "client_id": started["client_id"],
        }
        self.client_id: str = started["client_id"]

    def poll(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.post(
            f"{self._platform.url}/o/token/", data=self._form, timeout=_DEADLINE
        ).json()
        return answer

    def until(self, error: str) -> None:
        """Poll until the answer is this error."""
        end = time.monotonic() + _DEADLINE
        while (said := self.poll()).get("error") != error:
            assert time.monotonic() < end, said
            time.sleep(0.3)
