"""Which worker takes a replica, why none does, and which idle replicas give way. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from services.deployer.view import IdleReplica, Wish, WorkerView


class _Node:
    """A worker with the room that is left while a plan is made."""

    def __init__(self, worker: WorkerView) -> None:
        self.worker = worker
        self.free_mib = worker.memory_mib - worker.used_mib
        self.free_slots = worker.slots - worker.used_slots

    def has_room(self, wish: Wish, *, extra_mib: int = 0, extra_slots: int = 0) -> bool:
        return self.free_mib + extra_mib >= wish.memory_mib and self.free_slots + extra_slots >= 1

    def take(self, wish: Wish) -> None:
        self.free_mib -= wish.memory_mib
        self.free_slots -= 1

    @property
    def load(self) -> float:
        """The fuller of memory and slots, 0 to 1."""
        memory = 1 - self.free_mib / max(self.worker.memory_mib, 1)
        slots = 1 - self.free_slots / max(self.worker.slots, 1)
        return max(memory, slots)


class Fleet:
    """The workers, with the room that is left on them."""

    def __init__(self, workers: Iterable[WorkerView], now: datetime) -> None:
        self._workers = {worker.id: worker for worker in workers}
        self.alive = {worker.id for worker in self._workers.values() if worker.lease_until >= now}
        self._open = {
            worker.id: _Node(worker)
            for worker in self._workers.values()
            if worker.id in self.alive and not worker.draining
        }

    def draining(self, worker_id: str) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and worker.draining

    def place(self, wish: Wish, *, beside: Collection[str], avoid: Collection[str]) -> str | None:
        """Take room for one replica on the best worker, or None when none has room.

        Best is one where no start failed not long ago, then the fewest replicas of the same deployment, then the
        least load.

        Args:
            beside: workers of the deployment's replicas, each as often as it has one.
            avoid: workers where a start failed not long ago.
        """
        nodes = [node for node in self._speaking(wish) if node.has_room(wish)]
        if not nodes:
            return None
        copies = {node.worker.id: sum(one == node.worker.id for one in beside) for node in nodes}
        best = min(nodes, key=lambda n: (n.worker.id in avoid, copies[n.worker.id], n.load, n.worker.id))
        best.take(wish)
        return best.worker.id

    def obstacle(self, wish: Wish) -> str:
        """Why no worker takes such a replica, for people. The same words as long as it is the same reason."""
        if not self.alive:
            return "no worker is connected"
        if not self._open:
            return "all connected workers are being drained"
        speaking = self._speaking(wish)
        if not speaking:
            wanted = ", ".join(f"{key}={value}" for key, value in sorted(wish.labels))
            return f"no worker runs {wish.language.value}" + (f" with the labels {wanted}" if wanted else "")
        if all(node.worker.memory_mib < wish.memory_mib for node in speaking):
            return f"no worker is large enough: a replica needs {wish.memory_mib} MiB of memory"
        if all(node.free_slots < 1 for node in speaking):
            return "no worker takes another replica: all have as many as they may"
        return f"no worker has {wish.memory_mib} MiB of memory free"

    def fits_instead(self, wish: Wish, worker_id: str, memory_mib: int) -> bool:
        """Would a replica fit on the worker once one that uses so much memory is gone?"""
        node = self._open.get(worker_id)
        return (
            node is not None
            and node in self._speaking(wish)
            and node.has_room(wish, extra_mib=memory_mib, extra_slots=1)
        )

    def room_is_coming(self, wish: Wish) -> bool:
        """Will what drains already leave room for a replica somewhere?"""
        return any(
            node.has_room(wish, extra_mib=node.worker.leaving_mib, extra_slots=node.worker.leaving_slots)
            for node in self._speaking(wish)
        )

    def victims(self, wish: Wish, idle: Iterable[IdleReplica], taken: Collection[UUID]) -> list[IdleReplica]:
        """Idle replicas whose end makes room for one replica: on one worker, few, and those longest idle.

        Empty when their end would not help.

        Args:
            taken: those that give way to others already.
        """
        ordered = sorted(idle, key=lambda one: (one.idle_since, one.id))
        choices = []
        for node in self._speaking(wish):
            chosen: list[IdleReplica] = []
            freed = node.worker.leaving_mib
            for one in ordered:
                if one.worker_id != node.worker.id or one.id in taken:
                    continue
                chosen.append(one)
                freed += one.memory_mib
                if node.has_room(wish, extra_mib=freed, extra_slots=node.worker.leaving_slots + len(chosen)):
                    choices.append(chosen)
                    break
        return min(choices, key=lambda chosen: (len(chosen), chosen[0].idle_since, chosen[0].id), default=[])

    def _speaking(self, wish: Wish) -> list[_Node]:
        """Workers that could run such a replica, if they had room."""
        return [
            node
            for node in self._open.values()
            if wish.language in node.worker.languages and wish.labels <= node.worker.labels
        ]
