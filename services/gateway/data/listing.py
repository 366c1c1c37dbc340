"""Listings, as clients of the Data API read them.

    {"folders": [{"name"}], "files": [{"filename", "size", "last_modified"}], "marker", "acl": {"read": [...]}}

`folders` and `files` are there when there are any, `marker` when there is more: sent back, it gives the next page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import pages
from services.gateway.data import acl, collections, files
from services.gateway.data.acl import Access
from services.gateway.data.asked import Asked
from services.gateway.models import Collection


async def listing(session: AsyncSession, asked: Asked, *, marker: str, limit: int, with_acl: bool) -> dict[str, Any]:
    """What is in a folder or collection. Raises NotFound, Forbidden, Invalid.

    Args:
        marker: of the page before; empty for the first page.
        limit: most entries.
    """
    after = pages.decode(marker, pages.text, f"'{marker[:80]}' is no marker of a listing")
    if not asked.path.collection:
        found = await collections.of_account(session, asked, after=after, limit=limit + 1)
        names = [row.name for row in found]
        return _page("folders", [{"name": name} for name in names], names, limit)
    row = await collections.find(session, asked, Access.READ)
    if row is None:
        return {}
    held = await files.of_collection(session, row.id, after=after, limit=limit + 1)
    entries = [{"filename": file.name, "size": file.size, "last_modified": moment(file.modified_at)} for file in held]
    page = _page("files", entries, [file.name for file in held], limit)
    if with_acl and not asked.path.is_special:
        page["acl"] = {"read": row.acl}
    return page


def root(asked: Asked) -> dict[str, Any]:
    """The folders of all whose data the visitor may use. The first one tells clients for whom their key is."""
    visitor = asked.visitor
    return {"folders": [{"name": name} for name in (visitor.account, *sorted(visitor.organizations))]}


async def hosted(session: AsyncSession, asked: Asked) -> list[dict[str, Any]]:
    """The visitor's own collections, as `GET /v1/hostedData` words them. Raises Forbidden."""
    collections.check_folder(asked, Access.READ)
    own = select(Collection).where(Collection.owner_id == asked.owner_id, ~Collection.name.startswith("."))
    rows = (await session.execute(own.order_by(Collection.name))).scalars().all()
    return [_hosted(row, asked.path.owner) for row in rows]


def moment(at: datetime) -> str:
    """A time in UTC as clients parse it: with a fraction, always."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _hosted(row: Collection, owner: str) -> dict[str, Any]:
    is_public = acl.EVERYBODY in row.acl
    return {
        "id": str(row.id),
        "object_id": str(row.id),
        "collection_name": row.name,
        "username": owner,
        "acl": {"read_w": is_public, "read_g": False, "read_u": True, "read_a": bool(row.acl)},
        "location": f"data://{owner}/{row.name}",
    }


def _page(kind: str, entries: Sequence[dict[str, Any]], names: Sequence[str], limit: int) -> dict[str, Any]:
    page: dict[str, Any] = {}
    if entries:
        page[kind] = entries[:limit]
    if len(entries) > limit:
        page["marker"] = pages.encode(names[limit - 1])
    return page
