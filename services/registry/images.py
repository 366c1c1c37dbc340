"""Container images of revisions, and of the platform itself for gateways of satellites: made once by a worker, kept
as blobs here, base layers and all, so that one can be had whole from here.

Asking for an image is how to wait for it. What was made stays until somebody has it made anew, on what the base and
the runner are by then.
"""

from __future__ import annotations

import platform as machine
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.blobs import BlobMissing, Blobs
from libs.common.bus import Bus
from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Artifact
from libs.common.contracts.images import (
    ImageClaim,
    ImageResult,
    ImagesOf,
    ImageSpec,
    ImageStatus,
    ImageSubject,
    WorkState,
)
from libs.common.contracts.jobs import ImageRequested, image_queue
from libs.common.contracts.launches import LaunchEntry
from libs.common.db import Database
from libs.common.oci.documents import BadDocument, Descriptor, Manifest, Platform, digest_of
from libs.common.pages import Page
from libs.common.problems import Conflict, Invalid, NotFound
from libs.common.text import storable
from services.registry import store
from services.registry.image_queue import ImageQueue
from services.registry.models import Algorithm, Build, Image, ImageBlob
from services.registry.pages import Paging
from services.registry.work import Patience

RELEASE = package_version("constellation")
HERE = str(Platform.of(machine.machine()))
"""What images are made for where nobody says so: what this process runs on."""
_LONGEST_MANIFEST = 4 << 20


@dataclass(frozen=True)
class Subject:
    """What an image is of: a revision, or else this release of the platform."""

    revision_id: UUID | None

    @property
    def release(self) -> str | None:
        return RELEASE if self.revision_id is None else None


GATEWAY = Subject(None)


class Images:
    """See the module's documentation."""

    def __init__(self, database: Database, blobs: Blobs, bus: Bus, patience: Patience) -> None:
        self._blobs = blobs
        self.queue = ImageQueue(Image, "image", database=database, bus=bus, job=_job, patience=patience)

    async def of_entries(
        self, session: AsyncSession, entries: Sequence[LaunchEntry], *, platform: str | None = None
    ) -> ImagesOf:
        """The images that a satellite of these entries consists of. Orders those that were not made."""
        return await self.of(session, {entry.revision_id for entry in entries}, platform=platform)

    async def of(
        self, session: AsyncSession, revisions: Collection[UUID], *, platform: str | None = None
    ) -> ImagesOf:
        """The images of revisions, and that for their gateways. Orders those that were not made."""
        images: dict[str, ImageStatus] = {}
        for revision_id in sorted(revisions):
            try:
                images[str(revision_id)] = status(await self.want(session, Subject(revision_id), platform))
            except NotFound as gone:
                images[str(revision_id)] = ImageStatus(state=WorkState.FAILED, reason=gone.detail)
        return ImagesOf(images=images, gateway=status(await self.want(session, GATEWAY, platform)))

    async def want(self, session: AsyncSession, subject: Subject, platform: str | None = None) -> Image:
        """The image, which is made if it was not. Raises NotFound for a revision that there is not."""
        platform = platform or HERE
        found = await self._find(session, subject, platform)
        if found is None:
            if subject.revision_id is not None:
                await _built(session, subject.revision_id)
            members = {"revision_id": subject.revision_id, "release": subject.release, "platform": platform}
            await session.execute(insert(Image).values(**members).on_conflict_do_nothing())
            self.queue.wanted(session)
            found = await self._find(session, subject, platform)
            assert found is not None  # noqa: S101 - it was there, or is now
        return await self.queue.still_wanted(session, found)

    async def claim(self, session: AsyncSession, image_id: UUID, asked: ImageClaim) -> ImageSpec:
        """Give an image to a worker. Raises NotFound, Conflict when it is not for this worker, or not now."""
        row = await self.queue.locked(session, image_id)
        if row.release not in (None, asked.release):
            raise Conflict(f"image {row.id} is of release {row.release}, and this worker is {asked.release}")
        of = await subject(session, row)
        token = self.queue.claim(session, row, asked)
        return ImageSpec(
            id=row.id,
            subject=of,
            lease_token=token,
            lease_seconds=self.queue.patience.lease,
            timeout_seconds=self.queue.patience.timeout,
        )

    async def finish(self, session: AsyncSession, image_id: UUID, result: ImageResult) -> None:
        """Take a worker's result. Saying the same again changes nothing.

        Raises Conflict when the lease is lost, Invalid when the image is not here whole.
        """
        blobs = await self._blobs_of(result.digest) if result.digest is not None else {}
        row = await self.queue.locked(session, image_id)
        if row.lease_token == result.lease_token and row.state is ended(result):
            return
        self.queue.held(row, result.lease_token)
        if result.digest is not None:
            row.digest, row.base = result.digest, result.base
            row.size = sum(blob.size for blob in blobs.values())
            members = [
                {"image_id": row.id, "digest": blob.digest, "media_type": blob.media_type, "size": blob.size}
                for blob in blobs.values()
            ]
            await session.execute(insert(ImageBlob).values(members).on_conflict_do_nothing())
        self.queue.end(session, row, failure(result))

    async def _blobs_of(self, digest: str) -> dict[str, Descriptor]:
        """All blobs of an image, its manifest first. Raises Invalid when one is not here."""
        try:
            if await self._blobs.size(hexadecimal(digest)) > _LONGEST_MANIFEST:
                raise Invalid(f"{digest} is too large for the manifest of an image")
            content = await self._blobs.get(hexadecimal(digest))
            manifest = Manifest.decode(content)
            found = [manifest.config, *manifest.layers]
            for one in found:
                if await self._blobs.size(hexadecimal(one.digest)) != one.size:
                    raise Invalid(f"the manifest says that {one.digest} has {one.size} bytes, which it has not")
        except (BlobMissing, BadDocument) as fault:
            raise Invalid(f"the image {digest} is not here whole: {fault}") from None
        media_type = manifest.media_type or ""
        itself = Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))
        return {one.digest: one for one in (itself, *found)}

    @staticmethod
    async def _find(session: AsyncSession, subject: Subject, platform: str) -> Image | None:
        query = select(Image).where(
            Image.revision_id == subject.revision_id
            if subject.revision_id is not None
            else Image.release == subject.release,
            Image.platform == platform,
        )
        return (await session.execute(query)).scalar_one_or_none()


def status(row: Image) -> ImageStatus:
    return ImageStatus(image_id=row.id, state=row.state, digest=row.digest, reason=row.reason)


def hexadecimal(digest: str) -> str:
    """The name under which the blob store has what images call by a digest."""
    return digest.removeprefix("sha256:")


async def get(session: AsyncSession, image_id: UUID) -> Image:
    """Raises NotFound."""
    row = await session.get(Image, image_id)
    if row is None:
        raise NotFound(f"there is no image {image_id}")
    return row


async def subject(session: AsyncSession, row: Image) -> ImageSubject | None:
    """The revision that an image is of; None for the platform's own. Raises NotFound when it is gone."""
    if row.revision_id is None:
        return None
    build = await _built(session, row.revision_id)
    return _subject(build, await store.by_id(session, build.algorithm_id))


async def subjects(session: AsyncSession, rows: Sequence[Image]) -> Mapping[UUID, ImageSubject]:
    """The revisions that images are of, by image. The platform's own have none."""
    query = (
        select(Image.id, Build, Algorithm)
        .join(Build, Build.id == Image.revision_id)
        .join(Algorithm, Algorithm.id == Build.algorithm_id)
        .where(Image.id.in_([row.id for row in rows]))
    )
    return {key: _subject(build, algorithm) for key, build, algorithm in await session.execute(query)}


async def page(session: AsyncSession, paging: Paging, *, revision_id: UUID | None) -> Page[Image]:
    """Newest first; those of one revision."""
    query = select(Image)
    if revision_id is not None:
        query = query.where(Image.revision_id == revision_id)
    if paging.after is not None:
        query = query.where(Image.number < paging.after[0])
    rows = (await session.execute(query.order_by(Image.number.desc()).limit(paging.limit + 1))).scalars().all()
    return paging.page(rows, lambda row: (row.number,))


async def blobs(session: AsyncSession, row: Image) -> Sequence[ImageBlob]:
    """All blobs of an image, the largest first."""
    query = select(ImageBlob).where(ImageBlob.image_id == row.id).order_by(ImageBlob.size.desc(), ImageBlob.digest)
    return (await session.execute(query)).scalars().all()


async def blob_size(session: AsyncSession, digest: str) -> int:
    """The length of a blob that belongs to an image. Raises NotFound for other blobs too."""
    query = select(ImageBlob.size).where(ImageBlob.digest == digest).limit(1)
    size = (await session.execute(query)).scalar_one_or_none()
    if size is None:
        raise NotFound(f"no image has a blob {digest[:100]}")
    return size


def ended(result: ImageResult) -> WorkState:
    """The state that a worker's result leads to."""
    return WorkState.FAILED if result.digest is None else WorkState.READY


def failure(result: ImageResult) -> str | None:
    """Why a worker failed; None when it did not."""
    return None if result.digest is not None else storable(result.reason or "the worker did not say why")


def _job(row: Image) -> tuple[str, ImageRequested]:
    return image_queue(row.platform), ImageRequested(image_id=row.id)


def _subject(build: Build, algorithm: Algorithm) -> ImageSubject:
    return ImageSubject(
        revision_id=build.id,
        owner=algorithm.owner,
        name=algorithm.name,
        commit=build.commit,
        language=build.language,
        artifact=Artifact.model_validate(build.artifact),
    )


async def _built(session: AsyncSession, revision_id: UUID) -> Build:
    """Raises NotFound."""
    build = await session.get(Build, revision_id)
    if build is None or build.state is not BuildState.SUCCEEDED:
        raise NotFound(f"there is no revision {revision_id}: the id of a build that succeeded is one")
    return build
