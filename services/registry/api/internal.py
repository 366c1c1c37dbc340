"""Routes for the platform's own services."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from libs.common import web
from libs.common.auth import Caller, service_only
from libs.common.blobs import BlobCorrupt, BlobMissing, StoreFailed
from libs.common.contracts.applications import APPLICATIONS_FEED
from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.feeds import FeedPage
from libs.common.contracts.identity import Principal
from libs.common.contracts.launches import LAUNCHES_FEED
from libs.common.contracts.satellites import SatellitePlan
from libs.common.db import Session
from libs.common.openapi import answers
from libs.common.problems import Forbidden, Invalid, NotFound, Unavailable
from services.registry.api.requests import Parts
from services.registry.settings import MIB

routes = web.router(service_only, relays=True)

BUILD = "/internal/builds/{build_id}"
BLOB = "/internal/blobs/{digest}"


class ClaimRequest(BaseModel):
    worker: str = Field(min_length=1, max_length=255)


@routes.get(f"/internal/feeds/{CATALOG_FEED}")
async def get_catalog(
    parts: Parts, since: int = Query(0, ge=0), epoch: str = "", wait: float = Query(0.0, ge=0, le=60)
) -> FeedPage:
    return await parts.publisher.page(CATALOG_FEED, since=since, epoch=epoch, wait=wait)


@routes.get(f"/internal/feeds/{LAUNCHES_FEED}")
async def get_launches(
    parts: Parts, since: int = Query(0, ge=0), epoch: str = "", wait: float = Query(0.0, ge=0, le=60)
) -> FeedPage:
    return await parts.publisher.page(LAUNCHES_FEED, since=since, epoch=epoch, wait=wait)


@routes.get(f"/internal/feeds/{APPLICATIONS_FEED}")
async def get_applications(
    parts: Parts, since: int = Query(0, ge=0), epoch: str = "", wait: float = Query(0.0, ge=0, le=60)
) -> FeedPage:
    return await parts.publisher.page(APPLICATIONS_FEED, since=since, epoch=epoch, wait=wait)


@routes.post(f"{BUILD}/claim")
async def claim_build(build_id: UUID, asked: ClaimRequest, who: Caller, parts: Parts, session: Session) -> BuildSpec:
    check_worker(who)
    return await parts.builds.claim(session, build_id, asked.worker)


@routes.post(f"{BUILD}/log", status_code=204)
async def write_build_log(build_id: UUID, sent: BuildLog, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    await parts.builds.write_log(session, build_id, sent)
    return Response(status_code=204)


@routes.post(f"{BUILD}/result", status_code=204)
async def finish_build(build_id: UUID, result: BuildResult, who: Caller, parts: Parts, session: Session) -> Response:
    check_worker(who)
    await parts.builds.finish(session, build_id, result)
    return Response(status_code=204)


@routes.get("/internal/revisions/{revision_id}/environment")
async def get_environment(
    revision_id: UUID, who: Caller, parts: Parts, session: Session, response: Response
) -> dict[str, Any]:
    """The secrets of a revision's algorithm, for those only who start replicas of it."""
    if who.name not in ("worker", "deployer"):
        raise Forbidden("this route is for workers and deployers")
    response.headers["cache-control"] = "no-store"
    version, variables = await parts.secrets.environment(session, revision_id)
    return {"secrets_version": version, "variables": variables}


@routes.get("/internal/launches/{launch_id}/plan")
async def get_plan(launch_id: UUID, parts: Parts, deployment_id: UUID | None = None) -> SatellitePlan:
    """What a launch was last ordered to run, or by the order of that deployment."""
    return await parts.launch_plan(launch_id, deployment_id)


@routes.get(BLOB, response_class=StreamingResponse, responses=answers("application/octet-stream"))
async def read_blob(digest: str, parts: Parts) -> Response:
    try:
        size = await parts.blobs.size(digest)
    except BlobMissing as error:
        raise NotFound(str(error)) from None
    headers = {"content-length": str(size)}
    return StreamingResponse(parts.blobs.stream(digest), headers=headers, media_type="application/octet-stream")


@routes.head(BLOB)
async def has_blob(digest: str, parts: Parts) -> Response:
    try:
        return Response(headers={"content-length": str(await parts.blobs.size(digest))})
    except BlobMissing as error:
        raise NotFound(str(error)) from None


@routes.put(BLOB, status_code=204)
async def write_blob(request: Request, digest: str, who: Caller, parts: Parts) -> Response:
    """Keep a blob; its bytes must have the digest."""
    check_worker(who)
    try:
        await parts.blobs.put_stream(digest, web.body_chunks(request, limit=parts.settings.blob_limit_mib * MIB))
    except (BlobCorrupt, BlobMissing) as error:
        raise Invalid(str(error)) from None
    except StoreFailed as error:
        raise Unavailable(str(error)) from error
    return Response(status_code=204)


def check_worker(who: Principal) -> None:
    """Raises Forbidden for other services."""
    if who.name != "worker":
        raise Forbidden("this route is for workers")
