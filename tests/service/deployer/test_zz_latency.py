import asyncio, time
from uuid import uuid4
from tests.service.deployer.test_app import *
from libs.common.contracts.jobs import OrdersChanged, worker_queue
import sys

async def test_lat(platform):
    node = ScriptedWorker(Clock(), str(uuid4()), memory_mib=100000, slots=1000)
    worker, _ = await platform.client("worker", node.id)
    gateway, routes = await platform.client("gateway")
    node.obey(await worker.report_worker(node.id, node.report()))
    algos = [entry() for _ in range(40)]
    for a in algos: platform.registry.publish(a)
    await eventually(lambda: platform.app.state.catalog.wish(algos[-1].revisions[0].id))
    await asyncio.sleep(0.5)
    hinted = asyncio.Event(); t = 0
    async def obey(hint): hinted.set()
    D=[];R=[];F=[];F2=[]
    page = await routes.fetch(since=0, epoch="", wait=0)
    async with platform.bus.consume(worker_queue(node.id), obey, accepts=[OrdersChanged]):
        for n,a in enumerate(algos):
            hinted.clear(); t=time.perf_counter()
            await gateway.report_demand(DemandReport(gateway=f"g{n}", demands=(Demand(revision_id=a.revisions[0].id, algorithm_id=a.id, in_flight=1, waiting=1),)))
            t1=time.perf_counter()
            await asyncio.wait_for(hinted.wait(), 10)
            D.append(time.perf_counter()-t); R.append(t1-t)
            node.obey(await worker.report_worker(node.id, node.report()))
            node.obey(await worker.report_worker(node.id, node.report()))
            w = asyncio.create_task(routes.fetch(since=page.version, epoch=page.epoch, wait=10))
            await asyncio.sleep(0.05)
            t=time.perf_counter()
            node.obey(await worker.report_worker(node.id, node.report()))
            F2.append(time.perf_counter()-t)
            page = await w
            assert page.changes
            F.append(time.perf_counter()-t)
    for name, x in (("demand->hint",D),("demand req",R),("ready->feed",F),("report req",F2)):
        x=sorted(x); print(name, "p50 %.1f ms  min %.1f max %.1f"%(x[len(x)//2]*1e3, x[0]*1e3, x[-1]*1e3), file=sys.stderr)
