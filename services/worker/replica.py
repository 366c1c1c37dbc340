"""The life of one replica on this worker, from order to end.

One task carries it: prepare, launch, wait until it has loaded, watch it, end it, clean up. Others only ask (`drain`,
`stop`) and read `state`. A replica that was running when the last worker ended is taken up where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import Any

from libs.common import logs
from libs.common.contracts.replicas import TRANSITIONS, ReplicaReport, ReplicaSpec, ReplicaState
from libs.common.hosts import host_id
from libs.common.states import may, step
from services.worker import metrics
from services.worker.control import Control, Health, NoAnswer
from services.worker.environments import Prepared
from services.worker.gpus import NoGpuLeft
from services.worker.handles import Handle
from services.worker.replica_folder import OUT_BYTES, ReplicaFolder
from services.worker.replica_launch import ReplicaFailed, ReplicaHost, launch, prepare
from services.worker.replica_log import Kept
from services.worker.runner import state as runner_states
from services.worker.runtimes.protocol import Exit
from services.worker.users import NoUserLeft

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
    runner_states.STARTING: ReplicaState.STARTING,
    runner_states.READY: ReplicaState.READY,
    runner_states.BUSY: ReplicaState.READY,
    runner_states.DRAINING: ReplicaState.DRAINING,
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
        self._ended: asyncio.Task[Exit] | None = None
        """Waits for the end of its container, once that was started."""
        self._handle: Handle | None = None
        self._prepared: Prepared | None = None
        self._uid: int | None = None
        self._gpus: tuple[int, ...] = ()
        self.unended = False
        """Its container could not be ended, and may still have the user and the GPUs that it was given."""
        self._launched = False
        """It may have a container."""
        self._draining = asyncio.Event()
        self._leaving = False
        self._ending = False
        """Its end has begun, and must not be disturbed."""
        self._task: asyncio.Task[None] | None = None

    # What others ask

    def start(self) -> None:
        """Begin its life."""
        self._task = asyncio.create_task(self._live(self._begin))

    def adopt(self, folder: ReplicaFolder, handle: Handle) -> None:
        """Go on with one that an earlier worker started."""
        here = handle.address.model_copy(update={"host_id": host_id()})  # a worker may come back in a new container
        self._folder, self._handle, self._uid = folder, handle.model_copy(update={"address": here}), handle.uid
        self._launched, self._ended = True, self._wait_for_end()
        self._prepared = Prepared(handle.tree, handle.environment)
        self._host.environments.keep(self._prepared, str(self.spec.id))
        self._host.users.keep(handle.uid)
        self._gpus = handle.gpus
        self._host.gpus.keep(handle.gpus)
        self.state, self._since = handle.state, handle.since
        self._task = asyncio.create_task(self._live(self._resume))

    def end_as(self, state: ReplicaState, reason: str | None) -> None:
        """It is not running and never will be."""
        self._become(state, reason)

    def drain(self) -> None:
        """Finish the calls under way, take no further one, then end."""
        self._draining.set()

    def stop(self) -> None:
        """End it now. Asking again changes nothing."""
        if self._task is not None and not self._ending:
            self._ending = True
            self._task.cancel()

    def leave(self) -> None:
        """Let it run on without this worker."""
        self._leaving = True
        self.stop()

    async def wait(self) -> None:
        """Until its life, or this worker's part of it, is over."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def give_back(self) -> None:
        """Others may have its user and its GPUs: nothing of it runs any more."""
        self.unended = False
        self._host.users.give_back(self._uid)
        await self._host.gpus.give_back(self._gpus)

    def report(self) -> ReplicaReport:
        serving = self.state in (ReplicaState.READY, ReplicaState.DRAINING)
        address = self._handle.address if serving and self._handle is not None else None
        return ReplicaReport(
            id=self.spec.id, state=self.state, reason=self._reason, address=address, since=self._since
        )

    async def log(self) -> Kept | None:
        """What there is of its log while it has not ended."""
        folder = self._folder
        return None if folder is None else await asyncio.to_thread(folder.collected_log, b"")

    # Its life

    async def _live(self, begin: Callable[[], Awaitable[None]]) -> None:
        try:
            await begin()
            await self._watch()
        except ReplicaFailed as failed:
            await self._clean_up(ReplicaState.FAILED, str(failed))
        except asyncio.CancelledError:
            if not self._leaving:
                with self._carrying_on("runner"):
                    await self._ask_to_stop()
                await self._clean_up(ReplicaState.STOPPED)
            elif self._ended is not None:
                self._ended.cancel()
        except Exception as fault:
            log.exception("replica_fault", replica=str(self.spec.id))
            await self._clean_up(ReplicaState.FAILED, f"the worker failed: {type(fault).__name__}: {fault}")
        else:
            await self._clean_up(ReplicaState.STOPPED)

    async def _begin(self) -> None:
        async with self._host.starts:
            begun = perf_counter()
            self._become(ReplicaState.STARTING)
            try:
                await self._launch()
                await self._until_loaded()
            except ReplicaFailed:
                metrics.STARTS.labels("failed").inc()
                raise
            metrics.STARTS.labels("ready").inc()
            metrics.START_SECONDS.labels(self.spec.language).observe(perf_counter() - begun)

    async def _resume(self) -> None:
        if self.state is ReplicaState.STARTING:
            await self._until_loaded()
        elif self.state is ReplicaState.DRAINING:
            self._draining.set()

    async def _launch(self) -> None:
        host = self._host
        try:
            self._uid = host.users.take()
            self._folder = ReplicaFolder.create(host.folders.run, self._uid)
        except (NoUserLeft, OSError) as error:
            raise ReplicaFailed(f"the replica's folder cannot be made: {error}") from error
        self._prepared = await prepare(host, self.spec, self._folder)
        try:
            self._gpus = await host.gpus.take(self.spec.gpus)
        except NoGpuLeft as error:
            raise ReplicaFailed(str(error)) from error
        self._launched = True
        self._handle = await launch(host, self.spec, self._folder, self._prepared, self._uid, self._gpus)
        self._ended = self._wait_for_end()

    async def _until_loaded(self) -> None:
        """Wait until the runner says that the algorithm has loaded. Raises ReplicaFailed."""
        ended, control = self._running()
        limit = self.spec.load_timeout_seconds + _LAUNCH_SECONDS
        end, pause = monotonic() + limit, _FIRST_PAUSE
        while monotonic() < end:
            if ended.done():
                raise ReplicaFailed(await self._end_reason(ended.result()))
            with contextlib.suppress(NoAnswer):
                health = await control.health()
                if health.state == "ready" and health.reason is not None and self.spec.must_load:
                    raise ReplicaFailed(health.reason)
                if _STATES.get(health.state) in (ReplicaState.READY, ReplicaState.DRAINING):
                    self._become(_STATES[health.state], health.reason)
                    return
            await asyncio.wait({ended}, timeout=pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        raise ReplicaFailed(f"the replica was not ready within {limit:.0f} seconds")

    async def _watch(self) -> None:
        """Until it has ended as it was told to. Raises ReplicaFailed when it ends otherwise, or falls silent."""
        ended, control = self._running()
        asked = asyncio.create_task(self._draining.wait())
        heard = monotonic()
        try:
            while not ended.done():
                if self._draining.is_set() and self.state is ReplicaState.READY:
                    self._become(ReplicaState.DRAINING)
                    await control.drain()
                waiting: list[asyncio.Future[Any]] = [ended, *([] if asked.done() else [asked])]
                await asyncio.wait(waiting, timeout=_HEALTH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                try:
                    self._hear(await control.health())
                    heard = monotonic()
                except NoAnswer as silence:
                    if not ended.done() and monotonic() - heard > _SILENT_SECONDS:
                        raise ReplicaFailed(f"{silence}, for {_SILENT_SECONDS:.0f} seconds") from silence
        except NoAnswer as silence:
            raise ReplicaFailed(f"it could not be told to drain: {silence}") from silence
        finally:
            asked.cancel()
        if self.state is not ReplicaState.DRAINING:
            metrics.LOST.inc()
            raise ReplicaFailed(await self._end_reason(ended.result()))

    def _hear(self, health: Health) -> None:
        state = _STATES.get(health.state, self.state)
        if may(TRANSITIONS, self.state, state) and (state, health.reason) != (self.state, self._reason):
            self._become(state, health.reason)

    async def _end_reason(self, ended: Exit) -> str:
        """Why it ended, and its last words."""
        if self._folder is None:
            return "the replica has ended"
        out = await self._out()
        said = self._folder.said(out)
        return (self._folder.failure(out) or ended.words) + (f"\nIts last output:\n{said}" if said else "")

    async def _out(self) -> bytes:
        return await self._host.containers.logs(self.spec.id, OUT_BYTES)

    def _wait_for_end(self) -> asyncio.Task[Exit]:
        return asyncio.create_task(self._host.containers.wait(self.spec.id))

    async def _ask_to_stop(self) -> None:
        """Give the runner the time to answer what is under way. What does not end by itself is killed later."""
        if self._ended is not None and not self._ended.done():
            with contextlib.suppress(NoAnswer):
                await self._running()[1].stop()
                await asyncio.wait({self._ended}, timeout=_STOP_SECONDS)

    async def _clean_up(self, state: ReplicaState, reason: str | None = None) -> None:
        """Nothing of it is left but its log; then it is in its last state, whatever could not be done."""
        self._ending = True
        host = self._host
        out = b""
        with self._carrying_on("output"):
            out = await self._out()
        if self._launched:
            await self._end_container()
        if self._ended is not None:
            self._ended.cancel()
        if self._folder is not None:
            with self._carrying_on("folder"):
                await asyncio.to_thread(self._folder.archive, host.folders.logs, self.spec.id, out)
            self._folder = None
        if self._prepared is not None:
            with self._carrying_on("environment"):
                host.environments.release(self._prepared, str(self.spec.id))
            self._prepared = None
        if not self.unended:
            await self.give_back()
        self._become(state, reason)

    async def _end_container(self) -> None:
        try:
            await self._host.containers.stop(self.spec.id)
        except Exception:
            self.unended = True
            log.exception("replica_not_killed", replica=str(self.spec.id), uid=self._uid, gpus=self._gpus)

    @contextlib.contextmanager
    def _carrying_on(self, at: str) -> Iterator[None]:
        """A failure here must not leave the rest of its end undone."""
        try:
            yield
        except Exception:
            log.exception("replica_not_cleaned_up", replica=str(self.spec.id), at=at)

    def _running(self) -> tuple[asyncio.Task[Exit], Control]:
        if self._ended is None or self._folder is None:
            raise ReplicaFailed("the replica was never started")
        return self._ended, Control(self._folder.control)

    def _become(self, state: ReplicaState, reason: str | None = None) -> None:
        self.state = step(TRANSITIONS, self.state, state)
        self._reason = reason
        self._since = datetime.now(UTC)
        if self._handle is not None and self._folder is not None:
            self._handle = self._handle.model_copy(update={"state": state, "since": self._since})
            try:
                self._handle.write(self._folder.path)
            except OSError as error:  # a worker that comes after learns its state from the runner
                log.warning("replica_not_noted", replica=str(self.spec.id), reason=str(error))
        log.info("replica_" + state, replica=str(self.spec.id), revision=str(self.spec.revision_id), reason=reason)
        self._changed()
