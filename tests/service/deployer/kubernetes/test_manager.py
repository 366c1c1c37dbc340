"""A satellite in a namespace: brought up, changed, damaged, refused, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from services.deployer.kubernetes import manager as manager_module
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Change, Cluster, connect
from services.deployer.kubernetes.manager import KubernetesManager, NotReady
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.problems import Unreachable
from services.deployer.kubernetes.satellite import Satellite, Site
from tests.service.deployer.kubernetes.versions import ECHO, LAUNCH, ready, revision_image, running, version
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.controllers import Outcome


async def test_a_satellite_is_brought_up_whole_with_its_namespace(
    double: KubernetesDouble, manager: KubernetesManager
) -> None:
    satellite = version(1, both=True, secrets={ECHO.id: {"KEY": "v"}})
    found = await ready(manager, satellite)
    assert (found.satellite_version, found.obstacle) == (1, None)
    assert [(one.vanity_url, one.desired, one.ready) for one in found.entries] == [
        ("text/echo", 2, 2),
        ("text/lone", 1, 1),
    ]
    assert found.gateway is not None
    assert found.gateway.ready == 2
    assert double.bodies("Ingress")[0]["spec"]["rules"][0]["host"] == "edge.example.com"
    assert len(double.bodies("Pod")) == 5
    before = {key: body["metadata"]["resourceVersion"] for key, body in double.store.objects.items()}
    double.requests.clear()
    again = await manager.ensure(satellite)
    assert (again.ready, again.told) == (True, ())
    assert {verb for verb, _ in double.requests} == {"get", "list"}, "nothing is written where nothing is to be done"
    assert before == {key: body["metadata"]["resourceVersion"] for key, body in double.store.objects.items()}


async def test_nothing_changes_before_the_cluster_was_asked_about_all(
    double: KubernetesDouble, manager: KubernetesManager
) -> None:
    await manager.ensure(version(1))
    verbs = [verb for verb, _ in double.requests]
    last_dry, first_wet = len(verbs) - verbs[::-1].index("dry-patch"), verbs.index("patch", verbs.index("dry-patch"))
    assert last_dry <= first_wet


async def test_a_new_version_takes_over_and_gateways_switch_last(
    double: KubernetesDouble, manager: KubernetesManager
) -> None:
    await ready(manager, version(1, both=True))
    tokens = double.body("Secret", "execution-engine-tokens")["data"]
    plan = double.body("Deployment", "execution-engine")["metadata"]["annotations"]["constellation.dev/plan"]
    double.image_does(revision_image(1), Outcome(ready=False))
    second = version(2, revision=1)
    for _ in range(6):
        found = await manager.ensure(second)
        assert not found.ready
        assert found.satellite_version == 1, "gateways serve what they served"
        echo = [pod for pod in double.bodies("Pod") if "algo-text-echo" in pod["metadata"]["name"]]
        assert sum(revision_image(0) in pod["spec"]["containers"][0]["image"] for pod in echo) == 2
        await asyncio.sleep(0.05)
    assert ("ConfigMap", "sat", plan) in double.store.objects, "what runs may start again"
    double.image_does(revision_image(1), Outcome())
    found = await ready(manager, second)
    assert found.satellite_version == 2
    assert [one.vanity_url for one in found.entries] == ["text/echo"], "the other one ended"
    assert ("ConfigMap", "sat", plan) not in double.store.objects
    assert double.body("Secret", "execution-engine-tokens")["data"] == tokens, "or gateways and replicas would part"
    await eventually(lambda: revision_image(0) not in running(double) and revision_image(1) in running(double))


async def test_going_back_needs_no_memory(
    double: KubernetesDouble, manager: KubernetesManager, cluster: Cluster
) -> None:
    await ready(manager, version(1))
    double.image_does(revision_image(1), Outcome(exit_status=1, last_words="Traceback\nValueError: no model"))
    bad = version(2, revision=1)
    await manager.ensure(bad)
    found = await obstacle(manager, bad)
    assert found == "text/echo: 0 of 2 are ready (it ended with status 1, 3 times by now: ValueError: no model)"
    another = KubernetesManager(cluster, Site("sat", fqdn="edge.example.com"))
    back = await ready(another, version(1))
    assert back.satellite_version == 1
    assert revision_image(1) not in running(double)


async def obstacle(manager: KubernetesManager, satellite: Satellite) -> str:
    """With a reason."""

    async def step() -> str:
        found = (await manager.ensure(satellite)).obstacle
        assert found is not None
        assert "(" in found
        return found

    return await eventually(step)


async def test_drift_is_repaired_and_told(double: KubernetesDouble, manager: KubernetesManager) -> None:
    satellite = version(1)
    await ready(manager, satellite)
    name = next(body["metadata"]["name"] for body in double.bodies("Service") if "algo" in body["metadata"]["name"])
    double.store.remove(("Service", "sat", name))
    double.edit("Deployment", name, lambda body: body["spec"].update(replicas=7))
    double.edit("Deployment", "execution-engine", lambda body: body["metadata"]["labels"].clear())
    found = await manager.ensure(satellite)
    words = "\n".join(found.told)
    assert f"applied Service '{name}'" in words
    assert f"set back Deployment '{name}' (spec.replicas): Apply failed with 1 conflict" in words
    assert 'conflict with "kubectl-edit"' in words
    assert "Deployment 'execution-engine'" in words
    await ready(manager, satellite)
    assert double.body("Deployment", name)["spec"]["replicas"] == 2
    double.edit("Deployment", name, lambda body: body["metadata"]["labels"].update(mine="yes"))
    assert (await manager.ensure(satellite)).told == (), "what others add is theirs"


async def test_pods_that_are_killed_come_again(double: KubernetesDouble, manager: KubernetesManager) -> None:
    satellite = version(1)
    await ready(manager, satellite)
    killed = double.bodies("Pod")[0]
    changes = manager.changes(LAUNCH)
    await anext(changes)
    double.store.remove(("Pod", "sat", killed["metadata"]["name"]))
    async with asyncio.timeout(60):
        await anext(changes)
    await changes.aclose()
    await ready(manager, satellite)
    assert killed["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in double.bodies("Pod")}
    await eventually(lambda: double.watches == 0)


async def test_a_watch_that_fails_ends_all_of_it(
    double: KubernetesDouble, manager: KubernetesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(manager, version(1))
    watch = Cluster.watch

    async def faulty(self: Cluster, kind: str, namespace: str, selector: Mapping[str, str]) -> AsyncIterator[Change]:
        async for change in watch(self, kind, namespace, selector):
            yield change
            if kind == "Pod":
                raise KeyError("a fault")

    monkeypatch.setattr(Cluster, "watch", faulty)
    async with asyncio.timeout(60):
        with pytest.raises(KeyError, match="a fault"):
            async for _ in manager.changes(LAUNCH):
                pass
    await eventually(lambda: double.watches == 0)


async def test_more_and_fewer_replicas(double: KubernetesDouble, manager: KubernetesManager) -> None:
    for count in (1, 4, 2):
        found = await ready(manager, version(count, replicas=count))
        assert [one.ready for one in found.entries] == [count]
        budgets = [one["metadata"]["name"] for one in double.bodies("PodDisruptionBudget")]
        assert any("algo" in name for name in budgets) is (count > 1)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(pull_error="dial tcp: lookup registry.test: no such host"), "cannot be pulled: dial tcp: lookup"),
        (Outcome(exit_status=137, out_of_memory=True), "it used more memory than its 512Mi, 3 times by now"),
        (Outcome(exit_status=3), "it ended with status 3, 3 times by now"),
        (Outcome(ready=False, warning="Startup probe failed: status 503"), "Startup probe failed: status 503"),
    ],
)
async def test_what_does_not_start_says_why(
    double: KubernetesDouble, manager: KubernetesManager, outcome: Outcome, reason: str
) -> None:
    double.image_does(revision_image(0), outcome)
    await manager.ensure(version(1, replicas=1))
    assert reason in await obstacle(manager, version(1, replicas=1))


async def test_gpus_that_no_node_has_are_said(double: KubernetesDouble, manager: KubernetesManager) -> None:
    learner = satellites.algorithm("learner", gpus=2)
    order = satellites.order(LAUNCH, 1, satellites.entry("a/learner", learner))
    satellite = satellites.satellite(order, learner)
    await manager.ensure(satellite)
    found = await obstacle(manager, satellite)
    assert "no node has the GPUs that it asks for: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu" in found
    double.controllers.gpus = 2
    await ready(manager, satellite)


async def test_a_full_namespace_is_said(double: KubernetesDouble, manager: KubernetesManager) -> None:
    double.controllers.quotas["sat"] = 2
    await manager.ensure(version(1))
    found = await obstacle(manager, version(1))
    assert "the namespace's quota is used up: pods" in found
    double.controllers.quotas.clear()
    await ready(manager, version(1))


async def test_it_ends_from_the_front(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1))
    gateway = version(1).gateway_image
    double.image_does(gateway, Outcome(holds=True))
    for _ in range(4):
        assert not await manager.retire(LAUNCH)
        await asyncio.sleep(0.05)
    assert not double.bodies("Ingress")
    kept = {body["metadata"]["name"] for body in double.bodies("Deployment")}
    assert len(kept) == 1, "a gateway has a call under way, and the call its replica"
    assert "execution-engine" not in kept
    double.image_does(gateway, Outcome())

    async def gone() -> bool:
        return await manager.retire(LAUNCH)

    await eventually(gone)
    assert not [key for key in double.store.objects if key[1] == "sat" and key[0] != "Event"]
    assert await manager.retire(LAUNCH), "and again"
    assert await manager.list() == {}


async def test_what_runs_keeps_its_policies_to_its_end(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1))
    policies = {body["metadata"]["name"] for body in double.bodies("NetworkPolicy")}
    double.image_does(revision_image(0), Outcome(holds=True))

    async def only_replicas_are_left() -> bool:
        assert not await manager.retire(LAUNCH)
        return not double.bodies("Deployment") and len(double.bodies("Pod")) == 2

    await eventually(only_replicas_are_left)
    for _ in range(3):
        assert not await manager.retire(LAUNCH)
    assert {body["metadata"]["name"] for body in double.bodies("NetworkPolicy")} == policies
    double.image_does(revision_image(0), Outcome())
    await eventually(lambda: manager.retire(LAUNCH))
    assert not double.bodies("NetworkPolicy")


async def test_what_does_not_end_is_ended_by_force(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1))
    double.image_does("registry.test", Outcome(holds=True))
    double.requests.clear()
    await manager.stop(LAUNCH, patience=0.3)
    assert await manager.inspect(LAUNCH) is None
    deleted = [resource for verb, resource in double.requests if verb == "delete"]
    last_pod = len(deleted) - deleted[::-1].index("pods")
    assert "networkpolicies.networking.k8s.io" not in deleted[:last_pod], "nobody runs without them"
    assert not [key for key in double.store.objects if key[1] == "sat" and key[0] != "Event"]


async def test_bringing_up_tells_each_step_or_why_not(
    double: KubernetesDouble, manager: KubernetesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "LOOK_SECONDS", 0.05)
    heard: list[Observation] = []
    found = await manager.bring_up(version(1), deadline_seconds=60, told=heard.append)
    assert found.ready
    assert heard[-1] is found
    assert len(heard) > 1
    double.image_does(revision_image(1), Outcome(pull_error="no such host"))
    with pytest.raises(NotReady, match=r"not ready within 2 s: text/echo: .*cannot be pulled: no such host"):
        await manager.bring_up(version(2, revision=1), deadline_seconds=2)
    assert revision_image(0) in running(double), "the version before serves on"


async def test_an_unreachable_cluster_is_said(tmp_path: Path) -> None:
    double = KubernetesDouble()
    double.url = "http://127.0.0.1:9"
    async with connect(Access("far", double.kubeconfig(tmp_path / "config"))) as cluster:
        manager = KubernetesManager(cluster, Site("sat"))
        with pytest.raises(Unreachable, match="cluster 'far' cannot be reached: "):
            await manager.ensure(version(1))
        with pytest.raises(NotReady, match="cluster 'far' cannot be reached"):
            await manager.bring_up(version(1), deadline_seconds=0.5)


async def test_logs_are_of_all_pods_or_of_one_entrys(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1, both=True))
    everything = (await manager.logs(LAUNCH, 10_000)).decode()
    assert everything.count("begins") == 5
    lone = (await manager.logs(LAUNCH, 10_000, vanity_url="text/lone")).decode()
    assert (lone.count("begins"), lone.startswith("== algo-text-lone-")) == (1, True)
    short = (await manager.logs(LAUNCH, len(everything) - 10)).decode()
    assert (short.count("== "), len(short) < len(everything)) == (5, True)
    assert len(await manager.logs(LAUNCH, 4)) == 4
    assert await manager.logs(LAUNCH, 0) == b""


async def test_sidecars_hide_no_log(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1, replicas=1))
    sidecar = {"name": "sidecar", "image": "proxy"}
    for pod in double.bodies("Pod"):
        double.edit("Pod", pod["metadata"]["name"], lambda body: body["spec"]["containers"].append(sidecar))
    assert (await manager.logs(LAUNCH, 10_000)).decode().count("begins") == 3
