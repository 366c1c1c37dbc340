"""`/v1/data/PATH` and `/v1/connector/data/PATH`, the same; and `/v1/hostedData`.

Every answer says what it is about in `X-Data-Type`. Errors are `{"error": {"id", "code", "message"}}` and, as a HEAD
has no body, in `X-Error-Message` too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import format_datetime
from itertools import product
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from libs.common import logs, ranges, web
from libs.common.auth import public
from libs.common.blobs import BlobMissing, StoreFailed
from libs.common.openapi import also, answers, reads_json
from libs.common.problems import Invalid, NotFound, Problem, RangeNotSatisfiable, Unavailable
from services.gateway.bodies import arriving
from services.gateway.data import acl, collections, files, listing, paths
from services.gateway.data.asked import Asked
from services.gateway.data.media import answer_type
from services.gateway.models import File
from services.gateway.platform import Platform

log = logs.get(__name__)

routes = web.router(public, responses=also(501))

_SPELLINGS = (
    "/v1/data",
    "/v1/data/{path:path}",
    "/v1/connector/{connector}",
    "/v1/connector/{connector}/{path:path}",
)
_MAX_JSON = 64 * 1024


class NotOffered(Problem):
    status, title, code = 501, "Not offered", 6001


class MethodNotAllowed(Problem):
    status, title, code = 405, "Method not allowed", 6001


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.gateway.source
    return platform


Here = Annotated[Platform, Depends(_platform)]


async def _asked(request: Request, here: Here) -> Asked:
    """Who asks for what. Raises Unauthenticated, Forbidden, Invalid, NotFound, NotOffered."""
    visitor = await here.visitors.find(request.headers.get("authorization"))
    text = _after_prefix(request)
    try:
        if connector := request.path_params.get("connector"):
            paths.check_connector(connector)
        path = paths.parse(text, account=visitor.account, algorithm=visitor.algorithm, session=visitor.session)
    except paths.InvalidPath as error:
        raise Invalid(str(error)) from None
    except paths.NotHosted as error:
        raise NotOffered(str(error)) from None
    except paths.NoSuchPlace as error:
        raise NotFound(str(error)) from None
    account = here.directory.accounts.get(path.owner)
    return Asked(visitor, path, account.id if account is not None else None)


For = Annotated[Asked, Depends(_asked)]


def _after_prefix(request: Request) -> str:
    """The decoded path behind `/v1/data/`, or `/v1/connector/NAME/`. Raises Invalid."""
    raw: bytes = request.scope["raw_path"]
    skipped = 4 if "connector" in request.path_params else 3
    text = "/".join(raw.decode("latin-1").split("/")[skipped:])
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Invalid("the path is not UTF-8; percent-encode the names in it") from None


@asynccontextmanager
async def _transaction(here: Platform) -> AsyncIterator[AsyncSession]:
    stores = await here.data.stores()
    async with stores.database.transaction() as session:
        yield session


def _route(*methods: str, **options: Any) -> Callable[[Any], Any]:
    """Registers a function under all spellings."""

    def register(function: Any) -> Any:
        for path, method in product(_SPELLINGS, methods):
            routes.add_api_route(path, function, methods=[method], **options)
        return function

    return register


@_route("GET", "HEAD", responses=answers("*/*"))
async def read(request: Request, here: Here, asked: For) -> Response:
    if asked.path.file:
        return await _read_file(request, here, asked)
    if not asked.path.owner:
        return _json(listing.root(asked), "directory")
    query = request.query_params
    async with _transaction(here) as session:
        page = await listing.listing(
            session,
            asked,
            marker=query.get("marker", ""),
            limit=here.settings.data_page,
            with_acl=_is_true(query.get("acl")),
        )
    return _json(page, "directory")


@_route("PUT")
async def write(request: Request, here: Here, asked: For) -> Response:
    if not asked.path.file:
        raise Invalid(f"{asked.path} is no file; a file is put to data://OWNER/COLLECTION/FILE")
    limit = here.settings.max_file_bytes
    if int(request.headers.get("content-length") or 0) > limit:
        raise files.too_large(limit)
    stores = await here.data.stores()
    try:
        await files.Upload(stores.database, stores.objects, limit).write(asked, arriving(request))
    except ClientDisconnect:
        return Response(status_code=499)
    except StoreFailed as error:
        raise _store_failed(error) from error
    return _json({"result": str(asked.path)}, "file")


@_route("POST", openapi_extra=reads_json("name", "acl"))
async def create(request: Request, here: Here, asked: For) -> Response:
    if asked.path.file:
        raise MethodNotAllowed("a file is written with PUT", headers={"Allow": "GET, HEAD, PUT, DELETE"})
    name, readers = _new_collection(await _body(request))
    async with _transaction(here) as session:
        await collections.create(session, asked, name, readers)
    return _json({"result": f"{asked.path}/{name}"}, "directory")


@_route("PATCH", openapi_extra=reads_json("acl"))
async def change(request: Request, here: Here, asked: For) -> Response:
    if asked.path.file or not asked.path.collection:
        raise Invalid(f"{asked.path} is no collection; access lists are those of collections")
    document = _document(await _body(request))
    readers = _acl(document.get("acl"))
    async with _transaction(here) as session:
        await collections.open_to(session, asked, readers)
    return Response(status_code=200, headers={"X-Data-Type": "directory"})


@_route("DELETE")
async def remove(request: Request, here: Here, asked: For) -> Response:
    async with _transaction(here) as session:
        if asked.path.file:
            await files.remove(session, asked)
            return _json({"result": {"deleted": 1}}, "file")
        if not asked.path.collection:
            raise Invalid(f"{asked.path} cannot be removed: only collections and files can")
        deleted = await collections.remove(session, asked, force=_is_true(request.query_params.get("force")))
    return _json({"result": {"deleted": deleted}}, "directory")


@routes.get("/v1/hostedData")
async def hosted(request: Request, here: Here) -> Response:
    """The caller's own collections."""
    visitor = await here.visitors.find(request.headers.get("authorization"))
    account = here.directory.accounts.get(visitor.account)
    asked = Asked(visitor, paths.DataPath(visitor.account), account.id if account is not None else None)
    async with _transaction(here) as session:
        result = await listing.hosted(session, asked)
    return _json({"result": result}, "directory")


async def _read_file(request: Request, here: Platform, asked: Asked) -> Response:
    stores = await here.data.stores()
    async with stores.database.transaction() as session:
        file = await files.find(session, asked)
    headers = _file_headers(request, file)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(file.size)})
    span = _span(request, file, headers["ETag"])
    try:
        chunks = await stores.objects.open(file.object_id, span)
    except BlobMissing:
        log.exception("object_missing", file=str(asked.path), object_id=str(file.object_id))
        raise Problem(f"the bytes of {asked.path} are not where they should be; put the file again") from None
    except StoreFailed as error:
        raise _store_failed(error) from error
    if span is None:
        return StreamingResponse(chunks, headers=headers | {"Content-Length": str(file.size)})
    start, end = span
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{file.size}", "Content-Length": str(end - start)}
    return StreamingResponse(chunks, 206, headers=headers)


def _file_headers(request: Request, file: File) -> dict[str, str]:
    return {
        "Content-Type": answer_type(request.headers.get("accept", ""), file.name, is_text=file.is_text),
        "X-Data-Type": "file",
        "ETag": f'"{file.object_id.hex}"',
        "Last-Modified": format_datetime(file.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        # A browser is to show it, if anything, and never to run what a user has put there.
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept, Authorization",
        "Cache-Control": "private, no-cache",
    }


def _span(request: Request, file: File, etag: str) -> tuple[int, int] | None:
    """The part that is asked for. Raises RangeNotSatisfiable."""
    if request.headers.get("if-range", etag) != etag:
        return None
    try:
        return ranges.span(request.headers.get("range", ""), file.size)
    except ranges.Unsatisfiable as error:
        raise RangeNotSatisfiable(str(error), headers={"Content-Range": f"bytes */{file.size}"}) from None


def _new_collection(body: bytes) -> tuple[str, tuple[str, ...]]:
    """Name and readers of a collection to make: JSON, or, from one client, the bare name. Raises Invalid."""
    if body.lstrip()[:1] == b"{":
        document = _document(body)
        name = document.get("name")
        readers = _acl(document["acl"]) if document.get("acl") is not None else acl.DEFAULT
    else:
        name, readers = body.decode(errors="replace").strip(), acl.DEFAULT
    try:
        return paths.collection_name(name if isinstance(name, str) else ""), readers
    except paths.InvalidPath as error:
        raise Invalid(str(error)) from None


def _acl(value: Any) -> tuple[str, ...]:
    try:
        return acl.parse(value)
    except acl.InvalidAcl as error:
        raise Invalid(str(error)) from None


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("the body is not valid JSON", code=2013) from None
    if not isinstance(document, dict):
        raise Invalid("the body is not a JSON object")
    return document


async def _body(request: Request) -> bytes:
    return b"".join([chunk async for chunk in web.body_chunks(request, limit=_MAX_JSON)])


def _store_failed(error: StoreFailed) -> Unavailable:
    log.error("object_store_failed", exc_info=error)
    return Unavailable(f"{error} just now; nothing was changed, try again")


def _json(document: dict[str, Any], data_type: str) -> Response:
    headers = {"X-Data-Type": data_type}
    return Response(orjson.dumps(document), media_type="application/json", headers=headers)


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1")
