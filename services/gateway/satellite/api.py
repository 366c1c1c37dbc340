"""What a satellite's gateway answers where no call is: that there is nothing."""

from __future__ import annotations

from libs.common import web
from libs.common.auth import public
from libs.common.problems import NotFound

nothing_else = web.router(public)
"""Included last: it takes every path."""

_DATA = ("v1/data", "v1/connector", "v1/hostedData")


@nothing_else.api_route(
    "/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], include_in_schema=False
)
async def absent(path: str) -> None:
    if path.startswith(_DATA):
        raise NotFound("a satellite has no hosted data; it is on the platform that made the satellite")
    raise NotFound(
        f"there is no /{path[:200]} here: a satellite answers calls, at /v1/algo/VANITY_URL, and nothing else"
    )
