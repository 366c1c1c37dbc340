"""Writes that are asked twice are done once: the `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

Routes of :func:`router` take it. The key, what was asked with it and the answer are a row of the transaction that did
the work, so either all of it is there or none. Of key and question the row has digests only, and a service whose
answers hold what is shown once seals them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Protocol, cast

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.encoders import jsonable_encoder
from sqlalchemy import CursorResult, String, delete, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.auth import Caller
from libs.common.db import Session
from libs.common.problems import Invalid, TooLarge, Unprocessable
from libs.common.web import Gate, PlainRoute

KEEP = timedelta(hours=24)
MAX_BODY_BYTES = 4 << 20
WRITES = frozenset({"POST", "PUT", "PATCH"})

Endpoint = Callable[..., Awaitable[Any]]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        max_length=255,
        description="The same key again within a day does nothing and answers alike; with another request: 422.",
    ),
]


class AnsweredColumns:
    """The columns of a service's table of answers."""

    actor: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    """SHA-256 of the key."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA-256 of what was asked, keyed by the key: who reads the row cannot try what a password was."""
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)


class Cipher(Protocol):
    """Keeps what is in rows from who reads them."""

    def seal(self, data: bytes, *, name: str) -> bytes:
        """Encrypt. What is sealed under one name does not open under another."""

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """Decrypt."""


class Answers:
    """Where a service keeps its answers; on `app.state.answers`."""

    def __init__(self, rows: type[Any], cipher: Cipher | None = None) -> None:
        """
        Args:
            rows: the service's mapped class with :class:`AnsweredColumns`.
            cipher: seals all of them.
        """
        self._rows = rows
        self._cipher = cipher

    async def once(
        self, session: AsyncSession, work: Callable[[], Awaitable[Any]], *, actor: str, key: str, asked: bytes
    ) -> Any:
        """The answer of `work`, or the one that it gave when it was asked with the same key before.

        Args:
            actor: who asks; keys of others are others.

        Raises:
            Unprocessable: the key was used for something else.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        fingerprint = hmac.digest(key.encode(), asked, "sha256").hex()
        lock = "select pg_advisory_xact_lock(hashtextextended(:name, 0))"
        await session.execute(text(lock), {"name": f"idempotency {actor} {digest}"})
        known = await session.get(self._rows, (actor, digest))
        if known is not None:
            if known.fingerprint != fingerprint:
                raise Unprocessable("this Idempotency-Key was used for another request; use a new one")
            return self._unpacked(known.answer, f"{actor} {digest}")
        answer = await work()
        packed = self._packed(answer, f"{actor} {digest}")
        session.add(self._rows(actor=actor, key=digest, fingerprint=fingerprint, answer=packed, at=db.now()))
        await session.flush()
        return answer

    def _packed(self, answer: Any, name: str) -> dict[str, Any]:
        packed: dict[str, Any]
        if isinstance(answer, Response):
            packed = {
                "status": answer.status_code,
                "text": bytes(answer.body).decode(),
                "media_type": answer.media_type,
            }
        else:
            packed = {"answer": jsonable_encoder(answer)}
        if self._cipher is None:
            return packed
        return {"sealed": base64.b64encode(self._cipher.seal(orjson.dumps(packed), name=name)).decode()}

    def _unpacked(self, packed: dict[str, Any], name: str) -> Any:
        if "sealed" in packed and self._cipher is not None:
            packed = orjson.loads(self._cipher.open(base64.b64decode(packed["sealed"]), name=name))
        if "answer" in packed:
            return packed["answer"]
        return Response(packed["text"] or None, packed["status"], media_type=packed["media_type"])


class _Asked:
    """One request, and the key that it carries."""

    def __init__(self, request: Request, session: AsyncSession, actor: str, key: str | None) -> None:
        self._request = request
        self._session = session
        self._actor = actor
        self._key = key

    async def once(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Raises Unprocessable, Invalid or TooLarge."""
        if not self._key:
            return await work()
        answers: Answers = self._request.app.state.answers
        asked = await _whole(self._request)
        return await answers.once(self._session, work, actor=self._actor, key=self._key, asked=asked)


async def _asked(request: Request, session: Session, caller: Caller, key: IdempotencyKey = None) -> _Asked:
    return _Asked(request, session, caller.name, key)


class _Router(APIRouter):
    def add_api_route(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        if WRITES.intersection(options.get("methods") or ()):
            endpoint = _once(endpoint)
        super().add_api_route(path, endpoint, **options)


def router(gate: Gate, **options: Any) -> APIRouter:
    """As `web.router`, and its writes take an `Idempotency-Key`. They work on the request's session only."""
    return _Router(dependencies=[Depends(gate)], route_class=PlainRoute, **options)


async def purge(session: AsyncSession, rows: type[Any], now: datetime) -> int:
    """Forget what was asked more than a day ago; says how many."""
    gone = cast("CursorResult[Any]", await session.execute(delete(rows).where(rows.at < now - KEEP)))
    return gone.rowcount


def _once(endpoint: Endpoint) -> Endpoint:
    """The endpoint with one parameter more, which FastAPI fills in."""
    signature = inspect.signature(endpoint, eval_str=True)
    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    further = inspect.Parameter(
        "idempotency", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[_Asked, Depends(_asked)]
    )

    @functools.wraps(endpoint)
    async def answer(*, idempotency: _Asked, **arguments: Any) -> Any:
        return await idempotency.once(functools.partial(endpoint, **arguments))

    answer.__signature__ = signature.replace(parameters=[*own, further])  # type: ignore[attr-defined]  # PEP 362
    return answer


async def _whole(request: Request) -> bytes:
    """Method, address and body: equal for JSON documents that are equal. The route can read the body as well."""
    if "transfer-encoding" in request.headers:
        raise Invalid("a request with an Idempotency-Key must say how long its body is, in Content-Length")
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    body = await request.body()
    with contextlib.suppress(ValueError, TypeError):  # no JSON, or none that can be written again
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    return b"\n".join([f"{request.method} {request.url.path}?{request.url.query}".encode(), body])
