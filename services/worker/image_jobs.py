"""Makes the images that the registry orders, and pushes them. Each is held by a lease, which is renewed meanwhile.

What is made goes to the platform's blob store, blob by blob, with the base's. So whoever begins anew finds what was
there already, and an image can be pushed from any worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from libs.common import logs, problems
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.images import ImageClaim, ImageResult, ImageSpec, PushSpec
from libs.common.contracts.jobs import ImagePushRequested, ImageRequested
from libs.common.oci import references
from libs.common.oci.documents import Descriptor, Manifest, Platform, check
from libs.common.oci.images import Image
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import push
from services.worker.build_log import LeaseLost
from services.worker.environments import download
from services.worker.image_maker import FAILURES, HERE, ImageMaker, Made
from services.worker.under_way import UnderWay

log = logs.get(__name__)

T = TypeVar("T")

_FINISH_SECONDS = 60.0
_PAUSE_SECONDS = 2.0


class ImageJobs:
    """Runs the image jobs that this worker claims."""

    def __init__(self, registry: RegistryClient, worker_id: str, maker: ImageMaker) -> None:
        self._registry = registry
        self._claim = ImageClaim(worker=worker_id, platform=str(HERE), release=package_version("constellation"))
        self._maker = maker
        self._under_way = UnderWay()
        self.abandon = self._under_way.abandon

    async def handle(self, message: ImageRequested | ImagePushRequested) -> None:
        """Claim what a job hints at, and do it, unless somebody else has it.

        Raises problems.Unavailable without a registry, and from a worker that ends: the job is for another one.
        """
        self._under_way.check()
        spec: ImageSpec | PushSpec
        try:
            if isinstance(message, ImageRequested):
                spec = await self._registry.claim_image(message.image_id, self._claim)
            else:
                spec = await self._registry.claim_image_push(message.push_id, self._claim)
        except (problems.Conflict, problems.NotFound) as refused:
            log.info("image_not_claimed", reason=refused.detail)
            return
        await self._under_way.run(self.run(spec))

    async def run(self, spec: ImageSpec | PushSpec) -> None:
        """Do what was claimed and report how it ended."""
        started, what = perf_counter(), type(spec).__name__
        log.info("image_work_started", what=what, id=str(spec.id))
        keeping = asyncio.create_task(self._keep(spec))
        doing = asyncio.create_task(self._done(spec))
        try:
            await asyncio.wait({keeping, doing}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                keeping.result()
            result = doing.result()
            await self._finish(spec, result)
        except (LeaseLost, problems.Problem, TimeoutError) as lost:
            log.warning("image_work_given_up", what=what, id=str(spec.id), reason=str(lost))
            return
        finally:
            for task in (keeping, doing):
                task.cancel()
            await asyncio.gather(keeping, doing, return_exceptions=True)
        seconds = round(perf_counter() - started, 1)
        log.info("image_work_ended", what=what, id=str(spec.id), seconds=seconds, reason=result.reason)

    async def _keep(self, spec: ImageSpec | PushSpec) -> None:
        """Renew the lease until cancelled. Raises LeaseLost."""
        while True:
            await asyncio.sleep(spec.lease_seconds / 4)
            try:
                await self._registry.renew_image(spec)
            except (problems.Conflict, problems.NotFound) as error:
                raise LeaseLost(error.detail) from error
            except problems.Problem as error:
                log.info("image_lease_not_renewed", reason=error.detail)

    async def _done(self, spec: ImageSpec | PushSpec) -> ImageResult:
        """How it ended. Raises problems.Problem that another attempt may not meet."""
        result = ImageResult(lease_token=spec.lease_token)
        try:
            async with asyncio.timeout(spec.timeout_seconds):
                if isinstance(spec, PushSpec):
                    return result.model_copy(update={"digest": await self._push(spec)})
                digest, base = await self._make(spec)
                return result.model_copy(update={"digest": digest, "base": base})
        except TimeoutError:
            reason = f"it did not end within {spec.timeout_seconds / 60:g} minutes"
        except FAILURES as failed:
            reason = str(failed)
        except problems.TooLarge as refused:
            reason = (
                f"a layer is too large: {refused.detail}; raise CONSTELLATION_BLOB_LIMIT_MIB of the registry service"
            )
        except problems.Problem:
            raise
        except Exception as fault:
            log.exception("image_fault", id=str(spec.id))
            reason = f"the worker could not carry it out: {type(fault).__name__}: {fault}"
        return result.model_copy(update={"reason": reason})

    async def _make(self, spec: ImageSpec) -> tuple[str, str]:
        """Make an image and keep its blobs. Its digest, and its base."""
        async with self._made(spec) as made:
            for descriptor in made.image.manifest.layers:
                await self._keep_layer(made, descriptor)
            await self._keep_document(made.image.config_bytes, made.image.manifest.config.digest)
            await self._keep_document(made.image.manifest_bytes, made.image.descriptor.digest)
            return made.image.descriptor.digest, made.base_name

    def _made(self, spec: ImageSpec) -> AbstractAsyncContextManager[Made]:
        def say(text: str) -> None:
            log.debug("image_said", id=str(spec.id), text=text.rstrip())

        return self._maker.gateway(say) if spec.subject is None else self._maker.revision(spec.subject, say)

    async def _keep_layer(self, made: Made, descriptor: Descriptor) -> None:
        if await self._has(descriptor.digest):
            return
        if descriptor.digest in made.files:
            await self._keep_file(made.files[descriptor.digest], descriptor.digest)
            return
        with TemporaryDirectory(dir=self._maker.work, prefix="blob-") as folder:
            file = Path(folder, "blob")
            await made.base.fetch(descriptor, file)
            await self._keep_file(file, descriptor.digest)

    async def _keep_document(self, content: bytes, digest: str) -> None:
        with TemporaryDirectory(dir=self._maker.work, prefix="blob-") as folder:
            file = Path(folder, "blob")
            await asyncio.to_thread(file.write_bytes, content)
            await self._keep_file(file, digest)

    async def _has(self, digest: str) -> bool:
        return await _patiently(lambda: self._registry.has_blob(_name(digest)))

    async def _keep_file(self, file: Path, digest: str) -> None:
        await _patiently(lambda: self._registry.write_blob(_name(digest), file))

    async def _push(self, spec: PushSpec) -> str:
        reference = references.parse(spec.reference)
        source = FromPlatform(self._registry, spec.digest)
        image = await source.image(HERE)
        with TemporaryDirectory(dir=self._maker.work, prefix="push-") as folder:
            return await push(image, source, {}, self._maker.registry(reference), reference, Path(folder))

    async def _finish(self, spec: ImageSpec | PushSpec, result: ImageResult) -> None:
        """Raises LeaseLost, TimeoutError when the registry stays away."""
        async with asyncio.timeout(_FINISH_SECONDS):
            try:
                await _patiently(lambda: self._registry.finish_image(spec, result))
            except (problems.Conflict, problems.NotFound) as error:
                raise LeaseLost(error.detail) from error


@dataclass(frozen=True)
class FromPlatform:
    """An image that the platform keeps, for `libs.common.oci.transfer`."""

    registry: RegistryClient
    digest: str

    async def image(self, platform: Platform) -> Image:  # noqa: ARG002 - there is one for this digest
        manifest = await self._document(self.digest)
        return Image.read(manifest, await self._document(Manifest.decode(manifest).config.digest))

    async def fetch(self, descriptor: Descriptor, file: Path) -> None:
        await _patiently(lambda: download(self.registry.read_blob, _name(descriptor.digest), file))

    def repository_at(self, registry: Registry) -> str | None:  # noqa: ARG002 - it is in none
        return None

    async def _document(self, digest: str) -> bytes:
        async def read() -> bytes:
            return b"".join([chunk async for chunk in self.registry.read_blob(_name(digest))])

        return check(await _patiently(read), digest, "the platform's blob store")


async def _patiently(what: Callable[[], Awaitable[T]]) -> T:
    """Ask again while no registry service answers; that the lease is lost, or the time, ends it otherwise."""
    while True:
        try:
            return await what()
        except problems.Unavailable as error:
            log.info("registry_not_there", reason=error.detail)
        await asyncio.sleep(_PAUSE_SECONDS)


def _name(digest: str) -> str:
    """What the platform's blob store calls it."""
    return digest.removeprefix("sha256:")
