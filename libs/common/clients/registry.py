"""Asking the registry: builds, images, blobs, the environment of a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from uuid import UUID

from libs.common.clients.base import ServiceClient
from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.images import ImageClaim, ImageResult, ImagesOf, ImageSpec, Lease, PushSpec
from libs.common.problems import NotFound


class RegistryClient(ServiceClient):
    service = "registry"

    async def claim_build(self, build_id: UUID, worker: str) -> BuildSpec:
        """Take a build. Raises problems.Conflict when it is taken or finished, NotFound when it is gone."""
        answer = await self._ask("POST", f"/internal/builds/{build_id}/claim", json={"worker": worker})
        return BuildSpec.model_validate_json(answer.content)

    async def append_build_log(self, build_id: UUID, log: BuildLog) -> None:
        """Add to the log and renew the lease. Raises problems.Conflict when the lease is lost."""
        await self._ask("POST", f"/internal/builds/{build_id}/log", json=log.model_dump(mode="json"))

    async def finish_build(self, build_id: UUID, result: BuildResult) -> None:
        """Say how it ended. Raises problems.Conflict when the lease is lost."""
        await self._ask("POST", f"/internal/builds/{build_id}/result", json=result.model_dump(mode="json"))

    async def claim_image(self, image_id: UUID, claim: ImageClaim) -> ImageSpec:
        """Take an image to make. Raises problems.Conflict when it is taken, made, or not for this worker, NotFound
        when it is gone."""
        answer = await self._ask("POST", f"/internal/images/{image_id}/claim", json=claim.model_dump(mode="json"))
        return ImageSpec.model_validate_json(answer.content)

    async def claim_image_push(self, push_id: UUID, claim: ImageClaim) -> PushSpec:
        """Take an image to push. Raises as `claim_image`."""
        path = f"/internal/image-pushes/{push_id}/claim"
        answer = await self._ask("POST", path, json=claim.model_dump(mode="json"))
        return PushSpec.model_validate_json(answer.content)

    async def renew_image(self, spec: ImageSpec | PushSpec) -> None:
        """Go on with what was taken. Raises problems.Conflict when the lease is lost, NotFound when it is gone."""
        await self._ask("POST", f"{_work(spec)}/lease", json=Lease(lease_token=spec.lease_token).model_dump())

    async def finish_image(self, spec: ImageSpec | PushSpec, result: ImageResult) -> None:
        """Say how it ended. Raises as `renew_image`, and problems.Invalid when the image is not there whole."""
        await self._ask("POST", f"{_work(spec)}/result", json=result.model_dump(mode="json"), timeout=60.0)

    async def images_at(self, registry: str, revisions: Collection[UUID], *, platform: str | None = None) -> ImagesOf:
        """The images of revisions in a container registry, and that for gateways. Those that are not there are made
        and pushed: asking again is how to wait.

        Args:
            registry: the repository that has them all, such as `registry.example/constellation`.
            platform: such as `linux/amd64`. Default: what the registry service runs on.

        Raises problems.Unprocessable when `registry` is none.
        """
        asked = {"registry": registry, "revisions": sorted(map(str, revisions)), "platform": platform}
        answer = await self._ask("POST", "/internal/images/at", json=asked)
        return ImagesOf.model_validate_json(answer.content)

    async def environment(self, revision_id: UUID) -> dict[str, str]:
        """The secrets of the revision's algorithm, as environment variables. For workers only."""
        answer = await self._ask("GET", f"/internal/revisions/{revision_id}/environment")
        variables: dict[str, str] = answer.json()["variables"]
        return variables

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes of a blob in chunks. Raises problems.NotFound. The reader checks the digest."""
        async with self._stream(f"/internal/blobs/{digest}") as answer:
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def has_blob(self, digest: str) -> bool:
        try:
            await self._ask("HEAD", f"/internal/blobs/{digest}")
        except NotFound:
            return False
        return True

    async def write_blob(self, digest: str, file: Path) -> None:
        """Upload a file whose SHA-256 is `digest`; the registry checks it."""

        async def chunks() -> AsyncIterator[bytes]:
            with file.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk

        await self._ask("PUT", f"/internal/blobs/{digest}", content=chunks(), timeout=900.0)


def _work(spec: ImageSpec | PushSpec) -> str:
    return f"/internal/{'images' if isinstance(spec, ImageSpec) else 'image-pushes'}/{spec.id}"
