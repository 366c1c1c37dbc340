"""The style sheet, script and icon of the pages. Their addresses change with their content, so browsers keep them."""

from __future__ import annotations

from fastapi import Response

from libs.common import web
from libs.common.auth import public
from libs.common.openapi import PAGES
from libs.common.problems import NotFound
from services.fakts.pages.rendering import STATIC, STATIC_PATH

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_CONTENT: dict[str, dict[str, str]] = {media.partition(";")[0]: {} for media in _TYPES.values()}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

router = web.router(public, prefix=STATIC_PATH, responses=PAGES)


@router.get(
    "/{name}",
    responses={200: {"content": {one.partition(";")[0]: {} for one in _TYPES.values()}}},
    response_class=Response,
)
async def static_file(name: str) -> Response:
    if name not in STATIC:
        raise NotFound(f"there is no file '{name[:50]}' here")
    return Response(STATIC[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)
