"""The platform as a worker sees it, with everything scripted: fakts, a registry with builds and blobs, a deployer
that gives orders, and a gateway that records what comes through the door.

    async with Platform() as platform:
        async with platform.worker(tmp_path) as worker:
            build = await platform.build({"src/hello.py": "def apply(x): return x"}, name="hello")
"""

from __future__ import annotations

import asyncio
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
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from libs.common.bus import MemoryBus
from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.images import ImageSpec, ImageSubject, PushSpec
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
from tests.service.worker.registry_double import COMMIT, OWNER, Build, ImageWork, RegistryDouble, problem
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble
from tests.support.serving import bound, serving


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
class Platform(RegistryDouble):
    """See the module's documentation."""

    fakts: FaktsDouble = field(default_factory=FaktsDouble)
    bus: MemoryBus = field(default_factory=MemoryBus)
    orders: dict[UUID, ReplicaOrder] = field(default_factory=dict)
    reports: list[WorkerReport] = field(default_factory=list)
    chained: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Path, headers and body of every request to the gateway."""
    gateway_answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, requests to the gateway wait."""
    gateway_url: str = ""
    lease_seconds: float = 15.0
    deployer_is_up: bool = True
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

    # The services, but for the registry

    def _services(self) -> Starlette:
        return Starlette(
            routes=[
                *self.registry_routes(),
                Route("/internal/workers/{id}/report", self._report, methods=["POST"]),
            ]
        )

    def _gateway(self) -> Starlette:
        async def record(request: Request) -> Response:
            self.chained.append((request.url.path, dict(request.headers), await request.body()))
            await self.gateway_answers.wait()
            return JSONResponse({"result": "from the gateway", "metadata": {"content_type": "text", "duration": 0.0}})

        return Starlette(routes=[Route("/{path:path}", record, methods=["GET", "POST"])])

    async def _report(self, request: Request) -> Response:
        if not self.deployer_is_up:
            return problem(503, "away")
        self.reports.append(WorkerReport.model_validate_json(await request.body()))
        orders = WorkerOrders(replicas=tuple(self.orders.values()), lease_seconds=self.lease_seconds)
        return JSONResponse(orders.model_dump(mode="json"))
