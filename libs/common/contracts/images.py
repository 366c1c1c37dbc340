"""Container images that the platform makes, keeps and pushes: what a worker is asked, and what others get to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.identity import Wire

DIGEST = r"^sha256:[0-9a-f]{64}$"
PLATFORM = r"^linux/[a-z0-9][a-z0-9_.-]{0,30}$"
"""Operating system and architecture, by their names in images: `linux/amd64`."""


class WorkState(StrEnum):
    """Of something that workers do, and that can be done again."""

    WANTED = "wanted"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


WORK_TRANSITIONS: Mapping[WorkState, frozenset[WorkState]] = {
    WorkState.WANTED: frozenset({WorkState.RUNNING}),
    WorkState.RUNNING: frozenset({WorkState.WANTED, WorkState.READY, WorkState.FAILED}),
    WorkState.READY: frozenset({WorkState.WANTED}),
    WorkState.FAILED: frozenset({WorkState.WANTED}),
}
"""RUNNING goes back to WANTED when the worker that had it is lost; READY and FAILED when somebody asks again."""


class ImageSubject(Wire):
    """The revision that an image is made of."""

    revision_id: UUID
    owner: str
    name: str
    commit: str
    language: Language
    artifact: Artifact


class ImageClaim(Wire):
    """`POST /internal/images/{id}/claim`, `POST /internal/image-pushes/{id}/claim`."""

    worker: str = Field(min_length=1, max_length=255)
    platform: str = Field(pattern=PLATFORM)
    """That the worker runs on: environments are made of packages for it."""
    release: str = Field(max_length=64)
    """Of Constellation: it packs its own."""


class ImageSpec(Wire):
    """The answer: an image to make (409 when another worker has it, it is made, or it is not for this worker)."""

    id: UUID
    subject: ImageSubject | None
    """None: the image is that of the platform itself, for gateways of satellites."""
    lease_token: str
    lease_seconds: float
    timeout_seconds: float


class PushSpec(Wire):
    """The answer: an image to push."""

    id: UUID
    digest: str
    """Of the manifest, which is a blob of the registry service, as all that it names."""
    reference: str
    """Where to, with a tag."""
    lease_token: str
    lease_seconds: float
    timeout_seconds: float


class Lease(Wire):
    """`POST .../lease`: the worker goes on with it. 409 when it has lost it."""

    lease_token: str


class ImageResult(Wire):
    """`POST .../result`: how making or pushing ended."""

    lease_token: str
    digest: str | None = Field(default=None, pattern=DIGEST)
    """Of the manifest; None when it failed."""
    base: str | None = Field(default=None, max_length=1000)
    """The base image that it was made on, with its digest."""
    reason: str | None = None
    """For people: why it failed, in a sentence."""


class ImageStatus(Wire):
    """One image, and where it can be had."""

    image_id: UUID | None = None
    state: WorkState
    digest: str | None = None
    """Of the newest manifest that was made. There may be one while a newer one is made, or could not be made."""
    reference: str | None = None
    """`HOST/PATH@sha256:...`, once the image of that digest is in the registry that was asked for."""
    reason: str | None = None
    """Why it is not there, where there is a reason."""


class ImagesOf(Wire):
    """The images of some revisions, by revision id, and that of the platform for their gateways."""

    images: Mapping[str, ImageStatus] = {}
    gateway: ImageStatus | None = None

    @property
    def ready(self) -> bool:
        """Each was made."""
        return all(status.digest is not None for _, status in self._all())

    @property
    def pushed(self) -> bool:
        """Each is in the registry that was asked for."""
        return all(status.reference is not None for _, status in self._all())

    @property
    def waiting(self) -> list[str]:
        """A sentence on each that was not made."""
        return [_sentence(what, status) for what, status in self._all() if status.digest is None]

    @property
    def waiting_for_push(self) -> list[str]:
        """A sentence on each that is not in the registry."""
        return [_sentence(what, status) for what, status in self._all() if status.reference is None]

    def _all(self) -> Iterator[tuple[str, ImageStatus]]:
        for revision_id, status in self.images.items():
            yield f"the image of revision {revision_id}", status
        if self.gateway is not None:
            yield "the image for gateways", self.gateway


def _sentence(what: str, status: ImageStatus) -> str:
    words = {
        WorkState.WANTED: "waits for a worker",
        WorkState.RUNNING: "is being made or pushed",
        WorkState.READY: "was made but is not pushed yet",
        WorkState.FAILED: "failed",
    }[status.state]
    return f"{what} {words}{f': {status.reason}' if status.reason else ''}"
