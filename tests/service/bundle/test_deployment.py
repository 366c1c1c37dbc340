"""A bundle is deployed to a registry and a cluster: whole, again without a change, or refused in words."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import httpx
import pytest

from constellation.bundle import checks, configuration, deployment
from constellation.bundle.deployment import Deployed
from constellation.bundle.problems import BundleProblem, Misconfigured
from libs.common.oci.documents import MANIFEST
from tests.service.bundle.conftest import Site
from tests.support.bundles import LAUNCH, SATELLITE, SECRET
from tests.support.docker_registry import BCRYPT, PASSWORD, DockerRegistry
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.controllers import Outcome

FQDN = "edge.example.org"


@pytest.fixture
def configured(registry: DockerRegistry, cluster: KubernetesDouble, tmp_path: Path) -> dict[str, str]:
    return {
        "stage.container_registry": f"{registry.host}/{tmp_path.name.replace('_', '-')}",
        "stage.kubernetes.kubeconfig_path": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
        "stage.kubernetes.namespace": "sat",
        "stage.fqdn": FQDN,
        "stage.name_server": "10.96.0.10",
    }


async def deploy(site: Site, said: dict[str, str], *, report: str | None = None) -> tuple[Deployed, list[str]]:
    told: list[str] = []
    found = site.folder.verified(str(SATELLITE), str(LAUNCH))
    site.folder.data.mkdir(exist_ok=True)
    stage = configuration.stage(said)
    done = await deployment.deploy(found, stage, report_token=report, work=site.folder.data, say=told.append)
    assert not [path for path in site.folder.data.iterdir() if path.name.startswith("push-")]
    return done, told


async def test_it_is_deployed_once_and_again_is_no_change(
    site: Site, registry: DockerRegistry, cluster: KubernetesDouble, configured: dict[str, str]
) -> None:
    first, told = await deploy(site, configured, report="the key for reports")
    assert first == Deployed(True, [f"http://{FQDN}/v1/algo/edge/echo", f"http://{FQDN}/v1/algo/edge/tag"])
    assert any("ready: edge/echo" in line for line in told)
    plan = site.folder.verified(str(SATELLITE), str(LAUNCH)).plan()
    place = configured["stage.container_registry"]
    used = {
        container["image"]
        for body in cluster.bodies("Deployment")
        for container in body["spec"]["template"]["spec"]["containers"]
    }
    repository = f"{place}/satellite-{SATELLITE}"
    assert used == {
        *(f"{repository}@{digest}" for digest in plan.images.values()),
        f"{place}/execution-engine@{plan.gateway_image}",
    }, "all from the customer's registry, by digest"
    async with httpx.AsyncClient(base_url=f"http://{registry.host}") as http:
        path = repository.partition("/")[2]
        for digest in plan.images.values():
            answer = await http.get(f"/v2/{path}/manifests/{digest}", headers={"accept": MANIFEST})
            assert answer.headers["docker-content-digest"] == digest
    for policy in ("execution-engine", "constellation-algorithms"):
        assert "10.96.0.10/32" in str(cluster.body("NetworkPolicy", policy)["spec"]["egress"])
    held = [json.dumps(body["data"]) for body in cluster.bodies("Secret")]
    for value in (SECRET, "the key for reports"):
        assert any(base64.b64encode(value.encode()).decode() in one for one in held)

    cluster.requests.clear()
    again, told = await deploy(site, configured, report="the key for reports")
    assert (again.changed, again.addresses, told) == (False, first.addresses, [])
    assert not [asked for asked in cluster.requests if asked[0] in ("patch", "create", "delete")]

    await site.get(2, extra=b"another")
    newer, _ = await deploy(site, configured, report="the key for reports")
    assert newer.changed
    assert len(cluster.bodies("Ingress")) == 1


async def test_where_it_cannot_go_is_said_and_nothing_is_half_done(
    site: Site, registry: DockerRegistry, cluster: KubernetesDouble, configured: dict[str, str], tmp_path: Path
) -> None:
    cluster.allowed = lambda user, verb, resource, namespace: resource != "secrets" or verb != "patch"
    with pytest.raises(BundleProblem, match=r"secrets .* is forbidden"):
        await deploy(site, configured)
    assert not cluster.bodies("Deployment"), "it was asked before anything was applied"
    cluster.allowed = lambda *_: True
    with pytest.raises(BundleProblem, match="cannot be reached"):
        await deploy(site, {**configured, "stage.container_registry": "127.0.0.1:1/x"})
    gone = cluster.kubeconfig(tmp_path / "wrong", token="unknown")
    with pytest.raises(BundleProblem, match="Unauthorized"):
        await deploy(site, {**configured, "stage.kubernetes.kubeconfig_path": str(gone)})
    without = {key: value for key, value in configured.items() if key != "stage.fqdn"}
    done, _ = await deploy(site, {**without, "stage.kubernetes.namespace": "inner"})
    assert done.addresses[0] == "http://execution-engine.inner.svc/v1/algo/edge/echo"
    assert not cluster.bodies("Ingress", "inner")


async def test_one_that_does_not_become_ready_ends_with_the_reason(
    site: Site, cluster: KubernetesDouble, configured: dict[str, str]
) -> None:
    plan = site.folder.verified(str(SATELLITE), str(LAUNCH)).plan()
    broken = next(iter(plan.images.values()))
    cluster.image_does(broken, Outcome(ready=False, exit_status=1, last_words="no such model"))
    with pytest.raises(BundleProblem, match=r"(?s)edge/(echo|tag): 0 of 1 are ready.*no such model"):
        await deploy(site, {**configured, "stage.deadline_seconds": "10"})


class TestConfigure:
    async def refused(self, now: dict[str, str]) -> str:
        with pytest.raises(Misconfigured) as error:
            await checks.check(now, since={})
        return str(error.value)

    async def test_what_is_there_is_taken(self, configured: dict[str, str]) -> None:
        await checks.check(configured, since={})
        await checks.check({**configured, "stage.kubernetes.context": "double"}, since=configured)

    async def test_what_is_not_there_is_said_by_its_key(self, configured: dict[str, str], tmp_path: Path) -> None:
        kubeconfig = "stage.kubernetes.kubeconfig_path"
        said = await self.refused({kubeconfig: str(tmp_path / "none")})
        assert said.startswith(f"{kubeconfig}: {tmp_path / 'none'} cannot be read: No such file")
        (tmp_path / "bad").write_text("{: no")
        assert (await self.refused({kubeconfig: str(tmp_path / "bad")})).startswith(f"{kubeconfig}: cluster 'bad'")
        said = await self.refused({kubeconfig: configured[kubeconfig], "stage.kubernetes.context": "other"})
        assert said.startswith("stage.kubernetes.context: ")
        said = await self.refused({"stage.container_registry": "127.0.0.1:1/x"})
        assert said.startswith("stage.container_registry: ")
        assert "plain_http" not in said
        said = await self.refused({"stage.container_registry": "no-such-host.invalid:5000/x"})
        assert "if it has no TLS, set stage.container_registry_plain_http=true" in said

    async def test_a_registry_that_asks_who_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        users = tmp_path / "users"
        users.write_text(f"joe:{BCRYPT}\n")
        auth = {"htpasswd": {"realm": "x", "path": str(users)}}
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with await asyncio.to_thread(lambda: DockerRegistry(tmp_path / "registry", auth=auth)) as server:
            now = {"stage.container_registry": f"{server.host}/x"}
            assert "asks for a user and password" in await self.refused(now)
            basic = base64.b64encode(f"joe:{PASSWORD}".encode()).decode()
            (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": basic}}}))
            await checks.check(now, since={})

    async def test_only_what_is_new_is_looked_at_and_paths_become_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = {"stage.kubernetes.kubeconfig_path": str(tmp_path / "gone"), "stage.container_registry": "127.0.0.1:1"}
        await checks.check({**gone, "stage.fqdn": FQDN}, since=gone)
        monkeypatch.chdir(tmp_path)
        made = checks.absolute({"stage.kubernetes.kubeconfig_path": "config"})
        assert made == {"stage.kubernetes.kubeconfig_path": str(tmp_path / "config")}
        assert checks.absolute({}) == {}
