"""What runs, asked of deployers before a request's transaction begins: an answer may take seconds, and nothing is to
hold a connection or the lock of a row meanwhile."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from services.registry import applications, linked_versions, orders
from services.registry.api.requests import Parts
from services.registry.launch_statuses import Statuses


async def _of_launch(launch_id: UUID, parts: Parts) -> Statuses:
    async with parts.database.transaction() as session:
        ordered = await orders.newest(session, launch_id) is not None
    return await parts.launch_statuses([launch_id] if ordered else [])


async def _of_satellite(satellite_id: UUID, parts: Parts) -> Statuses:
    async with parts.database.transaction() as session:
        rows = await orders.deployed(session, satellite_id=satellite_id)
    return await parts.launch_statuses([launch.id for launch, _ in rows])


async def _of_application(name: str, parts: Parts) -> Statuses:
    async with parts.database.transaction() as session:
        linked = await linked_versions.of_all(session, [await applications.get(session, name)])
    return await parts.launch_statuses([one.id for one in linked])


RunningOfLaunch = Annotated[Statuses, Depends(_of_launch)]
"""Of the launch that the path names."""
RunningOfSatellite = Annotated[Statuses, Depends(_of_satellite)]
"""Of the launches, removed ones too, of the satellite that the path names."""
RunningOfApplication = Annotated[Statuses, Depends(_of_application)]
"""Of the linked versions of the application that the path names."""
