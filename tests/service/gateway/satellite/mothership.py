"""The platform that made a satellite, scripted: it lets in, takes reports, and has troubles that a test makes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from libs.common.contracts.satellites import ReportsTaken, SatelliteReport, SatelliteReports
from tests.support.serving import serving

MANDATE = "the mandate key of the reports"


class MothershipDouble:
    """Takes each report once. What it took, it may fail to say."""

    def __init__(self) -> None:
        self.url = ""
        self.key = MANDATE
        self.manifests: list[dict[str, Any]] = []
        self.taken: dict[tuple[str, int], SatelliteReport] = {}
        """By run and sequence."""
        self.requests: list[list[int]] = []
        """Sequences of each request, as they came."""
        self.trouble: Response | None = None
        """What requests are answered with instead."""
        self.unfit: bytes | None = None
        """Reports with this in them are refused for good."""
        self.lose_answers = False
        self._tokens = 0
        routes = [
            Route("/.well-known/fakts", self._well_known),
            Route("/o/token/", self._token, methods=["POST"]),
            Route("/admin/v1/launches/{id}/reports", self._reports, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        async with serving(self.app, grace=1) as url:
            self.url = url
            yield self

    @property
    def reports(self) -> list[SatelliteReport]:
        return [self.taken[place] for place in sorted(self.taken)]

    def calls(self, vanity: str) -> int:
        return sum(one.calls for report in self.reports for one in report.usage if one.vanity_url == vanity)

    def revoke_tokens(self) -> None:
        """Tokens that were given are good no more."""
        self._tokens += 1

    async def _well_known(self, _: Request) -> Response:
        return JSONResponse(
            {"protocol_version": "2", "base_url": f"{self.url}/lok/f/", "token_endpoint": f"{self.url}/o/token/"}
        )

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        if form["key"] != self.key:
            return JSONResponse({"error": "invalid_grant", "error_description": "This key was revoked."}, 400)
        self.manifests.append(json.loads(str(form["manifest"])))
        return JSONResponse({"access_token": f"token.{self._tokens}.x", "expires_in": 600, "client_id": "c"})

    async def _reports(self, request: Request) -> Response:
        if request.headers["authorization"] != f"Bearer token.{self._tokens}.x":
            return JSONResponse({"detail": "the token is not known here"}, 401)
        if self.trouble is not None:
            return self.trouble
        body = await request.body()
        if self.unfit is not None and self.unfit in body:
            return JSONResponse({"detail": "the body is unfit"}, 400)
        try:
            sent = SatelliteReports.model_validate_json(body).reports
        except ValidationError:
            return JSONResponse({"detail": "the body is not valid JSON"}, 400)
        assert str(sent[0].launch_id) == request.path_params["id"]
        assert {one.run for one in sent} == {sent[0].run}
        self.requests.append([one.sequence for one in sent])
        self.taken |= {(one.run, one.sequence): one for one in sent}
        if self.lose_answers:
            return JSONResponse({"detail": "the database cannot be reached"}, 503)
        return JSONResponse(ReportsTaken(run=sent[0].run, sequence=sent[-1].sequence).model_dump())
