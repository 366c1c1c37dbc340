"""All replicas of this worker: found again at the start, changed as planned, ended or left alone at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from uuid import UUID

from libs.common import logs
from libs.common.contracts.replicas import TERMINAL, ReplicaOrder, ReplicaReport, ReplicaState
from libs.common.loops import Loop
from services.worker import handles, metrics, replica_log
from services.worker.files import remove
from services.worker.plan import Actions, plan
from services.worker.replica import Replica
from services.worker.replica_folder import OUT_BYTES, ReplicaFolder
from services.worker.replica_launch import ReplicaHost
from services.worker.replica_log import Kept, Part
from services.worker.runtimes.protocol import Inspection, RuntimeUnavailable

log = logs.get(__name__)

_TIDY_SECONDS = 60.0


class Replicas:
    """Keeps one `Replica` for each that the deployer named and that is not forgotten."""

    def __init__(self, host: ReplicaHost, changed: Callable[[], None]) -> None:
        self._host = host
        self._notify = changed
        self._known: dict[UUID, Replica] = {}
        self._unended: dict[UUID, Replica] = {}
        """Forgotten, but for what is left of them."""
        self.tidying = Loop("worker_strays", self.tidy, every=_TIDY_SECONDS)

    async def recover(self) -> None:
        """Take up what an earlier worker left: adopt what runs, note what ended, remove what never began, and stop
        what belongs to none of them."""
        found = await self._host.containers.list()
        for path in self._host.folders.run.iterdir():
            if path != self._host.door.folder:
                await self._recover(ReplicaFolder(path), found)
        for replica_id in found:
            if replica_id not in self._known:
                log.warning("stray_removed", replica=str(replica_id))
                await self._stop(replica_id)

    async def tidy(self) -> None:
        """End containers that should have ended. An engine that was away for long did not hear of it then."""
        try:
            for replica_id in await self._host.containers.list():
                replica = self._known.get(replica_id)
                if replica is None or replica.state in TERMINAL:
                    log.warning("stray_removed", replica=str(replica_id))
                    await self._stop(replica_id)
            for replica in [each for each in (*self._known.values(), *self._unended.values()) if each.unended]:
                if await self._host.containers.inspect(replica.spec.id) is None:
                    await replica.give_back()
                    self._unended.pop(replica.spec.id, None)
        except RuntimeUnavailable as error:
            log.warning("strays_not_sought", reason=str(error))

    async def clear(self) -> None:
        """End what an earlier one left, of which nobody knows any more."""
        for replica_id in await self._host.containers.list():
            await self._stop(replica_id)
        for path in self._host.folders.run.iterdir():
            if path != self._host.door.folder:
                await asyncio.to_thread(remove, path)

    def apply(self, orders: Mapping[UUID, ReplicaOrder]) -> Actions:
        """Do what follows from a deployer's orders. Returns at once; what takes time goes on by itself."""
        wanted = {replica_id: order.drain for replica_id, order in orders.items()}
        actions = plan(wanted, {replica_id: replica.state for replica_id, replica in self._known.items()})
        for replica_id in actions.accept:
            self._add(orders[replica_id]).start()
        for replica_id in actions.decline:
            self._add(orders[replica_id]).end_as(ReplicaState.STOPPED, None)
        for replica_id in actions.drain:
            self._known[replica_id].drain()
        for replica_id in actions.stop:
            self._known[replica_id].stop()
        for replica_id in actions.forget:
            replica = self._known.pop(replica_id)
            if replica.unended:
                self._unended[replica_id] = replica
        if actions.forget:
            self._count()
        return actions

    def reports(self) -> tuple[ReplicaReport, ...]:
        return tuple(replica.report() for replica in self._known.values())

    async def log(self, replica_id: UUID, offset: int, limit: int) -> tuple[Part, bool] | None:
        """At most `limit` bytes of a replica's log from `offset` on, and whether that is the end of a log that grows
        no more. Also for a while after it ended; None when there is none."""
        replica = self._known.get(replica_id)
        kept = None if replica is None else await replica.log()
        ended = kept is None and (replica is None or replica.state in TERMINAL)
        if kept is None:
            kept = await asyncio.to_thread(replica_log.archived, self._host.folders.logs, replica_id)
        if kept is None and replica is None:
            return None
        found = replica_log.part(kept or Kept(0, b""), offset, limit, ended=ended)
        return found, ended and found.whole

    async def stop_all(self, *, drain_seconds: float) -> None:
        """End every replica: those that serve may finish their calls for so long."""
        serving = [replica for replica in self._known.values() if replica.state is ReplicaState.READY]
        for replica in serving:
            replica.drain()
        others = [replica for replica in self._known.values() if replica not in serving]
        for replica in others:
            if replica.state is not ReplicaState.DRAINING:
                replica.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await asyncio.gather(*(replica.wait() for replica in self._known.values()))
        for replica in self._known.values():
            replica.stop()
        await asyncio.gather(*(replica.wait() for replica in self._known.values()))

    async def leave_all(self) -> None:
        """Let all run on. What is still being prepared is dropped."""
        for replica in self._known.values():
            replica.leave()
        await asyncio.gather(*(replica.wait() for replica in self._known.values()))

    def _add(self, order: ReplicaOrder) -> Replica:
        replica = self._known[order.spec.id] = Replica(self._host, order.spec, self._changed)
        self._count()
        return replica

    def _changed(self) -> None:
        self._count()
        self._notify()

    def _count(self) -> None:
        states = Counter(replica.state for replica in self._known.values())
        for state in ReplicaState:
            metrics.REPLICAS.labels(state).set(states[state])

    async def _recover(self, folder: ReplicaFolder, found: Mapping[UUID, Inspection]) -> None:
        handle = handles.read(folder.path)
        inspection = None if handle is None else found.get(handle.spec.id)
        if handle is None or (inspection is None and handle.state is ReplicaState.STARTING):
            await asyncio.to_thread(remove, folder.path)
            return
        replica = self._known[handle.spec.id] = Replica(self._host, handle.spec, self._changed)
        if inspection is not None and inspection.running and handle.state not in TERMINAL:
            log.info("replica_adopted", replica=str(handle.spec.id), state=handle.state)
            replica.adopt(folder, handle)
            return
        out = await self._host.containers.logs(handle.spec.id, OUT_BYTES)
        known = None if inspection is None or inspection.exit is None else inspection.exit.reason
        reason = folder.failure(out) or "it ended while its worker was away" + (f": {known}" if known else "")
        await self._stop(handle.spec.id)
        await asyncio.to_thread(folder.archive, self._host.folders.logs, handle.spec.id, out)
        replica.end_as(ReplicaState.FAILED, reason)

    async def _stop(self, replica_id: UUID) -> None:
        try:
            await self._host.containers.stop(replica_id)
        except TimeoutError:
            log.error("replica_not_killed", replica=str(replica_id))  # noqa: TRY400
