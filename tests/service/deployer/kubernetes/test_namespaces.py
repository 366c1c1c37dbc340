"""The namespace of a satellite: whose it is, who makes it, what may be done in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from services.deployer.kubernetes.cluster import Cluster
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.problems import NoNamespace, Refused
from services.deployer.kubernetes.satellite import Satellite, Site, Unfit
from tests.service.deployer.kubernetes.versions import ECHO, LAUNCH, ready, version
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble


async def test_a_namespace_holds_one_launch(double: KubernetesDouble, manager: KubernetesManager) -> None:
    await ready(manager, version(1))
    other = satellites.order(uuid4(), 1, satellites.entry("a/b", ECHO))
    before = dict(double.store.objects)
    with pytest.raises(Refused, match=f"holds the launch {LAUNCH} already; each launch needs a namespace of its own"):
        await manager.ensure(satellites.satellite(other, ECHO))
    assert {key for key in double.store.objects if key[0] != "Pod"} == {key for key in before if key[0] != "Pod"}


async def test_what_is_somebody_elses_is_left_alone(double: KubernetesDouble, manager: KubernetesManager) -> None:
    double.add_namespace("sat")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "execution-engine", "namespace": "sat"}}
    double.store.put({**service, "spec": {"selector": {"app": "other"}}})
    with pytest.raises(Refused, match="has a Service 'execution-engine' that is none of this launch's"):
        await manager.ensure(version(1))
    assert [key for key in double.store.objects if key[1] == "sat"] == [("Service", "sat", "execution-engine")]


async def test_a_refusal_leaves_nothing_behind(
    double: KubernetesDouble, manager: KubernetesManager, cluster: Cluster
) -> None:
    double.allowed = lambda user, verb, resource, namespace: (
        (verb, resource) != ("patch", "networkpolicies.networking.k8s.io")
    )
    with pytest.raises(Refused, match=r"NetworkPolicy '.*cannot patch resource \"networkpolicies\".*; and 1 more"):
        await manager.ensure(version(1))
    await eventually(lambda: ("Namespace", None, "sat") not in double.store.objects)
    assert not [key for key in double.store.objects if key[1] == "sat"]

    double.allowed = lambda user, verb, resource, namespace: resource != "namespaces" or verb == "get"
    with pytest.raises(
        NoNamespace, match=r"no namespace 'sat' in cluster 'double', and it cannot be made: .*forbidden"
    ):
        await manager.ensure(version(1))
    with pytest.raises(NoNamespace, match=r"there is no namespace 'sat' in cluster 'double'$"):
        await KubernetesManager(cluster, Site("sat", create_namespace=False)).ensure(version(1))
    double.allowed = lambda user, verb, resource, namespace: resource != "namespaces"
    with pytest.raises(NoNamespace, match="there is no namespace 'sat'"):
        await manager.ensure(version(1))
    double.add_namespace("sat")
    await ready(manager, version(1))
    double.allowed = lambda user, verb, resource, namespace: (verb, resource) != ("list", "secrets")
    with pytest.raises(Refused, match='cannot list resource "secrets"'):
        await manager.ensure(version(1))


def a_secret_of_a_launch(double: KubernetesDouble) -> None:
    labels = {"app.kubernetes.io/managed-by": "constellation", "constellation.dev/launch": str(uuid4())}
    metadata = {"name": "execution-engine-tokens", "namespace": "sat", "labels": labels}
    double.store.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})


def a_pod_of_a_stranger(double: KubernetesDouble) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    double.store.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "sat"}, "spec": spec})


@pytest.mark.parametrize("meanwhile", [a_secret_of_a_launch, a_pod_of_a_stranger])
async def test_a_namespace_that_others_began_to_use_stays(
    double: KubernetesDouble, cluster: Cluster, meanwhile: Callable[[KubernetesDouble], None]
) -> None:
    def allowed(user: str, verb: str, resource: str, namespace: str | None) -> bool:
        if verb == "patch":
            meanwhile(double)
        return True

    double.allowed = allowed
    with pytest.raises(Refused, match="Ingress 'execution-engine'"):
        await KubernetesManager(cluster, Site("sat", fqdn="no host name")).ensure(version(1))
    assert "deletionTimestamp" not in double.body("Namespace", "sat", None)["metadata"]


async def test_a_namespace_that_somebody_else_made_at_the_same_time_stays(
    double: KubernetesDouble, cluster: Cluster
) -> None:
    def allowed(user: str, verb: str, resource: str, namespace: str | None) -> bool:
        if (verb, resource) in (("patch", "namespaces"), ("create", "namespaces")):
            double.add_namespace("sat")
        return True

    double.allowed = allowed
    with pytest.raises(Refused, match="Ingress 'execution-engine'"):
        await KubernetesManager(cluster, Site("sat", fqdn="no host name")).ensure(version(1))
    assert "deletionTimestamp" not in double.body("Namespace", "sat", None)["metadata"]


async def test_what_is_unfit_makes_no_namespace(double: KubernetesDouble, manager: KubernetesManager) -> None:
    with pytest.raises(Unfit, match="there is no image"):
        await manager.ensure(Satellite(version(1).plan, {}, "g"))
    assert {verb for verb, _ in double.requests} == {"get"}


HOWTO = Path(__file__).parents[4] / "docs" / "howto" / "launch-on-kubernetes.md"


async def test_the_rights_that_the_documentation_names_are_enough(
    double: KubernetesDouble, manager: KubernetesManager
) -> None:
    (said,) = re.findall(r"```yaml\n(.*?)```", HOWTO.read_text(), re.DOTALL)
    rules = yaml.safe_load(said)["rules"]
    refused: list[tuple[str, str]] = []

    def allowed(user: str, verb: str, resource: str, namespace: str | None) -> bool:
        plural, _, group = resource.partition(".")
        granted = any(
            verb in rule["verbs"] and plural in rule["resources"] and group in rule["apiGroups"] for rule in rules
        )
        if not granted or namespace != "sat":
            refused.append((verb, resource))
        return granted and namespace == "sat"

    double.add_namespace("sat")
    double.allowed = allowed
    await ready(manager, version(1, secrets={ECHO.id: {"KEY": "v"}}))
    double.edit("Deployment", "execution-engine", lambda body: body["spec"].update(replicas=5))
    changes = manager.changes(LAUNCH)
    await anext(changes)
    await changes.aclose()
    await ready(manager, version(2, revision=1))
    assert await manager.logs(LAUNCH, 100)
    await manager.stop(LAUNCH, patience=0.1)
    assert set(refused) == {("get", "namespaces")}, "which tells it to take the namespace for granted"


async def test_the_rights_to_make_a_namespace_are_three(double: KubernetesDouble, cluster: Cluster) -> None:
    assert "it also needs `get`, `create` and `delete` of `namespaces`" in HOWTO.read_text()
    verbs = ("get", "create", "delete")
    double.allowed = lambda user, verb, resource, namespace: resource != "namespaces" or verb in verbs
    with pytest.raises(Refused, match="Ingress"):
        await KubernetesManager(cluster, Site("sat", fqdn="no host name")).ensure(version(1))
    await eventually(lambda: ("Namespace", None, "sat") not in double.store.objects)
    await ready(KubernetesManager(cluster, Site("sat")), version(1))
