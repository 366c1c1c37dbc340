"""A browser for tests of pages: it keeps cookies and sends the forms that it is shown."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import httpx

from tests.service.fakts.running import ORIGIN, RunningFakts

TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Browser:
    def __init__(self, fakts: RunningFakts, *, origin: str = ORIGIN, agent: str = "Mozilla/5.0 Firefox/140") -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(fakts.app), base_url=origin, headers={"user-agent": agent}
        )
        self.page = ""

    async def get(self, path: str) -> httpx.Response:
        return self._shown(await self.http.get(path))

    async def post(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """Send a form as the page that is shown would: with its token, unless another is given."""
        if "form_token" not in fields and (found := TOKEN.search(self.page)):
            fields["form_token"] = found[1]
        body = urlencode(fields, doseq=True)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self._shown(await self.http.post(path, content=body, headers=headers))

    async def sign_in(self, username: str, password: str, *, then: str = "/apps") -> httpx.Response:
        await self.get(f"/signin?{urlencode({'next': then})}")
        return await self.post("/signin", username=username, password=password, next=then)

    def _shown(self, answer: httpx.Response) -> httpx.Response:
        self.page = unescape(answer.text)
        return answer
