"""Orders of launches: what was asked last, and what therefore runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.launches import OrderAction
from libs.common.pages import Page
from services.registry.models import Launch, Order
from services.registry.pages import Paging

_NEWEST = select(Order.launch_id, func.max(Order.number).label("number")).group_by(Order.launch_id).subquery()


async def newest(session: AsyncSession, launch_id: UUID) -> Order | None:
    query = select(Order).where(Order.launch_id == launch_id).order_by(Order.number.desc()).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


async def newest_of(session: AsyncSession, rows: Sequence[Launch]) -> Mapping[UUID, Order]:
    """The newest order of each launch that was ever deployed, by its id."""
    query = (
        select(Order)
        .ext(distinct_on(Order.launch_id))
        .where(Order.launch_id.in_([row.id for row in rows]))
        .order_by(Order.launch_id, Order.number.desc())
    )
    return {order.launch_id: order for order in (await session.execute(query)).scalars()}


async def page(session: AsyncSession, launch_id: UUID, paging: Paging) -> Page[Order]:
    """Newest first."""
    query = select(Order).where(Order.launch_id == launch_id)
    if paging.after is not None:
        query = query.where(Order.number < paging.after[0])
    rows = (await session.execute(query.order_by(Order.number.desc()).limit(paging.limit + 1))).scalars().all()
    return paging.page(rows, lambda one: (one.number,))


async def deployed(session: AsyncSession, *, satellite_id: UUID) -> list[tuple[Launch, Order]]:
    """Launches of a satellite, removed ones too, that were last ordered to run."""
    query = (
        select(Launch, Order)
        .join(Order, Order.launch_id == Launch.id)
        .join(_NEWEST, (_NEWEST.c.launch_id == Order.launch_id) & (_NEWEST.c.number == Order.number))
        .where(Launch.satellite_id == satellite_id, Order.action == OrderAction.DEPLOY)
        .order_by(func.lower(Launch.name), Launch.id)
    )
    return [(row[0], row[1]) for row in await session.execute(query)]
