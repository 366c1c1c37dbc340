"""Asking the registry: builds, blobs, the environment of a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from libs.common.clients.base import ServiceClient
from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.satellites import SatellitePlan


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

    async def environment(self, revision_id: UUID) -> dict[str, str]:
        """The secrets of the revision's algorithm, as environment variables. For workers only."""
        answer = await self._ask("GET", f"/internal/revisions/{revision_id}/environment")
        variables: dict[str, str] = answer.json()["variables"]
        return variables

    async def launch_plan(self, launch_id: UUID, deployment_id: UUID | None = None) -> SatellitePlan:
        """What a launch runs by one of its orders, the newest one if no deployment is named.

        Raises problems.NotFound, and Conflict when something that it names is gone or cannot be made.
        """
        params = {"deployment_id": str(deployment_id)} if deployment_id is not None else None
        answer = await self._ask("GET", f"/internal/launches/{launch_id}/plan", params=params)
        return SatellitePlan.model_validate_json(answer.content)

    async def read_blob(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes of a blob in chunks. Raises problems.NotFound. The reader checks the digest."""
        async with self._stream(f"/internal/blobs/{digest}") as answer:
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def write_blob(self, digest: str, file: Path) -> None:
        """Upload a file whose SHA-256 is `digest`; the registry checks it."""

        async def chunks() -> AsyncIterator[bytes]:
            with file.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk

        await self._ask("PUT", f"/internal/blobs/{digest}", content=chunks(), timeout=300.0)
