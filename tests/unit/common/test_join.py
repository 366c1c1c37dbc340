"""Joining while something else answers in the place of Fakts for a while, as the page of a proxy does."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common import join
from libs.common.contracts.joining import Alias
from tests.support.eventually import eventually

URL = "http://fakts.example"
ANSWERS: dict[str, dict[str, Any]] = {
    "/.well-known/fakts": {
        "base_url": f"{URL}/lok/f/",
        "token_endpoint": f"{URL}/o/token/",
        "jwks_uri": f"{URL}/o/jwks/",
    },
    "/o/token/": {
        "access_token": "token",
        "token_type": "Bearer",
        "expires_in": 300,
        "client_id": str(uuid4()),
        "scope": "service",
        "refresh_token": None,
        "instances": {},
        "statuses": {},
        "self": {"deployment_name": "lab", "alias": {"id": "a", "host": "lab.example", "port": 1}},
        "configuration": {"call_token_secret": "0" * 64},
    },
    "/lok/f/instances/": {"lease_seconds": 0.03, "instances": {}},
}
PAGE = "<html>We are under maintenance</html>"


class Fakts:
    """Answers as Fakts does, but where `odd` has something for a path, once with that."""

    def __init__(self) -> None:
        self.odd: dict[str, tuple[int, str]] = {}
        self.asked: Counter[str] = Counter()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = next(path for path in ANSWERS if request.url.path.startswith(path))
        self.asked[path] += 1
        status, text = self.odd.pop(path, (200, json.dumps(ANSWERS[path])))
        return httpx.Response(status, text=text)


@pytest.mark.parametrize("answer", [(200, PAGE), (200, "{}"), (404, PAGE)])
async def test_a_lease_is_renewed_after_an_answer_that_is_none(answer: tuple[int, str]) -> None:
    fakts = Fakts()
    async with (
        fakts.client as http,
        join.membership(http, fakts_url=URL, token="t", identifier="constellation.registry", version="1") as member,
    ):
        await member.offer(Alias(id="a", host="registry.example", port=1))
        fakts.odd["/lok/f/instances/"] = answer
        await eventually(lambda: not fakts.odd)
        asked = fakts.asked["/lok/f/instances/"]
        await eventually(lambda: fakts.asked["/lok/f/instances/"] > asked)


@pytest.mark.parametrize("path", ["/.well-known/fakts", "/o/token/"])
@pytest.mark.parametrize("answer", [(200, PAGE), (200, "[]"), (200, "{}"), (404, PAGE), (404, "[]")])
async def test_who_joins_waits_while_it_is_not_fakts_that_answers(path: str, answer: tuple[int, str]) -> None:
    fakts = Fakts()
    fakts.odd[path] = answer
    async with (
        fakts.client as http,
        join.membership(http, fakts_url=URL, token="t", identifier="constellation.registry", version="1") as member,
    ):
        assert member.instance_id == ANSWERS["/o/token/"]["client_id"]
    assert fakts.asked[path] == 2


async def test_who_is_refused_in_words_does_not_wait() -> None:
    fakts = Fakts()
    fakts.odd["/o/token/"] = (400, '{"error": "invalid_grant", "error_description": "no such key"}')
    async with fakts.client as http:
        with pytest.raises(join.JoinRefused, match="invalid_grant: no such key"):
            async with join.membership(
                http, fakts_url=URL, token="t", identifier="constellation.registry", version="1"
            ):
                pass
