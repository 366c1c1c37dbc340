"""The registry's tables: what exists, how it was built, and what happened to it."""

from __future__ import annotations

from services.registry.models.algorithms import Algorithm, Build, BuildLogChunk, Call, Push, Release, Secret
from services.registry.models.applications import Application, LinkedVersion, LinkState
from services.registry.models.base import Answered, AuditEntry, Base, FeedEntry, FeedVersion, Work
from services.registry.models.images import Image, ImageBlob, ImagePush, ImageWork
from services.registry.models.satellites import (
    AcceptedKeys,
    Launch,
    Order,
    Satellite,
    SatelliteRun,
    SatelliteUsage,
    SatelliteVersion,
)

__all__ = [
    "AcceptedKeys",
    "Algorithm",
    "Answered",
    "Application",
    "AuditEntry",
    "Base",
    "Build",
    "BuildLogChunk",
    "Call",
    "FeedEntry",
    "FeedVersion",
    "Image",
    "ImageBlob",
    "ImagePush",
    "ImageWork",
    "Launch",
    "LinkState",
    "LinkedVersion",
    "Order",
    "Push",
    "Release",
    "Satellite",
    "SatelliteRun",
    "SatelliteUsage",
    "SatelliteVersion",
    "Secret",
    "Work",
]
