"""Pushes of images to other registries, done by workers with their own credentials.

Asking whether an image is in a registry is how to have it pushed there, and to wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus
from libs.common.contracts.images import (
    ImageClaim,
    ImageResult,
    ImagesOf,
    ImageStatus,
    ImageSubject,
    PushSpec,
    WorkState,
)
from libs.common.contracts.jobs import ImagePushRequested, image_queue
from libs.common.db import Database
from libs.common.oci import references
from libs.common.oci.references import ImageReference, InvalidImageReference
from libs.common.problems import Conflict, Unprocessable
from services.registry import images
from services.registry.image_queue import ImageQueue
from services.registry.images import RELEASE, Images
from services.registry.models import Image, ImagePush
from services.registry.work import Patience

REPOSITORY = "constellation"
"""The repository in a registry of which only the host is named."""
MOST_SHOWN = 100
_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]+")


class ImagePushes:
    """See the module's documentation."""

    def __init__(self, made: Images, database: Database, bus: Bus, patience: Patience) -> None:
        self._images = made
        self.queue = ImageQueue(ImagePush, "image push", database=database, bus=bus, job=_job, patience=patience)

    async def request(self, session: AsyncSession, image: Image, to: str) -> ImagePush:
        """Have an image pushed, also when it was pushed before: what is there already costs little.

        Raises Unprocessable, Conflict when the image was not made.
        """
        if image.digest is None:
            raise Conflict(f"image {image.id} was not made yet: it is {image.state}")
        row = await self._want(session, image, await _target(session, image, to))
        return await self.queue.again(session, row)

    async def at(
        self, session: AsyncSession, to: str, revisions: Collection[UUID], *, platform: str | None = None
    ) -> ImagesOf:
        """The images of revisions, and that for their gateways, in one repository. Orders what is missing: that they
        be made, and pushed there.

        Raises Unprocessable when `to` is no repository.
        """
        made = await self._images.of(session, revisions, platform=platform)
        assert made.gateway is not None  # noqa: S101 - `of` always has it
        found = {key: await self._at(session, status, to) for key, status in made.images.items()}
        return ImagesOf(images=found, gateway=await self._at(session, made.gateway, to))

    async def claim(self, session: AsyncSession, push_id: UUID, asked: ImageClaim) -> PushSpec:
        """Give a push to a worker. Raises NotFound, Conflict when it is not for this worker, or not now."""
        row = await self.queue.locked(session, push_id)
        token = self.queue.claim(session, row, asked)
        return PushSpec(
            id=row.id,
            digest=row.digest,
            reference=row.reference,
            lease_token=token,
            lease_seconds=self.queue.patience.lease,
            timeout_seconds=self.queue.patience.timeout,
        )

    async def finish(self, session: AsyncSession, push_id: UUID, result: ImageResult) -> None:
        """Take a worker's result. Saying the same again changes nothing. Raises Conflict when the lease is lost."""
        row = await self.queue.locked(session, push_id)
        if row.lease_token == result.lease_token and row.state is images.ended(result):
            return
        self.queue.held(row, result.lease_token)
        self.queue.end(session, row, images.failure(result))

    async def _at(self, session: AsyncSession, made: ImageStatus, to: str) -> ImageStatus:
        """What is to be said of an image with a view to a registry."""
        if made.image_id is None or made.digest is None:
            return made
        image = await images.get(session, made.image_id)
        row = await self._want(session, image, await _target(session, image, to))
        row = await self.queue.still_wanted(session, row)
        there = row.state is WorkState.READY
        reference = str(replace(references.parse(row.reference), tag=None, digest=row.digest)) if there else None
        return made.model_copy(update={"state": row.state, "reason": row.reason, "reference": reference})

    async def _want(self, session: AsyncSession, image: Image, target: ImageReference) -> ImagePush:
        """The push of an image, as it was last made, to a place."""
        members = {"image_id": image.id, "reference": str(target), "digest": image.digest}
        query = select(ImagePush).filter_by(**members)
        found = (await session.execute(query)).scalar_one_or_none()
        if found is None:
            values = {**members, "platform": image.platform}
            await session.execute(insert(ImagePush).values(values).on_conflict_do_nothing())
            self.queue.wanted(session)
            found = (await session.execute(query)).scalar_one()
        return found


async def of_image(session: AsyncSession, image_id: UUID) -> Sequence[ImagePush]:
    """Newest first."""
    query = (
        select(ImagePush).where(ImagePush.image_id == image_id).order_by(ImagePush.number.desc()).limit(MOST_SHOWN)
    )
    return (await session.execute(query)).scalars().all()


async def _target(session: AsyncSession, image: Image, to: str) -> ImageReference:
    """Where an image goes, with a tag that no other image gets. Raises Unprocessable."""
    try:
        wanted = references.parse(to if "/" in to else f"{to}/{REPOSITORY}")
    except InvalidImageReference as fault:
        raise Unprocessable(f"{fault}; name a repository, such as registry.example/{REPOSITORY}") from None
    if wanted.digest is not None:
        raise Unprocessable(f"'{to}' names a digest, which is not known before the image is; leave it out")
    return (
        wanted if wanted.tag else replace(wanted, tag=tag(await images.subject(session, image), image.digest or ""))
    )


def tag(subject: ImageSubject | None, digest: str) -> str:
    """What an image is tagged with where nobody says how. Each digest has another one, since registries remove what
    has none."""
    what = f"{subject.owner[:40]}.{subject.name}.{subject.commit}" if subject else f"gateway.{RELEASE[:60]}"
    return f"{_NO_TAG.sub('_', what)}.{images.hexadecimal(digest)[:12]}"


def _job(row: ImagePush) -> tuple[str, ImagePushRequested]:
    return image_queue(row.platform), ImagePushRequested(push_id=row.id)
