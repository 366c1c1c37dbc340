"""Plans of satellites, as the platform makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from libs.common.contracts.catalog import Artifact, CatalogEntry, Language, Revision, Scaling
from libs.common.contracts.identity import Account, AccountKind, Key, Permissions
from libs.common.contracts.launches import BundleTarget, KeySet, LaunchEntry, LaunchOrder, OrderAction
from libs.common.contracts.satellites import SatellitePlan
from libs.common.directory import key_hash

OWNER = "joe"


class PlanMaker:
    """A launch of `edge` with joe's keys. What it is made of can change from one `plan` to the next."""

    def __init__(self, *vanity_urls: str, keys: Iterable[str]) -> None:
        self.launch_id, self.satellite_id, self.account_id = uuid4(), uuid4(), uuid4()
        self.version = 1
        self.vanity_urls = vanity_urls
        self.keys = {raw: Key(id=uuid4(), owner=OWNER, permissions=Permissions(allow_algo=True)) for raw in keys}
        self.algorithms: dict[str, CatalogEntry] = {}
        self.concurrency = 1
        self.mothership: str | None = None

    def expire(self, raw: str, at: datetime) -> None:
        self.keys[raw] = self.keys[raw].model_copy(update={"expires_at": at})

    def plan(self, **members: Any) -> SatellitePlan:
        for vanity in self.vanity_urls:
            if vanity not in self.algorithms:
                self.algorithms[vanity] = _algorithm(vanity.replace("/", "_").replace("-", "_"), self.concurrency)
        algorithms = {vanity: self.algorithms[vanity] for vanity in self.vanity_urls}
        hashes = {key_hash(raw): OWNER for raw in self.keys}
        joe = Account(id=self.account_id, name=OWNER, kind=AccountKind.USER)
        given: dict[str, Any] = {
            "order": self.order(algorithms),
            "keys": KeySet(keys=hashes),
            "identity": {f"account:{OWNER}": joe.model_dump(mode="json")}
            | {f"key:{key_hash(raw)}": key.model_dump(mode="json") for raw, key in self.keys.items()},
            "catalog": tuple(algorithms.values()),
            "mothership": self.mothership,
        }
        return SatellitePlan(**given | members)

    def order(self, algorithms: Mapping[str, CatalogEntry]) -> LaunchOrder:
        return LaunchOrder(
            deployment_id=UUID(int=self.version),
            launch_id=self.launch_id,
            number=self.version,
            action=OrderAction.DEPLOY,
            satellite_id=self.satellite_id,
            satellite="edge",
            satellite_version=self.version,
            name="factory",
            entries=tuple(
                LaunchEntry(
                    vanity_url=vanity,
                    owner=one.owner,
                    name=one.name,
                    commit=one.revisions[0].commit,
                    algorithm_id=one.id,
                    revision_id=one.revisions[0].id,
                    replicas=1,
                )
                for vanity, one in algorithms.items()
            ),
            keys=f"digest {self.version}",
            target=BundleTarget(),
            by="root",
            at="2026-01-01T00:00:00Z",
        )


def _algorithm(name: str, concurrency: int) -> CatalogEntry:
    revision = Revision(
        id=uuid4(),
        commit=uuid4().hex + "00000000",
        language=Language.PYTHON,
        artifact=Artifact(source="0" * 64, digest="0" * 64),
        built_at="2026-01-01T00:00:00Z",
    )
    scaling = Scaling(concurrency=concurrency)
    return CatalogEntry(id=uuid4(), owner=OWNER, name=name, revisions=(revision,), scaling=scaling)
