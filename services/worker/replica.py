"""The life of one replica on this worker, from order to end.

One task carries it: prepare, launch, wait until it has loaded, watch it, end it, clean up. Others only ask (`drain`,
`stop`) and read `state`. A replica that was running when the last worker ended is taken up where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic, perf_counter

from libs.common import logs
from libs.common.contracts.replicas import TERMINAL, TRANSITIONS, ReplicaReport, ReplicaSpec, ReplicaState
from libs.common.states import may, step
from services.worker import metrics
from services.worker.control import Control, Health, NoAnswer
from services.worker.environments import Prepared
from services.worker.handles import Handle
from services.worker.processes import Process
from services.worker.replica_folder import ReplicaFolder
from services.worker.replica_launch import ReplicaFailed, ReplicaHost, launch, prepare

log = logs.get(__name__)

_LAUNCH_SECONDS = 30.0
"""On top of the load timeout, which the runner keeps itself."""
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2
_HEALTH_SECONDS = 5.0
_SILENT_SECONDS = 30.0
_STOP_SECONDS = 5.0
"""For the runner to answer the calls under way and end by itself."""

_STATES = {
    "starting": ReplicaState.STARTING,
    "ready": ReplicaState.READY,
    "busy": ReplicaState.READY,
    "draining": ReplicaState.DRAINING,
}


class Replica:
    """One replica. `changed` is called after each change of what `report` says."""

    def __init__(self, host: ReplicaHost, spec: ReplicaSpec, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state = ReplicaState.WANTED
        self._host = host
        self._changed = changed
        self._reason: str | None = None
        self._since = datetime.now(UTC)
        self._folder: ReplicaFolder | None = None
        self._process: Process | None = None
        self._handle: Handle | None = None
        self._prepared: Prepared | None = None
        self._uid: int | None = None
        self._draining = asyncio.Event()
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    # What others ask

    def start(self) -> None:
        """Begin its life."""
        self._task = asyncio.create_task(self._live(self._begin))

    def adopt(self, folder: ReplicaFolder, handle: Handle, process: Process) -> None:
        """Go on with one that an earlier worker started."""
        self._folder, self._handle, self._process, self._uid = folder, handle, process, handle.uid
        self._prepared = Prepared(handle.tree, handle.environment)
        self._host.environments.keep(self._prepared, str(self.spec.id))
        self._host.users.keep(handle.uid)
        self.state, self._since = handle.state, handle.since
        self._task = asyncio.create_task(self._live(self._resume))

    def end_as(self, state: ReplicaState, reason: str | None) -> None:
        """It is not running and never will be."""
        self._become(state, reason)

    def drain(self) -> None:
        """Finish the calls under way, take no further one, then end."""
        self._draining.set()

    async def stop(self) -> None:
        """End it now; returns when nothing of it is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.state not in TERMINAL:
            self._become(ReplicaState.STOPPED)

    async def leave(self) -> None:
        """Let it run on without this worker."""
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Until it has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def report(self) -> ReplicaReport:
        serving = self.state in (ReplicaState.READY, ReplicaState.DRAINING)
        address = self._handle.address if serving and self._handle is not None else None
        return ReplicaReport(
            id=self.spec.id, state=self.state, reason=self._reason, address=address, since=self._since
        )

    def log_tail(self, limit: int) -> bytes | None:
        """The end of its log while it runs."""
        return None if self._folder is None else self._folder.log_tail(limit)

    # Its life

    async def _live(self, begin: Callable[[], object]) -> None:
        try:
            await begin()  # type: ignore[misc]
            await self._watch()
        except ReplicaFailed as failed:
            await self._clean_up()
            self._become(ReplicaState.FAILED, str(failed))
        except asyncio.CancelledError:
            if self._leaving:
                if self._process is not None:
                    self._process.let_go()
                raise
            await self._end()
            self._become(ReplicaState.STOPPED)
        except Exception as fault:
            log.exception("replica_fault", replica=str(self.spec.id))
            await self._clean_up()
            self._become(ReplicaState.FAILED, f"the worker failed: {type(fault).__name__}: {fault}")
        else:
            await self._clean_up()
            self._become(ReplicaState.STOPPED)
