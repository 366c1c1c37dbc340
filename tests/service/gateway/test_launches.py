"""Calls of launches by vanity URL."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.launches import Launched, LaunchedEntry, entry_id
from libs.common.directory import key_hash
from tests.service.gateway.client import call
from tests.service.gateway.conftest import Platform
from tests.service.gateway.doubles import ReplicaDouble, entry
from tests.support.eventually import eventually

VANITY = "text-tools/echo"


class Launch:
    """One launch of joe/echo."""

    def __init__(self, platform: Platform, *keys: str, algorithm: CatalogEntry | None = None) -> None:
        self.platform = platform
        self.id = uuid4()
        self.keys = {key_hash(raw): "joe" for raw in keys}
        self.algorithm = algorithm or platform.echo
        self.route = entry_id(self.id, VANITY)

    def tell(self, *, version: int = 1, plain: bool = True, vanity: str = VANITY) -> None:
        said = Launched(
            launch_id=self.id,
            satellite_version=version,
            keys=f"digest of {self.id} {version}",
            entries=(
                LaunchedEntry(
                    vanity_url=vanity,
                    owner=self.algorithm.owner,
                    name=self.algorithm.name,
                    algorithm_id=self.algorithm.id,
                    revision_id=self.algorithm.revisions[-1].id,
                    route=entry_id(self.id, vanity),
                ),
            ),
            plain=(vanity,) if plain else (),
        )
        self.platform.deployer.launch(said, self.keys)

    async def replica(self, **members: Any) -> ReplicaDouble:
        double = await self.platform.replica(**members)
        self.platform.deployer.route(self.route, double.route)
        return double

    @property
    def base(self) -> str:
        return f"/launches/{self.id}/v1/algo/"


async def test_a_vanity_url_is_served_by_the_launchs_own_replicas(platform: Platform) -> None:
    launch = Launch(platform, platform.key)
    launch.tell()
    own = await launch.replica()
    for reference in (VANITY, f"{VANITY}/", f"algo://{VANITY}"):
        assert (await platform.call(reference, b'"x"')).result == '"x"'
    assert (await platform.call(VANITY, b'"y"', base=launch.base)).result == '"y"'
    assert len(own.calls) == 4
    assert platform.deployer.reports == [], "its replicas are not on demand"
    assert (await platform.call("text-tools/other")).status == 404
    assert (await platform.call("Text-Tools/Echo")).status == 404


async def test_each_of_two_launches_answers_at_its_own_address_and_one_at_the_plain_one(platform: Platform) -> None:
    first, second = Launch(platform, platform.key), Launch(platform, platform.key)
    first.tell(plain=True)
    second.tell(plain=False)
    one, two = await first.replica(), await second.replica()
    assert (await platform.call(VANITY, base=first.base)).status == 200
    assert (await platform.call(VANITY, base=second.base)).status == 200
    assert (await platform.call(VANITY)).status == 200
    assert (len(one.calls), len(two.calls)) == (2, 1)
    platform.deployer.launched.set(f"launch:{first.id}", None)
    second.tell(plain=True)
    await eventually(lambda: _plain(platform, second.id))
    assert (await platform.call(VANITY)).status == 200
    assert len(two.calls) == 2
    reply = await platform.call(VANITY, base=first.base)
    assert (reply.status, reply.error["message"]) == (404, f"algorithm algo://{VANITY} not found")


def _plain(platform: Platform, launch_id: UUID, version: int = 1) -> bool:
    found = platform.gateway.launches.find(VANITY)
    return found is not None and (found.launch.launch_id, found.launch.satellite_version) == (launch_id, version)


async def test_only_the_keys_of_the_version_are_let_in(platform: Platform) -> None:
    later = platform.fakts.add_key("joe")
    platform.fakts.add_account("ann")
    stranger = platform.fakts.add_key("ann")
    launch = Launch(platform, platform.key)
    launch.tell()
    await launch.replica()
    assert (await platform.call(VANITY)).status == 200
    refused = await platform.call(VANITY, key=later)
    assert refused.status == 403
    assert "was made before this key" in refused.error["message"]
    hidden = await platform.call(VANITY, key=stranger)
    assert (hidden.status, hidden.error["message"]) == (404, f"algorithm algo://{VANITY} not found")
    assert (await platform.call(VANITY, key="simNOSUCHKEY")).status == 401
    launch.keys[key_hash(later)] = "joe"
    launch.tell(version=2)
    await eventually(lambda: _plain(platform, launch.id, version=2))
    assert (await platform.call(VANITY, key=later)).status == 200


async def test_a_call_that_comes_before_the_first_replica_waits(platform: Platform) -> None:
    other = platform.registry.publish(entry("joe", "other"))
    launch = Launch(platform, platform.key, algorithm=other)
    launch.tell()
    client = await platform.client()
    await client.write(call(VANITY, b"waits", key=platform.key, base=launch.base))
    await eventually(lambda: platform.gateway.calls.under_way)
    await launch.replica()
    assert (await client.read()).result == "waits"
