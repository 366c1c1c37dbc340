"""A registry as workers see it, with everything scripted: builds, images, blobs, secrets and a catalog."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.catalog import Artifact, CatalogEntry, Language
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.contracts.images import ImageClaim, ImageResult, ImageSpec, Lease, PushSpec

OWNER = "joe"
COMMIT = "a" * 40


@dataclass
class Build:
    """One build as the registry has it."""

    spec: BuildSpec
    claimed_by: str | None = None
    log: str = ""
    posts: int = 0
    result: BuildResult | None = None
    lost: bool = False
    """The lease is somebody else's now."""

    @property
    def artifact(self) -> Artifact:
        assert self.result is not None
        assert self.result.succeeded, f"{self.result.reason}\n{self.log}"
        assert self.result.artifact is not None
        return self.result.artifact

    @property
    def reason(self) -> str:
        assert self.result is not None
        assert not self.result.succeeded, self.log
        assert self.result.reason
        return self.result.reason


@dataclass
class ImageWork:
    """One image to make, or to push, as the registry has it."""

    spec: ImageSpec | PushSpec
    claims: list[ImageClaim] = field(default_factory=list)
    renewals: int = 0
    result: ImageResult | None = None
    lost: bool = False


@dataclass
class RegistryDouble:
    """See the module's documentation."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    builds: dict[UUID, Build] = field(default_factory=dict)
    image_work: dict[UUID, ImageWork] = field(default_factory=dict)
    catalog: list[CatalogEntry] = field(default_factory=list)
    secrets: dict[UUID, dict[str, str]] = field(default_factory=dict)
    blob_reads: list[str] = field(default_factory=list)
    blob_writes: list[str] = field(default_factory=list)
    refused: int = 0
    """Questions about blobs while the registry was away."""
    registry_is_up: bool = True

    def source(
        self,
        files: Mapping[str, str | bytes],
        *,
        programs: tuple[str, ...] = (),
        links: Mapping[str, str] | None = None,
    ) -> str:
        """A blob with a source archive; returns its digest."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, text in files.items():
                data = text.encode() if isinstance(text, str) else text
                member = tarfile.TarInfo(name)
                member.size = len(data)
                member.mode = 0o755 if name in programs else 0o644
                archive.addfile(member, io.BytesIO(data))
            for name, target in (links or {}).items():
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
        return self.put(content.getvalue())

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def request(
        self,
        files: Mapping[str, str | bytes],
        *,
        name: str,
        language: Language = Language.PYTHON,
        programs: tuple[str, ...] = (),
        links: Mapping[str, str] | None = None,
        **members: Any,
    ) -> Build:
        """A build that waits to be claimed."""
        spec = BuildSpec(
            **{
                "id": uuid4(),
                "algorithm_id": uuid4(),
                "owner": OWNER,
                "name": name,
                "commit": COMMIT,
                "language": language,
                "source": self.source(files, programs=programs, links=links),
                "lease_token": uuid4().hex,
                "lease_seconds": 4.0,
                **members,
            }
        )
        self.builds[spec.id] = Build(spec)
        return self.builds[spec.id]

    def registry_routes(self) -> list[Route]:
        return [
            Route("/internal/builds/{id}/claim", self._claim, methods=["POST"]),
            Route("/internal/builds/{id}/log", self._log, methods=["POST"]),
            Route("/internal/builds/{id}/result", self._result, methods=["POST"]),
            Route("/internal/feeds/catalog", self._catalog),
            *(
                Route(f"/internal/{what}/{{id}}/{step}", answer, methods=["POST"])
                for what in ("images", "image-pushes")
                for step, answer in (
                    ("claim", self._claim_image),
                    ("lease", self._renew_image),
                    ("result", self._finish_image),
                )
            ),
            Route("/internal/blobs/{digest}", self._blob, methods=["GET", "PUT"]),
            Route("/internal/revisions/{id}/environment", self._environment),
        ]

    async def _claim(self, request: Request) -> Response:
        if not self.registry_is_up:
            return problem(503, "away")
        build = self.builds.get(UUID(request.path_params["id"]))
        if build is None:
            return problem(404, "no such build")
        if build.claimed_by is not None:
            return problem(409, "it is taken")
        build.claimed_by = (await request.json())["worker"]
        return JSONResponse(build.spec.model_dump(mode="json"))

    async def _catalog(self, request: Request) -> Response:
        """One change a page, as a registry with a long history gives them."""
        since = int(request.query_params["since"])
        changes = [
            FeedChange(key=str(entry.id), version=number, body=entry.model_dump(mode="json"))
            for number, entry in enumerate(self.catalog, 1)
        ]
        page = FeedPage(
            epoch="e", version=since + 1, changes=tuple(changes[since : since + 1]), more=since + 1 < len(changes)
        )
        return JSONResponse(page.model_dump(mode="json"))

    async def _log(self, request: Request) -> Response:
        build = self.builds[UUID(request.path_params["id"])]
        post = BuildLog.model_validate_json(await request.body())
        if build.lost or post.lease_token != build.spec.lease_token:
            return problem(409, "the lease is lost")
        build.posts += 1
        if post.offset == len(build.log):
            build.log += post.text
        return Response(status_code=204)

    async def _result(self, request: Request) -> Response:
        build = self.builds[UUID(request.path_params["id"])]
        result = BuildResult.model_validate_json(await request.body())
        if build.lost or result.lease_token != build.spec.lease_token:
            return problem(409, "the lease is lost")
        build.result = result
        return Response(status_code=204)

    async def _claim_image(self, request: Request) -> Response:
        if not self.registry_is_up:
            return problem(503, "away")
        work = self.image_work[UUID(request.path_params["id"])]
        if work.claims:
            return problem(409, "it is taken")
        work.claims.append(ImageClaim.model_validate_json(await request.body()))
        return JSONResponse(work.spec.model_dump(mode="json"))

    async def _renew_image(self, request: Request) -> Response:
        work = self.image_work[UUID(request.path_params["id"])]
        if work.lost or Lease.model_validate_json(await request.body()).lease_token != work.spec.lease_token:
            return problem(409, "the lease is lost")
        work.renewals += 1
        return Response(status_code=204)

    async def _finish_image(self, request: Request) -> Response:
        if not self.registry_is_up:
            return problem(503, "away")
        work = self.image_work[UUID(request.path_params["id"])]
        result = ImageResult.model_validate_json(await request.body())
        if work.lost or result.lease_token != work.spec.lease_token:
            return problem(409, "the lease is lost")
        work.result = result
        return Response(status_code=204)

    async def _blob(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        if not self.registry_is_up:
            self.refused += 1
            return problem(503, "away")
        if request.method == "PUT":
            content = await request.body()
            assert hashlib.sha256(content).hexdigest() == digest
            self.blobs[digest] = content
            self.blob_writes.append(digest)
            return Response(status_code=204)
        if request.method == "HEAD":
            return Response(status_code=200 if digest in self.blobs else 404)
        self.blob_reads.append(digest)
        if digest not in self.blobs:
            return problem(404, "no such blob")
        return StreamingResponse(iter([self.blobs[digest]]))

    async def _environment(self, request: Request) -> Response:
        if not self.registry_is_up:
            return problem(503, "away")
        return JSONResponse({"variables": self.secrets.get(UUID(request.path_params["id"]), {})})


def problem(status: int, detail: str) -> Response:
    return JSONResponse({"title": "refused", "status": status, "detail": detail}, status)
