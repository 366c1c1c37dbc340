"""A deployer that says of launches what a test lets it say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from libs.common.contracts.launches import LaunchState, LaunchStatus
from libs.common.db import now
from tests.support.serving import serving


class DeployerDouble:
    """Answers how launches are doing.

    Attributes:
        answers: set while it answers at all; questions wait for that.
        asked: ids of each question that has come.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[list[str]] = []
        self._statuses: dict[str, LaunchStatus] = {}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        app = Starlette(routes=[Route("/internal/launches", self._launches, methods=["POST"])])
        async with serving(app, grace=1) as url:
            self.url = url
            try:
                yield self
            finally:
                self.answers.set()

    def say(self, order: Any, state: LaunchState, serving_version: int | None = None, *, ready: int = 0) -> None:
        """What it makes of an order, which is given as the registry answered it."""
        self._statuses[order["launch_id"]] = LaunchStatus(
            launch_id=UUID(order["launch_id"]),
            deployment_id=UUID(order["id"]),
            number=order["number"],
            state=state,
            satellite_version=order["satellite_version"],
            serving_version=serving_version,
            ready=ready,
            changed_at=now(),
        )

    async def _launches(self, request: Request) -> Response:
        ids = (await request.json())["ids"]
        self.asked.append(ids)
        await self.answers.wait()
        found = [self._statuses[one].model_dump(mode="json") for one in ids if one in self._statuses]
        return JSONResponse({"launches": found})
