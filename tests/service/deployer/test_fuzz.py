"""No request makes the deployer fail."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

from libs.common.contracts.replicas import Demand, DemandReport
from tests.service.deployer.platform import Platform, RegistryDouble, deploying
from tests.service.deployer.world import Clock, ScriptedWorker, entry
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble
from tests.support.fuzzing import Fuzz
from tests.support.serving import serving


async def test_no_request_makes_the_deployer_fail(database_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        fakts = await stack.enter_async_context(FaktsDouble().serve())
        fakts.configure("deployer", database_url=database_url)
        registry = RegistryDouble()
        fakts.offer("registry", await stack.enter_async_context(serving(registry.app, grace=1)))
        stack.callback(registry.close)
        platform = await stack.enter_async_context(deploying(stack, fakts, registry, tmp_path))
        node = ScriptedWorker(Clock(), str(uuid4()))
        known = await _world(platform, node)
        fakts.add_account("joe")
        callers = {
            "nobody": {},
            "a user": {"authorization": fakts.add_key("joe")},
            "an administrator": {"authorization": platform.admin_key},
            "a worker": {"authorization": f"Bearer {fakts.service_token('worker', instance=node.id)}"},
            "a gateway": {"authorization": f"Bearer {fakts.service_token('gateway')}"},
        }
        await Fuzz(platform.app, platform.url, callers, known).run()


async def _world(platform: Platform, node: ScriptedWorker) -> dict[str, list[str]]:
    """A replica that runs on a worker, for somebody who calls."""
    echo = entry()
    revision = echo.revisions[0].id
    platform.registry.publish(echo)
    worker, _ = await platform.client("worker", node.id)
    gateway, _ = await platform.client("gateway")
    node.obey(await worker.report_worker(node.id, node.report()))
    await eventually(lambda: platform.app.state.catalog.wish(revision))
    calls = Demand(revision_id=revision, algorithm_id=echo.id, in_flight=1, waiting=1)
    await gateway.report_demand(DemandReport(gateway="g", demands=(calls,)))

    async def running() -> bool:
        node.obey(await worker.report_worker(node.id, node.report()))
        return bool(node.serving())

    await eventually(running)
    deployment = (await platform.admin("GET", "/deployments")).json()["items"][0]["id"]
    return {
        "worker_id": [node.id],
        "deployment_id": [deployment],
        "replica_id": [str(key) for key in node.replicas],
        "id": [str(key) for key in node.replicas],
        "revision_id": [str(revision)],
        "algorithm_id": [str(echo.id)],
        "ids": [str(uuid4())],
        "run": [node.run],
        "gateway": ["g"],
    }
