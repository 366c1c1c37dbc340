"""The platform as a worker sees it, with everything scripted: fakts, a registry with builds and blobs, a deployer
that gives orders, and a gateway that records what comes through the door.

    async with Platform() as platform:
        async with platform.worker(tmp_path) as worker:
            build = await platform.build({"src/hello.py": "def apply(x): return x"}, name="hello")
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from libs.common.bus import MemoryBus
from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.catalog import Artifact, CatalogEntry, Language
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.contracts.images import ImageClaim, ImageResult, ImageSpec, ImageSubject, Lease, PushSpec
from libs.common.contracts.jobs import (
    BUILD_QUEUE,
    BuildRequested,
    ImagePushRequested,
    ImageRequested,
    OrdersChanged,
    image_queue,
    worker_queue,
)
from libs.common.contracts.replicas import (
    ReplicaOrder,
    ReplicaReport,
    ReplicaSpec,
    ReplicaState,
    WorkerOrders,
    WorkerReport,
)
from services.worker.app import create_app
from services.worker.image_maker import HERE
from services.worker.settings import WorkerSettings
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble
from tests.support.serving import bound, serving

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
class Running:
    """A worker that is served."""

    url: str
    app: FastAPI
    settings: WorkerSettings

    @property
    def worker_id(self) -> str:
        return (self.settings.data_dir / "worker_id").read_text().strip()


@dataclass
class Platform:
    """See the module's documentation."""

    fakts: FaktsDouble = field(default_factory=FaktsDouble)
    bus: MemoryBus = field(default_factory=MemoryBus)
    blobs: dict[str, bytes] = field(default_factory=dict)
    builds: dict[UUID, Build] = field(default_factory=dict)
    image_work: dict[UUID, ImageWork] = field(default_factory=dict)
    catalog: list[CatalogEntry] = field(default_factory=list)
    secrets: dict[UUID, dict[str, str]] = field(default_factory=dict)
    orders: dict[UUID, ReplicaOrder] = field(default_factory=dict)
    reports: list[WorkerReport] = field(default_factory=list)
    blob_reads: list[str] = field(default_factory=list)
    blob_writes: list[str] = field(default_factory=list)
    refused: int = 0
    """Questions about blobs while the registry was away."""
    chained: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Path, headers and body of every request to the gateway."""
    gateway_answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, requests to the gateway wait."""
    gateway_url: str = ""
    lease_seconds: float = 15.0
    deployer_is_up: bool = True
    registry_is_up: bool = True
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        self.gateway_answers.set()
        await self._stack.enter_async_context(self.fakts.serve())
        await self._stack.enter_async_context(self.bus)
        url = await self._stack.enter_async_context(serving(self._services(), grace=1))
        self.gateway_url = await self._stack.enter_async_context(serving(self._gateway(), grace=1))
        self.fakts.offer("registry", url)
        self.fakts.offer("deployer", url)
        self.fakts.offer("gateway", self.gateway_url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def settings(self, data_dir: Path, **members: Any) -> WorkerSettings:
        return WorkerSettings(
            **{
                "fakts_url": self.fakts.url,
                "join_token": SecretStr(self.fakts.join_token),
                "data_dir": data_dir,
                "report_seconds": 0.5,
                "drain_seconds": 2.0,
                **members,
            }
        )

    @asynccontextmanager
    async def worker(self, data_dir: Path, **members: Any) -> AsyncIterator[Running]:
        """A worker in this process, on a real port."""
        listener = bound()
        settings = self.settings(data_dir, port=listener.getsockname()[1], **members)
        app = create_app(settings, bus=self.bus)
        async with serving(app, listener) as url:
            yield Running(url, app, settings)

    # Builds

    def source(self, files: Mapping[str, str | bytes], *, programs: tuple[str, ...] = ()) -> str:
        """A blob with a source archive; returns its digest."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, text in files.items():
                data = text.encode() if isinstance(text, str) else text
                member = tarfile.TarInfo(name)
                member.size = len(data)
                member.mode = 0o755 if name in programs else 0o644
                archive.addfile(member, io.BytesIO(data))
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
                "source": self.source(files, programs=programs),
                "lease_token": uuid4().hex,
                "lease_seconds": 4.0,
                **members,
            }
        )
        self.builds[spec.id] = Build(spec)
        return self.builds[spec.id]

    async def build(self, files: Mapping[str, str | bytes], *, timeout: float = 240.0, **members: Any) -> Build:
        """Have something built and wait for the result."""
        build = self.request(files, **members)
        await self.bus.send(BUILD_QUEUE, BuildRequested(build_id=build.spec.id))
        await eventually(lambda: build.result, timeout)
        return build

    # Images

    async def image(self, subject: ImageSubject | None, **members: Any) -> ImageWork:
        """An image that workers are told of."""
        spec = ImageSpec(
            **{
                "id": uuid4(),
                "subject": subject,
                "lease_token": uuid4().hex,
                "lease_seconds": 2.0,
                "timeout_seconds": 240.0,
                **members,
            }
        )
        work = self.image_work[spec.id] = ImageWork(spec)
        await self.bus.send(image_queue(str(HERE)), ImageRequested(image_id=spec.id))
        return work

    async def push(self, digest: str, reference: str, **members: Any) -> ImageWork:
        """A push that workers are told of."""
        spec = PushSpec(
            **{
                "id": uuid4(),
                "digest": digest,
                "reference": reference,
                "lease_token": uuid4().hex,
                "lease_seconds": 2.0,
                "timeout_seconds": 240.0,
                **members,
            }
        )
        work = self.image_work[spec.id] = ImageWork(spec)
        await self.bus.send(image_queue(str(HERE)), ImagePushRequested(push_id=spec.id))
        return work

    # Replicas

    def order(self, artifact: Artifact, *, name: str, language: Language = Language.PYTHON, **members: Any) -> UUID:
        """A replica that should run; the worker learns of it with its next report."""
        spec = ReplicaSpec(
            **{
                "id": uuid4(),
                "revision_id": uuid4(),
                "algorithm_id": uuid4(),
                "owner": OWNER,
                "name": name,
                "commit": COMMIT,
                "language": language,
                "artifact": artifact,
                "load_timeout_seconds": 120.0,
                **members,
            }
        )
        self.orders[spec.id] = ReplicaOrder(spec=spec)
        return spec.id

    def drain(self, replica_id: UUID) -> None:
        self.orders[replica_id] = self.orders[replica_id].model_copy(update={"drain": True})

    async def wake(self, worker: Running) -> None:
        await self.bus.send(worker_queue(worker.worker_id), OrdersChanged(worker_id=worker.worker_id))

    async def report(self) -> WorkerReport:
        """The newest report, as soon as there is one."""
        await eventually(lambda: self.reports)
        return self.reports[-1]

    def replica(self, replica_id: UUID) -> ReplicaReport | None:
        """What the newest report says of a replica."""
        if not self.reports:
            return None
        return next((one for one in self.reports[-1].replicas if one.id == replica_id), None)

    async def until(self, replica_id: UUID, *states: ReplicaState, timeout: float = 120.0) -> ReplicaReport:
        """The report that has the replica in one of the states."""

        def found() -> ReplicaReport | None:
            report = self.replica(replica_id)
            if report is not None and report.state is ReplicaState.FAILED and report.state not in states:
                raise AssertionError(f"the replica failed: {report.reason}")
            return report if report is not None and report.state in states else None

        report = await eventually(found, timeout)
        assert report is not None
        return report

    # The services

    def _services(self) -> Starlette:
        return Starlette(
            routes=[
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
                Route("/internal/workers/{id}/report", self._report, methods=["POST"]),
            ]
        )

    def _gateway(self) -> Starlette:
        async def record(request: Request) -> Response:
            self.chained.append((request.url.path, dict(request.headers), await request.body()))
            await self.gateway_answers.wait()
            return JSONResponse({"result": "from the gateway", "metadata": {"content_type": "text", "duration": 0.0}})

        return Starlette(routes=[Route("/{path:path}", record, methods=["GET", "POST"])])

    async def _claim(self, request: Request) -> Response:
        if not self.registry_is_up:
            return _problem(503, "away")
        build = self.builds.get(UUID(request.path_params["id"]))
        if build is None:
            return _problem(404, "no such build")
        if build.claimed_by is not None:
            return _problem(409, "it is taken")
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
            return _problem(409, "the lease is lost")
        build.posts += 1
        if post.offset == len(build.log):
            build.log += post.text
        return Response(status_code=204)

    async def _result(self, request: Request) -> Response:
        build = self.builds[UUID(request.path_params["id"])]
        result = BuildResult.model_validate_json(await request.body())
        if build.lost or result.lease_token != build.spec.lease_token:
            return _problem(409, "the lease is lost")
        build.result = result
        return Response(status_code=204)

    async def _claim_image(self, request: Request) -> Response:
        if not self.registry_is_up:
            return _problem(503, "away")
        work = self.image_work[UUID(request.path_params["id"])]
        if work.claims:
            return _problem(409, "it is taken")
        work.claims.append(ImageClaim.model_validate_json(await request.body()))
        return JSONResponse(work.spec.model_dump(mode="json"))

    async def _renew_image(self, request: Request) -> Response:
        work = self.image_work[UUID(request.path_params["id"])]
        if work.lost or Lease.model_validate_json(await request.body()).lease_token != work.spec.lease_token:
            return _problem(409, "the lease is lost")
        work.renewals += 1
        return Response(status_code=204)

    async def _finish_image(self, request: Request) -> Response:
        if not self.registry_is_up:
            return _problem(503, "away")
        work = self.image_work[UUID(request.path_params["id"])]
        result = ImageResult.model_validate_json(await request.body())
        if work.lost or result.lease_token != work.spec.lease_token:
            return _problem(409, "the lease is lost")
        work.result = result
        return Response(status_code=204)

    async def _blob(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        if not self.registry_is_up:
            self.refused += 1
            return _problem(503, "away")
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
            return _problem(404, "no such blob")
        return StreamingResponse(iter([self.blobs[digest]]))

    async def _environment(self, request: Request) -> Response:
        if not self.registry_is_up:
            return _problem(503, "away")
        return JSONResponse({"variables": self.secrets.get(UUID(request.path_params["id"]), {})})

    async def _report(self, request: Request) -> Response:
        if not self.deployer_is_up:
            return _problem(503, "away")
        self.reports.append(WorkerReport.model_validate_json(await request.body()))
        orders = WorkerOrders(replicas=tuple(self.orders.values()), lease_seconds=self.lease_seconds)
        return JSONResponse(orders.model_dump(mode="json"))


def _problem(status: int, detail: str) -> Response:
    return JSONResponse({"title": "refused", "status": status, "detail": detail}, status)
