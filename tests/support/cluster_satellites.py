"""Satellites for tests of what runs them: orders, plans, and what a cluster is to make of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from libs.common.contracts.catalog import Artifact, CatalogEntry, Language, NetworkAccess, Revision, Scaling
from libs.common.contracts.launches import KeySet, KubernetesTarget, LaunchEntry, LaunchOrder, OrderAction
from libs.common.contracts.satellites import SatellitePlan
from services.deployer.kubernetes.satellite import Satellite

WHEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_NAMES = UUID(int=99)


def algorithm(
    name: str, *, revisions: int = 2, access: NetworkAccess = NetworkAccess.FULL, **scaling: Any
) -> CatalogEntry:
    """The same name gives the same ids."""
    return CatalogEntry(
        id=uuid5(_NAMES, name),
        owner="joe",
        name=name,
        network_access=access,
        scaling=Scaling.model_validate({"memory_mib": 512, **scaling}),
        revisions=tuple(
            Revision(
                id=uuid5(_NAMES, f"{name}/{number}"),
                commit=f"{number:040x}",
                version=f"1.0.{number}",
                language=Language.PYTHON,
                artifact=Artifact(source="s" * 64, digest="d" * 64),
                built_at=WHEN,
            )
            for number in range(revisions)
        ),
    )


def entry(vanity_url: str, of: CatalogEntry, revision: int = 0, replicas: int = 1) -> LaunchEntry:
    return LaunchEntry(
        vanity_url=vanity_url,
        owner=of.owner,
        name=of.name,
        commit=of.revisions[revision].commit,
        algorithm_id=of.id,
        revision_id=of.revisions[revision].id,
        replicas=replicas,
    )


def order(
    launch_id: UUID, version: int, *entries: LaunchEntry, number: int | None = None, **more: Any
) -> LaunchOrder:
    number = version if number is None else number
    members: dict[str, Any] = {
        "deployment_id": uuid5(launch_id, f"order {number}"),
        "launch_id": launch_id,
        "number": number,
        "action": OrderAction.DEPLOY,
        "satellite_id": UUID(int=7),
        "satellite": "edge",
        "satellite_version": version,
        "name": "prod",
        "entries": entries,
        "keys": f"digest{version}",
        "target": KubernetesTarget(namespace="sat", deadline_seconds=60, container_registry="registry.test/sat"),
        "by": "root",
        "at": WHEN,
    }
    return LaunchOrder.model_validate({**members, **more})


def plan(said: LaunchOrder, *catalog: CatalogEntry, keys: int = 1) -> SatellitePlan:
    return SatellitePlan(
        order=said,
        keys=KeySet(keys={f"{number:064x}": "joe" for number in range(keys)}),
        catalog=catalog,
        mothership="https://platform.test",
    )


def satellite(said: LaunchOrder, *catalog: CatalogEntry, image: str | None = None, **more: Any) -> Satellite:
    """With one image for all, or one for each revision."""
    images = {one.revision_id: image or f"registry.test/sat@sha256:{one.revision_id.hex * 2}" for one in said.entries}
    gateway = image or "registry.test/sat@sha256:" + "9" * 64
    return Satellite(plan(said, *catalog), images, gateway, **more)
