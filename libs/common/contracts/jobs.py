"""Jobs: work that one of several consumers does. Each is a hint that a row waits; the row says what."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from libs.common.contracts.messages import Message

BUILD_QUEUE = "build"
DEPLOY_QUEUE = "deployer"


def image_queue(platform: str) -> str:
    """The queue of workers that make images for a platform, such as `linux/amd64`."""
    return f"image.{platform.replace('/', '-')}"


def worker_queue(worker_id: str) -> str:
    """The queue of one worker."""
    return f"worker.{worker_id}"


class BuildRequested(Message):
    """A build waits to be claimed. To `BUILD_QUEUE`, from the registry."""

    kind: ClassVar[str] = "build.requested"
    version: ClassVar[int] = 1

    build_id: UUID


class ImageRequested(Message):
    """An image waits to be made. To `image_queue(platform)`, from the registry."""

    kind: ClassVar[str] = "image.requested"
    version: ClassVar[int] = 1

    image_id: UUID


class ImagePushRequested(Message):
    """An image waits to be pushed. To `image_queue(platform)`, from the registry."""

    kind: ClassVar[str] = "image_push.requested"
    version: ClassVar[int] = 1

    push_id: UUID


class OrdersChanged(Message):
    """What should run on a worker changed: it reports, and gets its orders. To `worker_queue(id)`."""

    kind: ClassVar[str] = "orders.changed"
    version: ClassVar[int] = 1

    worker_id: str
    replica_ids: tuple[UUID, ...] = ()
    """Those that changed, for the log."""


class LaunchChanged(Message):
    """What a launch should run changed. To `DEPLOY_QUEUE`, from the registry; any deployer takes it."""

    kind: ClassVar[str] = "launch.changed"
    version: ClassVar[int] = 1

    launch_id: UUID
    deployment_id: UUID
