"""Which worker takes a replica, why none does, and which idle replicas give way. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.deployer.view import IdleReplica, Room, Wish, WorkerView

_NOTHING = Room()


class _Node:
    """A worker with the room that is left while a plan is made."""

    def __init__(self, worker: WorkerView) -> None:
        self.worker = worker
        self.free = worker.capacity - worker.used

    def has_room(self, wish: Wish, *, extra: Room = _NOTHING) -> bool:
        return (self.free + extra).holds(wish.room)

    def take(self, wish: Wish) -> None:
        self.free -= wish.room

    def load(self, wish: Wish) -> float:
        """The largest share that is gone of what such a replica takes up: 0 to 1."""
        return self.free.fullness(self.worker.capacity, wish.room)


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
        best = min(nodes, key=lambda n: (n.worker.id in avoid, copies[n.worker.id], n.load(wish), n.worker.id))
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
        needs = replace(wish.room, slots=0)
        capacities = [node.worker.capacity for node in speaking]
        if not any(capacity.holds(needs) for capacity in capacities):
            return f"no worker is large enough: a replica needs {_lacking(needs, capacities)}"
        free = [node.free for node in speaking]
        if all(room.slots < 1 for room in free):
            return "no worker takes another replica: all have as many as they may"
        return f"no worker has {_lacking(needs, free)} free"

    def fits_instead(self, wish: Wish, worker_id: str, room: Room) -> bool:
        """Would a replica fit on the worker once one that takes up so much is gone?"""
        node = self._open.get(worker_id)
        return node is not None and node in self._speaking(wish) and node.has_room(wish, extra=room)

    def room_is_coming(self, wish: Wish) -> bool:
        """Will what drains already leave room for a replica somewhere?"""
        return any(node.has_room(wish, extra=node.worker.leaving) for node in self._speaking(wish))

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
            freed = node.worker.leaving
            for one in ordered:
                if one.worker_id != node.worker.id or one.id in taken:
                    continue
                chosen.append(one)
                freed += one.room
                if node.has_room(wish, extra=freed):
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


def _lacking(needs: Room, offers: Collection[Room]) -> str:
    """In words what none of the offers has enough of; all that is needed when that lacks only together."""
    parts = [Room(memory_mib=needs.memory_mib), Room(millicpus=needs.millicpus), Room(gpus=needs.gpus)]
    needed = [part for part in parts if part != _NOTHING]
    short = [part for part in needed if not any(offer.holds(part) for offer in offers)]
    return " and ".join(_words(part) for part in short or needed)


def _words(part: Room) -> str:
    if part.memory_mib:
        return f"{part.memory_mib} MiB of memory"
    count, noun = (part.gpus, "GPU") if part.gpus else (part.millicpus / 1000, "processor")
    return f"{count:g} {noun}{'' if count == 1 else 's'}"
