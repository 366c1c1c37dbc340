"""Fetching pages of another service's feed, for a FeedFollower."""

from __future__ import annotations

import httpx

from libs.common.clients.base import ServiceClient
from libs.common.contracts.feeds import FeedPage
from libs.common.join import Membership


class FeedClient(ServiceClient):
    """Fetches one feed of one service."""

    def __init__(self, http: httpx.AsyncClient, member: Membership, service: str, feed: str) -> None:
        super().__init__(http, member)
        self.service = service
        self._feed = feed

    async def fetch(self, *, since: int, epoch: str, wait: float) -> FeedPage:
        answer = await self._ask(
            "GET",
            f"/internal/feeds/{self._feed}",
            params={"since": since, "epoch": epoch, "wait": wait},
            timeout=wait + 10.0,
        )
        return FeedPage.model_validate_json(answer.content)
