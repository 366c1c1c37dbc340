"""The replicas of a satellite's entries, as whoever starts or finds them says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from libs.common.contracts.replicas import Route, RouteReplica

Tell = Callable[[str, dict[str, Any] | None], None]


class Routes:
    """Made by who knows the replicas, and given to `create_app`. All of it happens in one event loop."""

    def __init__(self) -> None:
        self._routes: dict[UUID, Route] = {}
        self._tell: Tell | None = None

    def set(self, route: UUID, replicas: Sequence[RouteReplica] = (), *, failure: str | None = None) -> None:
        """These replicas serve an entry from now on. One that is named no more finishes its calls and gets no others.

        Args:
            route: `contracts/launches.py` entry_id, of the launch and the vanity URL.
            failure: why there are none; calls that wait are answered with it.
        """
        new = Route(revision_id=route, replicas=tuple(replicas), failure=failure)
        if self._routes.get(route) != new:
            self._routes[route] = new
            self._say(new)

    def remove(self, route: UUID) -> None:
        """The entry is none any more."""
        if self._routes.pop(route, None) is not None and self._tell is not None:
            self._tell(str(route), None)

    def of(self, route: UUID) -> Route | None:
        return self._routes.get(route)

    def follow(self, tell: Tell) -> None:
        """Tell a gateway of all routes, now and when they change."""
        self._tell = tell
        for one in self._routes.values():
            self._say(one)

    def _say(self, route: Route) -> None:
        if self._tell is not None:
            self._tell(str(route.revision_id), route.model_dump(mode="json"))
