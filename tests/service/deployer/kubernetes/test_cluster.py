"""The door to a cluster: what it asks, follows, and says of what goes wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio.config import incluster_config

from services.deployer.kubernetes import cluster as door
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Change, Cluster, connect
from services.deployer.kubernetes.problems import ClusterError, Conflicting, NoNamespace, Refused, Unreachable
from services.deployer.kubernetes.satellite import Manifest
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.asked import Refusal


def settings(name: str, **data: str) -> Manifest:
    labels = {"color": "red"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data}


@pytest.fixture
def sat(double: KubernetesDouble) -> str:
    double.add_namespace("sat")
    return "sat"


async def test_objects_are_applied_got_listed_and_deleted(
    double: KubernetesDouble, cluster: Cluster, sat: str
) -> None:
    assert await cluster.get("ConfigMap", "one", sat) is None
    await cluster.apply(settings("one", a="1"), sat, dry_run=True)
    assert await cluster.get("ConfigMap", "one", sat) is None
    made = await cluster.apply(settings("one", a="1"), sat)
    assert (await cluster.apply(settings("one", a="1"), sat))["metadata"] == made["metadata"]
    await cluster.apply(settings("one", b="2"), sat)
    found = await cluster.get("ConfigMap", "one", sat)
    assert found is not None
    assert found["data"] == {"b": "2"}, "what is not applied any more goes"
    assert found["metadata"]["managedFields"][0]["manager"] == "constellation"
    await cluster.delete("ConfigMap", "one", sat)
    await cluster.delete("ConfigMap", "one", sat)
    assert await cluster.list("ConfigMap", sat) == ([], str(double.store.version))


async def test_long_lists_come_in_pages(
    double: KubernetesDouble, cluster: Cluster, sat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PAGE", 2)
    for number in range(5):
        await cluster.apply(settings(f"n{number}"), sat)
    double.requests.clear()
    found, _ = await cluster.list("ConfigMap", sat, {"color": "red"})
    assert [one["metadata"]["name"] for one in found] == [f"n{number}" for number in range(5)]
    assert {one["kind"] for one in found} == {"ConfigMap"}
    assert len(double.requests) == 3
    assert (await cluster.list("ConfigMap", sat, {"color": "blue"}))[0] == []


async def test_fields_of_others_are_a_conflict_until_they_are_taken_over(
    double: KubernetesDouble, cluster: Cluster, sat: str
) -> None:
    await cluster.apply(settings("one", a="1"), sat)
    double.edit("ConfigMap", "one", lambda body: body["data"].update(a="2", other="x"))
    with pytest.raises(Conflicting, match=r'conflict with "kubectl-edit" using v1: \.data\.a'):
        await cluster.apply(settings("one", a="1"), sat)
    await cluster.apply(settings("one", a="1"), sat, force=True)
    assert double.body("ConfigMap", "one")["data"] == {"a": "1", "other": "x"}
    await cluster.apply(settings("one", a="3"), sat)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            settings("one") | {"data": {"a": 1}},
            "'double' does not take it: ConfigMap \"one\" is invalid: data.a: 1 is not",
        ),
        (settings("one") | {"wrong": 1}, "'wrong' was unexpected"),
        (settings("Upper"), "is invalid: metadata.name: a lowercase RFC 1123 subdomain"),
    ],
)
async def test_what_is_wrong_is_refused_in_the_clusters_words(
    cluster: Cluster, sat: str, body: Manifest, reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        await cluster.apply(body, sat)
    assert reason in str(caught.value)


async def test_what_the_cluster_answers_is_said_in_words(
    double: KubernetesDouble, cluster: Cluster, sat: str
) -> None:
    with pytest.raises(
        NoNamespace, match="there is no namespace 'nowhere' in cluster 'double': namespaces \"nowhere\""
    ):
        await cluster.apply(settings("one"), "nowhere")
    double.allowed = lambda user, verb, resource, namespace: verb == "list"
    with pytest.raises(Refused, match='does not allow it: configmaps "one" is forbidden: User "admin" cannot get'):
        await cluster.get("ConfigMap", "one", sat)
    double.users.clear()
    with pytest.raises(Refused, match=r"'double' does not accept the credential in its kubeconfig \(Unauthorized\)"):
        await cluster.list("ConfigMap", sat)
    for code in (429, 500, 503):
        double.failing = Refusal(code, "Busy", "try again later")
        with pytest.raises(Unreachable, match=rf"cannot do it now \(status {code}\): try again later"):
            await cluster.list("ConfigMap", sat)


async def follow(cluster: Cluster, seen: list[Change]) -> None:
    async for change in cluster.watch("ConfigMap", "sat", {"color": "red"}):
        seen.append(change)


@pytest.fixture
async def seen(cluster: Cluster, sat: str) -> AsyncIterator[list[Change]]:
    found: list[Change] = []
    task = asyncio.create_task(follow(cluster, found))
    await eventually(lambda: found)
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def names(changes: list[Change]) -> list[str | None]:
    return [one.body["metadata"]["name"] if one.body is not None else None for one in changes]


async def test_changes_are_followed_over_lost_connections(
    double: KubernetesDouble, cluster: Cluster, sat: str, seen: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    await eventually(lambda: double.watches == 1)
    await cluster.apply(settings("one"), sat)
    await eventually(lambda: len(seen) == 2)
    double.failing = Refusal(503, "Busy", "restarting")
    double.drop_watches()
    await eventually(lambda: double.watches == 0)
    double.store.put({**settings("two"), "metadata": {"name": "two", "namespace": sat, "labels": {"color": "red"}}})
    double.failing = None
    await eventually(lambda: len(seen) == 3)
    await cluster.delete("ConfigMap", "one", sat)
    await eventually(lambda: len(seen) == 4)
    assert names(seen) == [None, "one", "two", "one"], "none is missed, none comes twice"


async def test_who_was_away_too_long_looks_anew(
    double: KubernetesDouble, cluster: Cluster, sat: str, seen: list[Change]
) -> None:
    await eventually(lambda: double.watches == 1)
    double.store.put({**settings("one"), "metadata": {"name": "one", "namespace": sat, "labels": {"color": "green"}}})
    double.store.compact()
    await eventually(lambda: len(seen) == 2)
    assert names(seen) == [None, None]
    await cluster.apply(settings("two"), sat)
    await eventually(lambda: len(seen) == 3)
    assert names(seen)[2] == "two"


async def test_what_is_cut_off_is_followed_anew(
    double: KubernetesDouble, cluster: Cluster, sat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "WATCH_PAUSE_SECONDS", 0.0)
    double.broken_off = '{"type": "MODIFIED", "obj'
    seen: list[Change] = []
    task = asyncio.create_task(follow(cluster, seen))
    await eventually(lambda: double.begun >= 2)
    await cluster.apply(settings("one"), sat)
    double.broken_off = None
    await eventually(lambda: len(seen) == 2)
    assert names(seen) == [None, "one"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.setattr(door, "WATCH_ATTEMPTS", 2)
    double.broken_off = "[]\n"
    with pytest.raises(Unreachable, match="cluster 'double' broke off what it told"):
        await follow(cluster, [])


@pytest.mark.parametrize("said", ["", '{"type": "ERROR", "object": {"kind": "Status", "code": 410}}\n'])
async def test_connections_that_are_ended_at_once_follow_each_other_with_a_pause(
    double: KubernetesDouble, cluster: Cluster, sat: str, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(door, "WATCH_PAUSE_SECONDS", 3600.0)
    double.broken_off = said
    task = asyncio.create_task(follow(cluster, []))
    await eventually(lambda: double.begun)
    for _ in range(50):
        await cluster.get("ConfigMap", "one", sat)
    assert double.begun == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cluster_that_is_gone_ends_the_watch(
    double: KubernetesDouble, cluster: Cluster, sat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "WATCH_ATTEMPTS", 2)
    double.failing = Refusal(503, "Busy", "restarting")
    with pytest.raises(Unreachable, match="restarting"):
        await follow(cluster, [])
    double.failing = Refusal(403, "Forbidden", "no")
    with pytest.raises(Refused):
        await follow(cluster, [])


async def test_logs(double: KubernetesDouble, cluster: Cluster, sat: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": sat}}
    double.store.put({**pod, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    double.controllers.printed["p"] = "a\nb\nc\n"
    assert await cluster.logs(sat, "p", lines=2, most=100) == b"b\nc\n"
    assert await cluster.logs(sat, "p", lines=2, most=3) == b"\nc\n"
    assert await cluster.logs(sat, "p", lines=2, most=0) == b""
    assert await cluster.logs(sat, "gone", lines=2, most=100) == b""
    double.allowed = lambda user, verb, resource, namespace: False
    with pytest.raises(Refused, match="cannot get"):
        await cluster.logs(sat, "p", lines=2, most=100)


async def test_of_long_logs_the_newest_is_read(
    double: KubernetesDouble, cluster: Cluster, sat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LOG_BYTES", 5000)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": sat}}
    double.store.put({**pod, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    double.controllers.printed["p"] = "".join(f"{number:099}\n" for number in range(1000))
    said = await cluster.logs(sat, "p", lines=1000, most=1000)
    assert said.decode().split() == [f"{number:099}" for number in range(990, 1000)]
    double.controllers.printed["p"] = "x" * 6000
    assert await cluster.logs(sat, "p", lines=1000, most=1000) == b"x" * 1000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no kubeconfig"),
        ("", "cannot be used: "),
        ("{", "cannot be used: "),
        ("- 1", "cannot be used: "),
        ("apiVersion: v1\nkind: Config\n", "cannot be used: "),
        (json.dumps({"current-context": "a", "contexts": [], "clusters": [], "users": []}), "cannot be used: "),
    ],
)
async def test_a_kubeconfig_that_is_none_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Refused, match=f"cluster 'prod': .*{reason}"):
        async with connect(Access("prod", file)):
            pass


@pytest.mark.parametrize("part", ["cluster", "user"])
async def test_a_kubeconfig_with_a_damaged_certificate_is_refused(
    double: KubernetesDouble, tmp_path: Path, part: str
) -> None:
    file = double.kubeconfig(tmp_path / "config")
    said = json.loads(file.read_text())
    damaged = b64encode(b"no certificate").decode()
    said["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    if part == "cluster":
        said["clusters"][0]["cluster"]["certificate-authority-data"] = damaged
    else:
        said["users"][0]["user"] = {"client-certificate-data": damaged, "client-key-data": damaged}
    file.write_text(json.dumps(said))
    with pytest.raises(Refused, match=r"'prod': the kubeconfig .* cannot be used: a certificate or a key .* be read"):
        async with connect(Access("prod", file)):
            pass


async def test_a_pod_with_a_damaged_certificate_of_its_cluster_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("TOKEN", "t"), ("CERT", "no certificate")):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(incluster_config, f"SERVICE_{name}_FILENAME", str(tmp_path / name))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "9")
    with pytest.raises(Refused, match="'in-cluster': its service account cannot be used: a certificate or"):
        async with connect(Access()):
            pass


async def test_a_context_that_is_not_there_is_named(double: KubernetesDouble, tmp_path: Path) -> None:
    file = double.kubeconfig(tmp_path / "config")
    with pytest.raises(Refused, match=r"config with the context 'staging' cannot be used: .*staging"):
        async with connect(Access("prod", file, "staging")):
            pass
    async with connect(Access("prod", file, "double")) as cluster:
        assert await cluster.get("Namespace", "default") is not None


async def test_outside_of_a_cluster_there_is_no_cluster_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Refused, match=r"'in-cluster': this process does not run in a pod .*CONSTELLATION_CLUSTERS"):
        async with connect(Access()):
            pass


async def test_a_wrong_certificate_and_a_closed_port_are_told_apart(tmp_path: Path) -> None:
    double = KubernetesDouble()
    double.url = "https://127.0.0.1:9"
    async with connect(Access("far", double.kubeconfig(tmp_path / "config"))) as cluster:
        with pytest.raises(Unreachable, match="cluster 'far' cannot be reached: "):
            await cluster.get("Namespace", "sat")
    error = ssl.SSLCertVerificationError("self-signed certificate")
    words = str(door._unreached("far", error))
    assert words.startswith("cluster 'far' shows a certificate that its kubeconfig does not vouch for")
    assert issubclass(NoNamespace, ClusterError)
