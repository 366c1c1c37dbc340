"""Reports of satellites apart from the platform, and what they add up to: below `/admin/v1/launches/{id}`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from fastapi import Request
from pydantic import AwareDatetime

from libs.common import web
from libs.common.auth import Caller, admin_only, reporter_only
from libs.common.contracts.identity import PrincipalKind
from libs.common.contracts.satellites import ReportsTaken, SatelliteReports, reporter
from libs.common.db import Session, now
from libs.common.problems import Forbidden, Invalid
from services.registry import launches, reports, satellite_views
from services.registry.api.requests import Parts, body

routes = web.router(reporter_only, prefix="/admin/v1")
administrators = web.router(admin_only, prefix="/admin/v1")

LAUNCH = "/launches/{launch_id:uuid}"
_USUAL = timedelta(days=7)
_LONGEST = timedelta(days=400)
_MOST_HOURS = timedelta(days=31)


@routes.post(f"{LAUNCH}/reports")
async def take_reports(
    request: Request, launch_id: UUID, who: Caller, parts: Parts, session: Session
) -> ReportsTaken:
    """What the gateways of a launch saw. Each report counts once; the answer says what need not come again."""
    if who.kind is PrincipalKind.SATELLITE and who.name != reporter(launch_id):
        raise Forbidden("this token is for the reports of another launch")
    return await parts.reports.take(session, launch_id, (await body(request, SatelliteReports)).reports, who)


@administrators.get(f"{LAUNCH}/usage")
async def get_usage(
    launch_id: UUID, session: Session, *, since: AwareDatetime | None = None, by: Literal["hour", "day"] = "day"
) -> dict[str, Any]:
    """What was called at a launch apart from the platform, in sum and by hour or day of UTC, since `since`."""
    start = _start(since, by)
    await launches.ever(session, launch_id)
    found = await reports.usage(session, launch_id, since=start, by=by)
    return satellite_views.usage(launch_id, start, by, found)


def _start(since: datetime | None, by: str) -> datetime:
    """Raises Invalid for a moment that is too long ago."""
    moment = now()
    longest = _MOST_HOURS if by == "hour" else _LONGEST
    if since is not None and since < moment - longest:
        raise Invalid(f"'since' may be at most {longest.days} days ago when it is told by the {by}")
    return since or moment - _USUAL
