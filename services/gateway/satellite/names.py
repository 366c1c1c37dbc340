"""Replicas that are found by name: each address of an entry's name is one, as headless Services of Kubernetes say.

A name is looked up anew each second. One that does not exist has no replicas now. While nobody answers about it,
those that were found stay.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID, uuid5

from pydantic import Field, RootModel, ValidationError

from libs.common import logs
from libs.common.contracts.identity import Wire
from libs.common.contracts.replicas import Address, RouteReplica, derived_token
from libs.common.loops import Loop
from services.gateway.satellite.routes import Routes

log = logs.get(__name__)

EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 0.8
"""A name that takes longer is looked at in a later turn."""
_NAME = "^[A-Za-z0-9_:]([A-Za-z0-9_.:-]*[A-Za-z0-9_.])?$"
_ABSENT = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
"""The answer is that there is no such name, or that it has no address."""

Resolve = Callable[[str], Awaitable[list[str]]]


class Place(Wire):
    """Where the replicas of one entry are."""

    host: str = Field(max_length=253, pattern=_NAME)
    port: int = Field(default=8080, ge=1, le=65535)


class _Places(RootModel[dict[UUID, Place]]):
    """The file's content."""


def read(document: bytes) -> Mapping[UUID, Place]:
    """Raises ValueError with words."""
    try:
        return _Places.model_validate_json(document).root
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in faults[:5])
        raise ValueError(
            f'it must hold {{"ROUTE": {{"host": "NAME", "port": 8080}}}}, ROUTE being an entry\'s id: {said}'
        ) from None


async def resolve(host: str) -> list[str]:
    """The addresses of a name. Raises OSError; socket.gaierror tells one that does not exist from a failure."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    of_four = {one[4][0] for one in found if one[0] == socket.AF_INET}
    # A replica that has an address of either kind is one, not two.
    return sorted(of_four or {str(one[4][0]) for one in found})


class NamedReplicas:
    """Args:
    routes: is told.
    secret: of which the tokens are made that the replicas of an entry want to be shown; None if they want none.
    concurrency: how many calls a replica of an entry runs at once.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        secret: str | None,
        concurrency: Callable[[UUID], int],
        resolve: Resolve = resolve,
    ) -> None:
        self._routes = routes
        self._secret = secret
        self._concurrency = concurrency
        self._resolve = resolve
        self._places: Mapping[UUID, Place] = {}
        self._asked: dict[str, asyncio.Task[list[str]]] = {}
        self.failures: dict[UUID, str] = {}
        """Why the replicas of an entry cannot be found."""
        self.loop = Loop("replica_names", self.once, every=EVERY_SECONDS)

    def take(self, document: bytes) -> None:
        """What the file says from now on. Raises ValueError."""
        places = read(document)
        for route in self._places.keys() - places.keys():
            self._routes.remove(route)
            self.failures.pop(route, None)
        self._places = places
        self.loop.wake()

    async def once(self) -> None:
        """Look all names up, and tell of what was answered. One that nobody answers about holds up no other."""
        for host in {place.host for place in self._places.values()}:
            if host not in self._asked:
                self._asked[host] = asyncio.create_task(self._ask(host))
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=_PATIENCE_SECONDS)
        answered = {host: task for host, task in self._asked.items() if task.done()}
        for host in answered:
            del self._asked[host]
        for route, place in self._places.items():
            if (task := answered.get(place.host)) is not None:
                self._take(route, place, task)

    async def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _ask(self, host: str) -> list[str]:
        try:
            return await self._resolve(host)
        except socket.gaierror as error:
            if error.errno in _ABSENT:
                return []
            raise

    def _take(self, route: UUID, place: Place, task: asyncio.Task[list[str]]) -> None:
        failure = None
        if (error := task.exception()) is not None:
            failure = f"{place.host} cannot be looked up: {error}"
        elif not (addresses := task.result()):
            failure = f"{place.host} has no address: no replica is ready there"
        if error is None:
            concurrency = self._concurrency(route)
            replicas = [self._replica(route, place, address, concurrency) for address in addresses]
            self._routes.set(route, replicas)
        if failure is not None and failure != self.failures.get(route):
            log.warning("no_replicas_found", route=str(route), reason=failure)
            self.failures[route] = failure
        elif failure is None and self.failures.pop(route, None) is not None:
            log.info("replicas_found", route=str(route), host=place.host)

    def _replica(self, route: UUID, place: Place, address: str, concurrency: int) -> RouteReplica:
        token = derived_token(self._secret, route) if self._secret is not None else None
        return RouteReplica(
            id=uuid5(route, f"{address} {place.port}"),
            address=Address(host_id="", host=address, port=place.port, token=token),
            concurrency=concurrency,
        )
