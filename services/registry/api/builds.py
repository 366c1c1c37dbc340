"""Routes of builds, for insiders."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from libs.common import pages, web
from libs.common.auth import Caller, account_only
from libs.common.db import Session
from libs.common.pages import Page
from libs.common.problems import NotFound
from services.registry import access, build_logs, builds, store, views
from services.registry.api.requests import Subject, next_link, of_algorithm, paging
from services.registry.models import Build
from services.registry.versions import Version

routes = web.router(account_only)

LOG_CODE = 1011


@of_algorithm(routes, "GET", "/builds")
async def list_builds(request: Request, row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    access.check_insider(who, row.owner)
    page = await builds.page(session, row.id, paging(request, pages.number))
    releases = {one.build_id: one for one in await store.releases(session, row.id)}
    found: Page[Version] = Page([Version(one, releases.get(one.id)) for one in page.entries], page.marker)
    return views.listing(found, views.build_of, next_link(request, page))


@of_algorithm(routes, "GET", "/builds/{build_id}")
async def get_build(build_id: str, row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    access.check_insider(who, row.owner)
    build = await builds.get(session, row.id, build_id)
    release = next((one for one in await store.releases(session, row.id) if one.build_id == build.id), None)
    return views.build_of(Version(build, release))


@of_algorithm(routes, "GET", "/builds/{build_id}/logs")
async def get_build_logs(build_id: str, row: Subject, who: Caller, session: Session) -> dict[str, str]:
    """The whole log of a finished build. `/admin/v1/builds/ID/log` has the log of one that runs."""
    access.check_insider(who, row.owner)
    build = await builds.get(session, row.id, build_id)
    if build.state not in builds.FINAL:
        raise NotFound("the build is still in progress; its log is here when it has finished", code=LOG_CODE)
    return {"logs": _with_reason(await build_logs.whole(session, build.id), build)}


def _with_reason(text: str, build: Build) -> str:
    return f"{text}\n{build.reason}\n".lstrip("\n") if build.reason else text
