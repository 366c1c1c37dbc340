"""Fuzzing an application from its OpenAPI document: no request whatsoever makes it fail.

Schemathesis makes requests from the document, legal ones and such as break its schemas. Most of them are then spoilt
further (`hostile.py`) and sent to the application's socket. Nothing is left to chance: the same document makes the
same requests in the same order. To go deeper, and elsewhere with each of pytest-randomly's seeds:

    FUZZ_EXAMPLES=500 make test ARGS="--timeout 0 tests/service/fakts/test_fuzz.py"
"""

from __future__ import annotations

import json
import os
import socket
import traceback
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from random import random as chance
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlencode

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.openapi import from_dict
from schemathesis.schemas import APIOperation
from structlog.testing import capture_logs
from structlog.types import EventDict

from tests.support import hostile

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
_USUAL_EXAMPLES = 20
_PATIENCE = 60.0
_SHOWN = 2
_MAX_QUERY = 60_000
"""Longer ones are refused by the client."""
_EVERYBODY = 4
_METHODS = ("HEAD", "OPTIONS", "TRACE", "PROPFIND", "DELETE", "PATCH")
Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]
_ANY = "*/*"
_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


@dataclass(frozen=True)
class Sent:
    """A request but for who sends it."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: Sequence[tuple[str, bytes]]
    body: bytes

    @property
    def segments(self) -> list[str]:
        return [unquote(part) for part in self.target.partition("?")[0].split("/")]

    def __str__(self) -> str:
        words = [f"{self.method} {self.target[:300]}"]
        words += [f"{name}: {value.decode('latin-1')[:100]!r}" for name, value in self.headers]
        return " | ".join([*words, *([repr(self.body[:300])] if self.body else [])])


@dataclass
class Fuzz:
    """One application under fire.

    Args:
        callers: headers of each who asks, by a name for messages.
        known: values that the application knows, by the name of the parameter or member that means them: what is
            never right is refused early, and only half of the code sees it.
        skips: requests that must not be sent, as they would end what the fuzzing itself stands on.
        last: operations that are sent after all others, for what they end.
    """

    app: FastAPI
    url: str
    callers: Mapping[str, Mapping[str, str]]
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skips: Callable[[Sent], bool] = lambda _: False
    last: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Fails with the requests that were answered as none may be."""
        wrong: dict[str, list[str]] = {}
        for end_waiting in self.app.state.on_drain:  # a long poll would wait for what nobody does
            end_waiting()
        with _no_way_out(), capture_logs() as logged:
            async with httpx.AsyncClient(base_url=self.url, timeout=_PATIENCE, trust_env=False) as http:
                for operation in self._operations():
                    found = [one async for one in self._wrong_answers(http, operation, logged)]
                    if found:
                        wrong[f"{len(found)} of {operation.label}"] = found
        if wrong:
            shown = [f"{label} {one}" for label, found in wrong.items() for one in found[:_SHOWN]]
            pytest.fail("\n".join(["answered as no request may be:", *shown]), pytrace=False)

    async def _wrong_answers(
        self, http: httpx.AsyncClient, operation: Operation, logged: list[EventDict]
    ) -> AsyncIterator[str]:
        """What is wrong, with the request. Everybody asks a few times, then in turn whom the gate lets in."""
        inside: dict[str, None] = {}
        for number, request in enumerate(self._requests(operation)):
            if self.skips(request):
                continue
            all_ask = number < _EVERYBODY or not inside
            for who in list(self.callers) if all_ask else [list(inside)[number % len(inside)]]:
                logged.clear()
                answer = await self._send(http, request, self.callers[who])
                if (wrong := self._wrong(operation, request, answer)) is not None:
                    yield f"as {who}: {wrong}\n    {request}\n{_faults(logged)}"
                if answer.status_code not in (401, 403):
                    inside[who] = None

    def _operations(self) -> list[Operation]:
        found = []
        for one in from_dict(self.app.openapi()).get_all_operations():
            assert isinstance(one, Ok), f"the document is malformed: {one}"
            found.append(one.ok())
        return sorted(found, key=lambda one: (one.label in self.last, one.method.upper() == "DELETE"))

    def _requests(self, operation: Operation) -> list[Sent]:
        cases = _cases(operation)
        random = Random(chance() if EXAMPLES else operation.label)
        count = EXAMPLES or _USUAL_EXAMPLES
        return [self._request(cases[n % len(cases)], random) for n in range(max(count, len(cases)))]

    def _request(self, case: AnyCase, random: Random) -> Sent:
        method, path = case.method.upper(), self._path(case, random)
        query = [(name, one) for name, value in (case.query or {}).items() for one in _each(value)]
        query = [(name, self._known(name, value, random)) for name, value in query]
        headers = [(name, _header(value)) for name, value in dict(case.headers or {}).items()]
        body, media = self._body(case, random)
        kind = random.random()
        if kind < 0.15 and (names := [one.name for one in case.operation.query]):
            query.append((random.choice(names), hostile.text(random)))
        elif kind < 0.25:  # some routes read their query themselves
            query.append((random.choice((*hostile.QUERY_NAMES, *self.known)), hostile.text(random)))
        elif kind < 0.4:
            body, media = random.choice(hostile.RAW)
        elif kind < 0.55:
            headers.append(random.choice(hostile.HEADERS))
        elif kind < 0.58:
            method = random.choice(_METHODS)
        if media is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", _header(media)))
        target = f"{path}?{_query(query)[:_MAX_QUERY]}" if query else path
        return Sent(method, target, headers, body)

    def _path(self, case: AnyCase, random: Random) -> str:
        path = str(case.operation.path)
        for parameter in case.operation.path_parameters:
            name = parameter.name
            value = str(case.path_parameters.get(name, "x"))
            kind = random.random()
            if kind < 0.55 and name in self.known:
                value = hostile.encoded(random.choice(self.known[name]), safe="/")
            elif kind < 0.8:
                value = hostile.segment(random, path=False)
            path = path.replace("{" + name + "}", value)
        return path

    def _known(self, name: str, value: Any, random: Random) -> Any:
        return random.choice(self.known[name]) if name in self.known and random.random() < 0.4 else value

    def _body(self, case: AnyCase, random: Random) -> hostile.Body:
        body, media = case.body, case.media_type
        if isinstance(body, NotSet):
            return b"", None
        if isinstance(body, bytes):
            return body, media
        if random.random() < 0.7:
            body = hostile.spoilt(random, body, self.known)
        if media == _FORM and isinstance(body, dict):
            return _query([(name, one) for name, value in body.items() for one in _each(value)]).encode(), media
        if media == _MULTIPART and isinstance(body, dict):
            parts = "".join(
                f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in body.items()
            )
            return f"{parts}--b--\r\n".encode("utf-8", "surrogatepass"), f"{_MULTIPART}; boundary=b"
        ascii_only = random.random() < 0.8
        return json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"), media

    async def _send(self, http: httpx.AsyncClient, sent: Sent, caller: Mapping[str, str]) -> httpx.Response:
        named = {name.lower() for name, _ in sent.headers}
        own = [(name, value.encode()) for name, value in caller.items() if name not in named]
        headers = [(name.encode(), value) for name, value in (*sent.headers, *own)]
        request = http.build_request(sent.method, "/", headers=headers, content=sent.body)
        request.url = httpx.URL(self.url).copy_with(raw_path=sent.target.encode("ascii"))
        return await http.send(request)

    def _wrong(self, operation: Operation, sent: Sent, answer: httpx.Response) -> str | None:
        """What is wrong with the answer, if anything is."""
        status, media = answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
        said = f"{status} {media} {answer.text[:300]}"
        if status >= 500 and str(status) not in operation.definition.raw["responses"]:
            return said
        if status in (204, 304) or 300 <= status < 400 or sent.method in ("HEAD", "OPTIONS"):
            return None
        declared = _declared(operation, status)
        if _ANY in declared:
            return None
        if sent.method == operation.method.upper() and answer.content and media not in declared:
            return f"not as declared ({', '.join(sorted(declared))}): {said}"
        own = operation.definition.raw["responses"].get(str(status), {})
        if status >= 400 and "content" not in own and not _explains(answer, media):
            return f"no error of a known shape: {said}"
        return None


def _cases(operation: Operation) -> list[AnyCase]:
    """What Schemathesis makes of the document."""
    found: list[AnyCase] = []
    legal, broken = (
        operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )

    @settings(
        max_examples=EXAMPLES or _USUAL_EXAMPLES,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(legal, broken))
    def collect(case: AnyCase) -> None:
        found.append(case)

    collect()
    return found


def _faults(logged: Sequence[EventDict]) -> str:
    """Where the errors that were logged come from."""
    errors = [event["exc_info"] for event in logged if isinstance(event.get("exc_info"), BaseException)]
    return "".join(line for error in errors for line in traceback.format_exception(error, limit=-3))


def _each(value: Any) -> Iterator[Any]:
    """What a query or a form says under one name, which may be several things."""
    for one in value if isinstance(value, list) else [value]:
        yield one if isinstance(one, str) else json.dumps(one)


def _header(value: str) -> bytes:
    """A value that HTTP can carry (RFC 9110, section 5.5)."""
    return bytes(byte for byte in value.encode("latin-1", "replace") if byte >= 0x20 and byte != 0x7F).strip()


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    return urlencode(pairs, encoding="utf-8", errors="surrogatepass")


def _declared(operation: Operation, status: int) -> set[str]:
    """Content types that the document has for the status."""
    responses = operation.definition.raw["responses"]
    found = (responses.get(key, {}).get("content") for key in (str(status), "default"))
    return set(next(filter(None, found), ()))


def _explains(answer: httpx.Response, media: str) -> bool:
    """Is it an error in one of the platform's shapes: a problem (RFC 9457), the envelope of the Algorithmia API, an
    error of OAuth (RFC 6749, section 5.2), a page, or a line for git's user?"""
    if media in ("text/html", "text/plain"):
        return bool(answer.text) and (media == "text/plain" or "</html>" in answer.text)
    try:
        said = answer.json()
    except ValueError:
        return False
    if media == "application/problem+json":
        return bool(said.keys() >= {"type", "title", "status", "detail", "code", "request_id"})
    error = said.get("error")
    return isinstance(error, str) or (isinstance(error, dict) and error.keys() >= {"id", "code", "message"})


@contextmanager
def _no_way_out() -> Iterator[None]:
    """No name is resolved and no connection made beyond this machine, whatever an application is asked to fetch."""
    resolve, connect = socket.getaddrinfo, BaseSelectorEventLoop.sock_connect

    def names(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in (None, "localhost", "127.0.0.1", "::1"):
            raise socket.gaierror(socket.EAI_NONAME, "no way out of the test")
        return resolve(host, *arguments, **options)

    async def addresses(loop: Any, sock: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not (address[0].startswith("127.") or address[0] == "::1"):
            raise ConnectionRefusedError("no way out of the test")
        await connect(loop, sock, address)

    with patch.object(socket, "getaddrinfo", names), patch.object(BaseSelectorEventLoop, "sock_connect", addresses):
        yield
