"""The fuzzing itself: it finds what fails, what says something else than it should, and nothing in what is right."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from libs.common import web
from libs.common.auth import public
from libs.common.problems import Problem
from tests.support.fuzzing import Fuzz
from tests.support.serving import serving


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


routes = web.router(public)


@routes.get("/right/{name}")
async def right(name: str, number: int = 0) -> dict[str, Any]:
    return {"name": name, "number": number}


class Body(BaseModel):
    label: str


async def fails_for_odd_text(body: Body) -> Body:
    if not body.label.isprintable():
        raise LookupError
    return body


async def fails_for_what_is_known(name: str) -> str:
    if name == "secret":
        raise LookupError
    return name


async def says_what_it_did_not_declare() -> Response:
    return PlainTextResponse("done")


async def explains_nothing() -> Response:
    return Response('{"no": "error"}', 400, media_type="application/json")


async def _fuzz(*wrong: Any) -> None:
    faulty = web.router(public)
    for endpoint in wrong:
        path = "/faulty/{name}" if endpoint is fails_for_what_is_known else f"/{endpoint.__name__}"
        faulty.add_api_route(path, endpoint, methods=["POST" if endpoint is fails_for_odd_text else "GET"])
    app = web.create_app("sample", lifespan=_lifespan, routers=(routes, faulty))
    async with serving(app) as url:
        await Fuzz(app, url, {"nobody": {}}, {"name": ["secret"]}).run()


async def test_what_is_right_passes() -> None:
    await _fuzz()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (fails_for_odd_text, " of POST /fails_for_odd_text as nobody: 500"),
        (fails_for_what_is_known, " of GET /faulty/{name} as nobody: 500"),
        (says_what_it_did_not_declare, "not as declared"),
        (explains_nothing, "no error of a known shape"),
    ],
)
async def test_what_is_wrong_is_found(wrong: Any, words: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=re.escape(words)):
        await _fuzz(wrong)


def test_problems_are_documented() -> None:
    document = web.create_app("sample", lifespan=_lifespan, routers=(routes,)).openapi()
    errors = document["paths"]["/right/{name}"]["get"]["responses"]
    assert set(errors) == {"200", "default"}
    schema = errors["default"]["content"]["application/problem+json"]["schema"]
    body = bytes(web.render("/", Problem("words"), "req-1").body)
    assert set(json.loads(body)) == set(schema["properties"]) == set(schema["required"])
