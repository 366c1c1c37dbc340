"""Container images: `/admin/v1/images`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from libs.common import idempotency, pages, ranges
from libs.common.auth import Caller, admin_only
from libs.common.blobs import BlobMissing
from libs.common.contracts import references
from libs.common.contracts.images import PLATFORM, WorkState
from libs.common.db import Session
from libs.common.openapi import answers, reads
from libs.common.problems import NotFound, RangeNotSatisfiable, Unprocessable
from services.registry import image_pushes, image_views, images, store, versions, views
from services.registry.api.admin import AskedPage
from services.registry.api.requests import Parts, body
from services.registry.images import GATEWAY, Subject
from services.registry.pages import Paging

routes = idempotency.router(admin_only, prefix="/admin/v1/images")

IMAGE = "/{image_id:uuid}"
BLOB = "/blobs/{digest}"


class ImageBody(BaseModel):
    """One of `revision`, `algorithm` and `gateway`."""

    model_config = ConfigDict(extra="forbid")

    revision: UUID | None = None
    algorithm: str | None = None
    """`OWNER/NAME/HASH`, or `OWNER/NAME/VERSION`."""
    gateway: bool = False
    """The image of the platform itself, in which gateways of satellites run."""
    platform: str | None = Field(default=None, pattern=PLATFORM)
    renew: bool = False
    """Make it anew, on what its base and the runner are by now."""


class PushBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    to: str = Field(min_length=1, max_length=255)
    """`HOST/PATH[:TAG]`."""


@routes.get("")
async def list_images(session: Session, asked: AskedPage, *, revision: UUID | None = None) -> dict[str, Any]:
    """Newest first; with `revision`, those of this one."""
    page = await images.page(session, Paging.parse(asked.limit, asked.cursor, pages.number), revision_id=revision)
    subjects = await images.subjects(session, page.entries)
    return views.admin_listing(page, lambda row: image_views.image(row, subjects.get(row.id)))


@routes.post("", status_code=202, openapi_extra=reads(ImageBody))
async def order_image(request: Request, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Have an image made, unless it was. One that failed is tried again at once."""
    asked = await body(request, ImageBody)
    row = await parts.images.want(session, await _subject(session, asked), asked.platform)
    if asked.renew or row.state is WorkState.FAILED:
        row = await parts.images.queue.again(session, row)
    subject = await images.subject(session, row)
    document = image_views.image(row, subject)
    parts.audit.record(session, who, "image.order", document["algorithm"] or f"gateway {row.release}", row.platform)
    return document


@routes.get(IMAGE)
async def get_image(image_id: UUID, session: Session) -> dict[str, Any]:
    row = await images.get(session, image_id)
    return image_views.details(
        row,
        await images.subject(session, row),
        await images.blobs(session, row),
        await image_pushes.of_image(session, row.id),
    )


@routes.post(f"{IMAGE}/push", status_code=202, openapi_extra=reads(PushBody))
async def push_image(request: Request, image_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Have an image pushed, with the credentials of the worker that does it. The answer, and the image's `pushes`,
    say how that goes."""
    asked = await body(request, PushBody)
    row = await parts.image_pushes.request(session, await images.get(session, image_id), asked.to)
    parts.audit.record(session, who, "image.push", f"{image_id}", row.reference)
    return image_views.push(row)


@routes.head(BLOB, response_class=Response)
@routes.get(BLOB, response_class=StreamingResponse, responses=answers("application/octet-stream"))
async def get_blob(request: Request, digest: str, parts: Parts, session: Session) -> Response:
    """The bytes of a blob of an image, or a range of them."""
    size = await images.blob_size(session, digest)
    etag = f'"{digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Length": str(size),
        "Content-Type": "application/octet-stream",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    if request.method == "HEAD":
        return Response(headers=headers)
    span = _span(request, size, etag)
    try:
        chunks = await parts.blobs.open(images.hexadecimal(digest), span)
    except BlobMissing:
        raise NotFound(f"the bytes of {digest} are not in the blob store any more; make the image anew") from None
    if span is None:
        return StreamingResponse(chunks, headers=headers)
    start, end = span
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Content-Length": str(end - start)}
    return StreamingResponse(chunks, 206, headers=headers)


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The part that is asked for. Raises RangeNotSatisfiable."""
    if request.headers.get("if-range", etag) != etag:
        return None
    try:
        return ranges.span(request.headers.get("range", ""), size)
    except ranges.Unsatisfiable as error:
        raise RangeNotSatisfiable(str(error), headers={"Content-Range": f"bytes */{size}"}) from None


async def _subject(session: Session, asked: ImageBody) -> Subject:
    """Raises Unprocessable, NotFound."""
    if [asked.revision is not None, asked.algorithm is not None, asked.gateway].count(True) != 1:
        raise Unprocessable("say of what: give one of 'revision', 'algorithm' and 'gateway'")
    if asked.gateway:
        return GATEWAY
    if asked.revision is not None:
        return Subject(asked.revision)
    try:
        reference = references.parse(asked.algorithm or "")
    except references.InvalidReference as fault:
        raise Unprocessable(f"algorithm: {fault}") from None
    algorithm = (
        await store.by_id(session, UUID(reference.algorithm))
        if reference.is_id
        else await store.named(session, *reference.algorithm.split("/"))
    )
    return Subject((await versions.get(session, algorithm.id, reference.version, insider=True)).build.id)
