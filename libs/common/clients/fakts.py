"""Asking fakts."""

from __future__ import annotations

from uuid import UUID

from libs.common.clients.base import ServiceClient
from libs.common.contracts.identity import Account, Vouched
from libs.common.problems import Unauthenticated


class FaktsClient(ServiceClient):
    service = "fakts"

    async def verify_password(self, username: str, password: str, *, address: str | None = None) -> Account | None:
        """The account when the password is right, else None.

        Args:
            address: where the person's request came from; failed attempts are counted per name and
                address, and per address; None where nobody knows.

        Raises:
            problems.Unavailable: also after too many failed attempts.
        """
        body = {"username": username, "password": password, "address": address}
        try:
            answer = await self._ask("POST", "/internal/passwords/verify", json=body)
        except Unauthenticated:
            return None
        return Account.model_validate_json(answer.content)

    async def exchange_token(self, token: str) -> Vouched:
        """For whom a trusted issuer's token is; a user that is not known yet is made.

        Raises:
            problems.Unauthenticated: it is not good, with the reason.
            problems.Unavailable
        """
        answer = await self._ask("POST", "/internal/tokens/exchange", json={"token": token})
        return Vouched.model_validate_json(answer.content)

    async def sign_bundle(self, sha256: str) -> str:
        """A compact JWS over the digest of a bundle's index (`contracts/bundles.py`). For the registry only."""
        answer = await self._ask("POST", "/internal/signatures", json={"sha256": sha256})
        return str(answer.json()["signature"])

    async def report_key(self, launch_id: UUID) -> str:
        """The mandate key with which the gateways of a launch report: the same each time.

        Raises:
            problems.Conflict: an administrator revoked it.
            problems.Unavailable
        """
        answer = await self._ask("POST", "/internal/report-keys", json={"launch_id": str(launch_id)})
        return str(answer.json()["key"])
