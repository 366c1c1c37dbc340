"""Which place an order means, what is kept of what was seen, and what a launch in a cluster is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.images import ImagesOf, ImageStatus, WorkState
from libs.common.contracts.launches import EntryStatus, LaunchOrder, WorkersTarget
from libs.common.contracts.satellites import SatellitePlan
from libs.common.problems import Conflict, Unavailable
from services.deployer import clusters
from services.deployer.clusters import Clusters, Place, Seen
from services.deployer.kubernetes.observed import Observation, Part
from services.deployer.kubernetes.problems import Refused
from services.deployer.kubernetes.satellite import Unfit
from services.deployer.satellite_source import Images, NotYet, PlatformSatellites
from services.deployer.settings import ClusterSettings, DeployerSettings
from tests.support import cluster_satellites as satellites

LAUNCH = UUID(int=1)
ECHO = satellites.algorithm("echo")
SECRET = satellites.algorithm("secret").model_copy(update={"secrets_version": 3})
ORDER = satellites.order(LAUNCH, 1, satellites.entry("a/echo", ECHO), satellites.entry("a/secret", SECRET))


def test_the_place_of_an_order() -> None:
    assert clusters.place(ORDER) == Place(cluster="in-cluster", namespace="sat")
    assert clusters.place(ORDER.model_copy(update={"target": WorkersTarget()})) is None
    assert clusters.place(None) is None
    one = Place(cluster="a", namespace="n", fqdn="f")
    assert one.is_same(Place(cluster="a", namespace="n"))
    assert not one.is_same(Place(cluster="b", namespace="n"))
    assert one.words == "namespace 'n' of cluster 'a'"


def test_what_gateways_serve_counts_when_one_is_ready() -> None:
    entry = EntryStatus(vanity_url="a/b", algorithm="x", desired=1)
    found = Observation(LAUNCH, satellite_version=4, gateway=Part(2, 1, 1, 0, settled=False), entries=(entry,))
    assert clusters.seen(found, "why") == Seen(serving_version=4, entries=(entry,), obstacle="why")
    assert (
        clusters.seen(Observation(LAUNCH, satellite_version=4, gateway=Part(2, 0, 2, 0, settled=False)), None)
        == Seen()
    )
    assert clusters.seen(None, "gone") == Seen(obstacle="gone")


async def test_only_clusters_of_the_settings_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONSTELLATION_CLUSTERS", '{"prod": {"kubeconfig": "/none/config", "gateway_replicas": 3}}')
    settings = DeployerSettings(data_dir=tmp_path)
    assert settings.clusters == {"prod": ClusterSettings(kubeconfig=Path("/none/config"), gateway_replicas=3)}
    known = Clusters(settings.clusters)
    for cluster, words in (
        ("moon", "knows no cluster 'moon', but 'in-cluster', 'prod'; name its kubeconfig in CONSTELLATION_CLUSTERS"),
        ("prod", "there is no kubeconfig /none/config"),
        ("in-cluster", "this process does not run in a pod of a cluster"),
    ):
        with pytest.raises(Refused) as caught:
            async with known.manager(Place(cluster=cluster, namespace="sat")):
                pass
        assert words in str(caught.value)
    with pytest.raises(Unfit):
        async with known.manager(Place(cluster="prod", namespace="Not legal")):
            pass


def test_name_servers_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = '{"prod": {"name_servers": ["10.96.0.10", "10.99.0.0/24", "fd00::a"]}}'
    monkeypatch.setenv("CONSTELLATION_CLUSTERS", told)
    servers = DeployerSettings(data_dir=tmp_path).clusters["prod"].name_servers
    assert [str(one) for one in servers] == ["10.96.0.10/32", "10.99.0.0/24", "fd00::a/128"]
    monkeypatch.setenv("CONSTELLATION_CLUSTERS", told.replace("10.96.0.10", "dns.example.com"))
    with pytest.raises(ValueError, match="value is not a valid IPv4 or IPv6 network"):
        DeployerSettings(data_dir=tmp_path)


class Registry:
    """Answers as the registry does."""

    def __init__(self, found: ImagesOf | None = None) -> None:
        self.found = found
        self.asked: list[Any] = []

    async def images_at(self, registry: str, revisions: Collection[UUID]) -> ImagesOf:
        self.asked.append((registry, set(revisions)))
        if self.found is None:
            raise Unavailable("registry cannot be reached")
        return self.found

    async def launch_plan(self, launch_id: UUID, deployment_id: UUID) -> SatellitePlan:
        if self.found is None:
            raise Unavailable("registry cannot be reached")
        return satellites.plan(ORDER, ECHO, SECRET)

    async def environment(self, revision_id: UUID) -> dict[str, str]:
        self.asked.append(revision_id)
        return {"KEY": "value"}


class Fakts:
    def __init__(self, *, revoked: bool = False) -> None:
        self.revoked = revoked

    async def report_key(self, launch_id: UUID) -> str:
        if self.revoked:
            raise Conflict("an administrator revoked it")
        return f"key of {launch_id}"


def source(registry: Registry, fakts: Fakts | None = None) -> PlatformSatellites:
    found: Any = fakts or Fakts()
    asked: Any = registry
    return PlatformSatellites(asked, found)


def pushed(**changed: ImageStatus) -> ImagesOf:
    there = ImageStatus(state=WorkState.READY, digest="sha256:" + "a" * 64, reference="r/x@sha256:1")
    return ImagesOf(
        images={str(one.revision_id): there for one in ORDER.entries}, gateway=changed.get("gateway", there)
    )


async def satellite(registry: Registry, order: LaunchOrder = ORDER, fakts: Fakts | None = None) -> Any:
    found = source(registry, fakts)
    return await found.satellite(order, await found.images(order))


async def test_a_satellite_is_made_of_what_the_platform_says() -> None:
    registry = Registry(pushed())
    made = await satellite(registry)
    assert made.images == {one.revision_id: "r/x@sha256:1" for one in ORDER.entries}
    assert made.secrets == {SECRET.id: {"KEY": "value"}}
    assert made.report_token == f"key of {LAUNCH}"
    assert registry.asked == [
        ("registry.test/sat", {one.revision_id for one in ORDER.entries}),
        SECRET.revisions[0].id,
    ]
    assert (await satellite(registry, fakts=Fakts(revoked=True))).report_token is None
    kept = Images.model_validate(Images(revisions=made.images, gateway="g").model_dump(mode="json"))
    assert kept.revisions == made.images


async def test_without_a_mothership_there_is_nobody_to_report_to(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(pushed())

    async def alone(launch_id: UUID, deployment_id: UUID) -> SatellitePlan:
        return satellites.plan(ORDER, ECHO, SECRET).model_copy(update={"mothership": None})

    monkeypatch.setattr(registry, "launch_plan", alone)
    assert (await satellite(registry)).report_token is None


@pytest.mark.parametrize(
    ("registry", "target", "reason"),
    [
        (Registry(), {}, "images: registry cannot be reached"),
        (Registry(pushed()), {"container_registry": None}, "names no container_registry"),
        (
            Registry(pushed(gateway=ImageStatus(state=WorkState.RUNNING))),
            {},
            "images: the image for gateways is being made or pushed",
        ),
        (Registry(ImagesOf()), {}, "images: there is none for gateways"),
    ],
    ids=["unreachable", "unnamed", "being made", "no gateway"],
)
def test_what_is_not_there_yet_is_said(registry: Registry, target: dict[str, Any], reason: str) -> None:
    order = ORDER.model_copy(update={"target": ORDER.target.model_copy(update=target)})
    with pytest.raises(NotYet, match=reason):
        asyncio.run(satellite(registry, order))


async def test_a_registry_that_is_gone_is_a_reason() -> None:
    with pytest.raises(NotYet, match="registry cannot be reached"):
        await source(Registry()).satellite(ORDER, Images(revisions={}, gateway="g"))
