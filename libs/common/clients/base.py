"""What all typed clients share: which instance to ask, with which token, and what an answer means.

Asking is for control traffic, never for the way of a call. Every question has a deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import structlog

from libs.common import problems, telemetry
from libs.common.join import Membership

_BY_STATUS: dict[int, type[problems.Problem]] = {
    kind.status: kind
    for kind in (
        problems.Invalid,
        problems.Unauthenticated,
        problems.Forbidden,
        problems.NotFound,
        problems.Conflict,
        problems.TooLarge,
        problems.Unprocessable,
    )
}


class ServiceClient:
    """Asks one service of the platform, at any of its live instances.

    A question that never reached an instance goes to the next one. One that may have been received is not
    repeated here: the caller knows whether it is safe to.

    Raises, from every call: `problems.Unavailable` when no instance answers, the matching `problems.Problem` for
    an error answer.
    """

    service = ""

    def __init__(self, http: httpx.AsyncClient, member: Membership) -> None:
        self._http = http
        self._member = member

    async def _ask(self, method: str, path: str, *, timeout: float = 10.0, **options: Any) -> httpx.Response:
        headers = {**await self._headers(), **options.pop("headers", {})}
        unreached = f"no instance of {self.service} is known"
        for base in self._urls():
            try:
                answer = await self._http.request(
                    method, f"{base}{path}", headers=headers, timeout=timeout, **options
                )
            except (httpx.ConnectError, httpx.ConnectTimeout):
                unreached = f"{self.service} cannot be reached"
                continue
            except httpx.HTTPError as error:
                raise problems.Unavailable(f"{self.service} did not answer ({type(error).__name__})") from error
            _raise_for(answer, self.service)
            return answer
        raise problems.Unavailable(unreached)

    @asynccontextmanager
    async def _stream(self, path: str, *, timeout: float = 60.0) -> AsyncIterator[httpx.Response]:
        headers = await self._headers()
        for base in self._urls():
            request = self._http.build_request("GET", f"{base}{path}", headers=headers, timeout=timeout)
            try:
                answer = await self._http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            try:
                if answer.status_code >= 400:
                    await answer.aread()
                _raise_for(answer, self.service)
                yield answer
            finally:
                await answer.aclose()
            return
        raise problems.Unavailable(f"{self.service} cannot be reached")

    def _urls(self) -> Sequence[str]:
        """Where to ask, in this order."""
        return self._member.urls(self.service)

    async def _headers(self) -> Mapping[str, str]:
        headers = telemetry.inject()
        headers["authorization"] = f"Bearer {await self._member.token()}"
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            headers["x-request-id"] = str(request_id)
        return headers


def _raise_for(answer: httpx.Response, service: str) -> None:
    if answer.status_code < 400:
        return
    try:
        detail = str(answer.json().get("detail", ""))
    except ValueError:
        detail = ""
    detail = detail or f"{service} answered {answer.status_code}"
    if kind := _BY_STATUS.get(answer.status_code):
        raise kind(detail)
    raise problems.Unavailable(detail)
