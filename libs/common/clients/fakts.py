"""Asking fakts."""

from __future__ import annotations

from libs.common.clients.base import ServiceClient
from libs.common.contracts.identity import Account
from libs.common.problems import Unauthenticated


class FaktsClient(ServiceClient):
    service = "fakts"

    async def verify_password(self, username: str, password: str) -> Account | None:
        """The account when the password is right, else None."""
        try:
            answer = await self._ask(
                "POST", "/internal/passwords/verify", json={"username": username, "password": password}
            )
        except Unauthenticated:
            return None
        return Account.model_validate_json(answer.content)
