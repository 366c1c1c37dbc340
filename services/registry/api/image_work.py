"""Routes for those who make images, and for those who wait for them: the platform's own services."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from libs.common import web
from libs.common.auth import Caller, service_only
from libs.common.contracts.images import PLATFORM, ImageClaim, ImageResult, ImagesOf, ImageSpec, Lease, PushSpec
from libs.common.db import Session
from services.registry.api.internal import check_worker
from services.registry.api.requests import Parts

routes = web.router(service_only, relays=True, prefix="/internal")

IMAGE = "/images/{image_id:uuid}"
PUSH = "/image-pushes/{push_id:uuid}"


class AtRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    registry: str = Field(min_length=1, max_length=255)
    revisions: list[UUID] = Field(max_length=1000)
    platform: str | None = Field(default=None, pattern=PLATFORM)


@routes.post("/images/at")
async def get_images_at(asked: AtRequest, parts: Parts, session: Session) -> ImagesOf:
    """Whether images are in a registry. Has them made and pushed, where they are not."""
    return await parts.image_pushes.at(session, asked.registry, asked.revisions, platform=asked.platform)


@routes.post(f"{IMAGE}/claim")
async def claim_image(image_id: UUID, asked: ImageClaim, who: Caller, parts: Parts, session: Session) -> ImageSpec:
    check_worker(who)
    return await parts.images.claim(session, image_id, asked)


@routes.post(f"{IMAGE}/lease", status_code=204)
async def renew_image(image_id: UUID, held: Lease, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    queue = parts.images.queue
    queue.renew(await queue.locked(session, image_id), held.lease_token)
    return Response(status_code=204)


@routes.post(f"{IMAGE}/result", status_code=204)
async def finish_image(image_id: UUID, result: ImageResult, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    await parts.images.finish(session, image_id, result)
    return Response(status_code=204)


@routes.post(f"{PUSH}/claim")
async def claim_push(push_id: UUID, asked: ImageClaim, who: Caller, parts: Parts, session: Session) -> PushSpec:
    check_worker(who)
    return await parts.image_pushes.claim(session, push_id, asked)


@routes.post(f"{PUSH}/lease", status_code=204)
async def renew_push(push_id: UUID, held: Lease, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    queue = parts.image_pushes.queue
    queue.renew(await queue.locked(session, push_id), held.lease_token)
    return Response(status_code=204)


@routes.post(f"{PUSH}/result", status_code=204)
async def finish_push(push_id: UUID, result: ImageResult, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    await parts.image_pushes.finish(session, push_id, result)
    return Response(status_code=204)
