"""All routes of an application, with the gates that stand before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from libs.common.auth import GATES


@dataclass(frozen=True)
class GatedRoute:
    method: str
    path: str
    gates: tuple[str, ...]
    """Names of the gates, of which there should be one."""


def routes_of(app: FastAPI) -> Iterator[GatedRoute]:
    """Every route of the application, once per method."""
    for route in iter_route_contexts(app.routes):
        gates = tuple(
            dependency.dependency.__name__
            for dependency in route.dependencies or ()
            if dependency.dependency in GATES and dependency.dependency is not None
        )
        for method in sorted(route.methods or ()):
            yield GatedRoute(method, route.path or "", gates)
