"""What a gateway knows, as lookup tables, and where it knows it from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from libs.common.directory import Directory
from services.gateway.applications import Applications
from services.gateway.callers import Callers
from services.gateway.calls import Calls, Record
from services.gateway.launched import Launches
from services.gateway.pool import Pools
from services.gateway.table import Table
from services.gateway.tally import Gauges


class Knowledge:
    """Who calls, what can be called, and which replicas serve it. Calls read it; a source tells it of changes."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.table = Table(pools)
        self.launches = Launches(pools, self.table)
        self.applications = Applications(pools, self.table)
        self.directory = Directory()


class Source(Protocol):
    """Where a gateway's knowledge comes from: the platform, or a satellite's plan."""

    callers: Callers
    gauges: Gauges
    """For `/metrics`, beside those of all gateways."""
    launched_only: bool
    """Addresses of launches are answered, and algorithms by their own names are not."""
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    """For `/readyz`, by name; each raises while the gateway is not ready."""

    def record(self, record: Record, /) -> None:
        """Take the record of a call that is over."""

    async def confirm(self) -> bool:
        """Catch up with what can be called; False when that was not possible."""

    def notice(self) -> None:
        """A call waits for a replica."""

    def running(self, calls: Calls) -> AbstractAsyncContextManager[None]:
        """Tell of what is known, and of changes while the context is open."""
