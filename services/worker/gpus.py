"""The GPUs of a machine: which there are, and which replica has which for itself.

GPU N is what NVIDIA's driver shows as the device node `nvidiaN`. Beside those are nodes that all who use one need.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_NODE = re.compile(r"nvidia([0-9]+)")
_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_WAIT_SECONDS = 30.0


class NoGpuLeft(Exception):
    """Fewer GPUs are free than a replica needs; the text says so."""


class Gpus:
    """Hands out GPUs, none of them twice."""

    def __init__(self, indexes: Iterable[int]) -> None:
        self._free = set(indexes)
        self._mine = frozenset(self._free)
        self._changed = asyncio.Condition()

    @property
    def count(self) -> int:
        return len(self._mine)

    async def take(self, number: int, *, patience: float = _WAIT_SECONDS) -> tuple[int, ...]:
        """So many GPUs, until they are given back. Waits a while for those of a replica that is ending.

        Raises NoGpuLeft.
        """
        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(lambda: len(self._free) >= number)
                return self._take(sorted(self._free)[:number])
        except TimeoutError:
            raise NoGpuLeft(
                f"it needs {number} GPUs, and {len(self._free)} of the {self.count} of this worker are free"
            ) from None

    def keep(self, indexes: Sequence[int]) -> None:
        """A replica that was found again has them."""
        self._take(indexes)

    async def give_back(self, indexes: Sequence[int]) -> None:
        async with self._changed:
            self._free |= self._mine.intersection(indexes)
            self._changed.notify_all()

    def _take(self, indexes: Sequence[int]) -> tuple[int, ...]:
        self._free.difference_update(indexes)
        return tuple(indexes)


def offered(setting: str | None, devices: Path) -> tuple[int, ...]:
    """Indexes of the GPUs that a worker offers.

    Args:
        setting: the indexes, separated by commas; None for all that have a node.
        devices: the folder with the nodes, such as /dev.
    """
    if setting is not None:
        return tuple(sorted({int(index) for index in setting.split(",") if index}))
    names = (_NODE.fullmatch(path.name) for path in devices.glob("nvidia*"))
    return tuple(sorted(int(name[1]) for name in names if name))


def nodes(devices: Path, indexes: Sequence[int]) -> Mapping[str, Path]:
    """What a program needs to see of a folder of device nodes to use these GPUs, by name; nothing without any."""
    if not indexes:
        return {}
    paths = [devices / name for name in (*(f"nvidia{index}" for index in indexes), *_SHARED)]
    return {path.name: path for path in paths if path.exists()}


def variables(indexes: Sequence[int], *, others_hidden: bool) -> dict[str, str]:
    """What tells programs which GPUs to use (NVIDIA container toolkit, CUDA programming guide).

    Args:
        others_hidden: the program sees no node of another one. CUDA counts what it can open, from 0 on.
    """
    seen = range(len(indexes)) if others_hidden else indexes
    return {
        "NVIDIA_VISIBLE_DEVICES": ",".join(map(str, indexes)) or "void",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, seen)),
    }
