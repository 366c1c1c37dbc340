"""The style sheet, script and icon of the pages. Their addresses change with their content, so browsers keep them."""

from __future__ import annotations

from fastapi import Response

from libs.common import web
from libs.common.auth import public
from libs.common.problems import NotFound
from services.fakts.pages.rendering import STATIC, STATIC_PATH

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

router = web.router(public, prefix=STATIC_PATH)


@router.get("/{name}")
async def static_file(name: str) -> Response:
    if name not in STATIC:
        raise NotFound(f"there is no file '{name[:50]}' here")
    return Response(STATIC[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)
