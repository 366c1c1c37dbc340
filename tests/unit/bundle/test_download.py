"""`get`: only what is new, on where it broke off, and in place once it is whole."""

from __future__ import annotations

import os
import shutil

import pytest
from joserfc.jwk import RSAKey

from constellation.bundle import content
from constellation.bundle.folder import BundleFolder
from constellation.bundle.problems import BundleProblem, Busy, Damaged, NoBundle, Untrusted
from constellation.rest import ApiError
from libs.common.contracts.bundles import BundleIndex
from tests.support.bundles import LAUNCH, SATELLITE, SECRET, Mothership
from tests.unit.bundle.conftest import Get


def files(folder: BundleFolder) -> dict[str, bytes]:
    return {
        path.relative_to(folder.content).as_posix(): path.read_bytes()
        for path in folder.content.rglob("*")
        if path.is_file()
    }


def blobs(mothership: Mothership) -> dict[str, int]:
    assert mothership.bundle is not None
    index = BundleIndex.model_validate_json(mothership.bundle.index)
    return {file.sha256: file.size for file in index.files if file.is_blob}


def test_it_comes_whole_and_again_brings_nothing(mothership: Mothership, folder: BundleFolder, get: Get) -> None:
    mothership.waiting = ["the image of joe/echo", "the image of joe/tag"]
    first = get()
    assert (first.changed, first.files) == (True, len(blobs(mothership)))
    assert sum(map(len, mothership.sent.values())) == first.files, "each blob comes once"
    found = folder.verified(str(SATELLITE), str(LAUNCH))
    assert [one.vanity_url for one in found.plan().order.entries] == ["edge/echo", "edge/tag"]
    assert list(found.secrets().algorithms.values()) == [{"TOKEN": SECRET}]
    assert SECRET not in repr(mothership.bundle), "it is in no log of the answer"
    assert (folder.content / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert folder.content.stat().st_mode & 0o777 == 0o700
    digest = next(iter(found.plan().images.values()))
    assert found.layout().image_of(digest).descriptor.digest == digest
    found.layout().verify()
    again = get()
    assert (again.changed, again.files, again.content.sha256) == (False, 0, first.content.sha256)


async def test_of_another_version_only_what_is_new_comes(
    mothership: Mothership, folder: BundleFolder, get: Get
) -> None:
    get()
    before = blobs(mothership)
    mothership.sent.clear()
    await mothership.offer(2, extra=b"another")
    second = get()
    assert set(mothership.sent) == blobs(mothership).keys() - before.keys()
    assert 0 < second.files < len(before)
    assert second.content.index.satellite_version == 2
    assert not folder.incoming.exists()
    assert {path.rpartition("/")[2] for path in files(folder) if "blobs" in path} == blobs(mothership).keys()


async def test_it_goes_on_where_it_broke_off(mothership: Mothership, folder: BundleFolder, get: Get) -> None:
    get()
    old = files(folder)
    shutil.rmtree(folder.path)
    large = max(blobs(mothership), key=lambda digest: blobs(mothership)[digest])
    mothership.breaks = {large: 1024}
    mothership.sent.clear()
    get()
    assert mothership.sent[large] == [0, 1024], "a broken connection is taken up"
    assert files(folder) == old

    await mothership.offer(2, extra=os.urandom(4096))
    [new, *_] = sorted(blobs(mothership).keys() - mothership.sent.keys(), key=lambda one: -blobs(mothership)[one])
    mothership.breaks = {new: 2048}
    mothership.sent.clear()
    get()
    assert mothership.sent[new] == [0, 2048]


async def test_what_is_there_stays_usable_until_the_next_is_whole(
    mothership: Mothership, folder: BundleFolder, get: Get
) -> None:
    get()
    old = files(folder)
    await mothership.offer(2, extra=os.urandom(4096))
    new = max(blobs(mothership).keys() - mothership.sent.keys(), key=lambda one: blobs(mothership)[one])
    mothership.breaks = {new: 2048}
    mothership.lost = {new}
    with pytest.raises(ApiError, match="cannot be reached"):
        get()
    assert files(folder) == old
    assert folder.verified(str(SATELLITE), str(LAUNCH)).index.satellite_version == 1
    await mothership.offer(3, extra=os.urandom(4096))
    mothership.lost = set()
    assert get().content.index.satellite_version == 3, "what was left of another version is no hindrance"
    assert not list(folder.path.rglob("*.part"))


def test_a_copy_that_lost_something_is_mended(mothership: Mothership, folder: BundleFolder, get: Get) -> None:
    get()
    whole = files(folder)
    [first, second, *_] = sorted(path for path in whole if "/blobs/" in path)
    (folder.content / first).unlink()
    damaged = folder.content / second
    damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    with pytest.raises(Damaged, match=f"(?s){first} is missing.*{second} is damaged"):
        folder.verified(str(SATELLITE), str(LAUNCH))
    mothership.sent.clear()
    assert get().files == 2
    assert set(mothership.sent) == {first.rpartition("/")[2], second.rpartition("/")[2]}
    assert files(folder) == whole


def test_a_get_that_was_killed_between_two_names_is_put_right(folder: BundleFolder, get: Get) -> None:
    get()
    whole = files(folder)
    folder.content.rename(folder.path / "outgoing")
    with folder.locked():
        assert files(folder) == whole
    (folder.path / "outgoing").mkdir()
    with folder.locked():
        assert files(folder) == whole
    assert not (folder.path / "outgoing").exists()


def test_one_command_at_a_time(folder: BundleFolder) -> None:
    with pytest.raises(NoBundle, match="get KEY"), folder.locked():
        pass
    with folder.locked(make=True), pytest.raises(Busy, match="another command"), BundleFolder(folder.path).locked():
        pass


async def test_what_is_not_the_platforms_or_not_what_was_asked_for_is_refused(
    mothership: Mothership, folder: BundleFolder, get: Get
) -> None:
    thumbprint = get().content.thumbprint
    assert get(trusted=thumbprint).changed is False
    with pytest.raises(Untrusted, match="not with another"):
        get(trusted="another")
    with pytest.raises(BundleProblem, match=f"is of satellite {SATELLITE}, not of"):
        get(satellite=LAUNCH)
    mothership.waiting = ["the image of joe/echo"]
    with pytest.raises(BundleProblem, match=r"still makes .* the image of joe/echo"):
        get(seconds=0.0)
    strange = RSAKey.generate_key(2048)
    mothership.keys.insert(0, strange)
    await mothership.offer(2)
    rotated = get()
    assert rotated.content.thumbprint == strange.thumbprint(), "keys rotate"
    mothership.keys.pop(0)
    with pytest.raises(Untrusted, match="which the platform does not publish"):
        get()
    assert folder.verified(str(SATELLITE), str(LAUNCH)).sha256 == rotated.content.sha256


def test_damage_on_the_way_is_noticed(mothership: Mothership, folder: BundleFolder, get: Get) -> None:
    digest = max(blobs(mothership), key=lambda one: blobs(mothership)[one])
    kept = mothership.store / digest[:2] / digest
    good = kept.read_bytes()
    kept.write_bytes(b"\0" + good[1:])
    with pytest.raises(Damaged, match=digest):
        get()
    with pytest.raises(NoBundle):
        content.verified(folder.content)
    kept.write_bytes(good)
    get()
    kept.unlink()
    folder.content.joinpath("images/blobs/sha256", digest).unlink()
    with pytest.raises(ApiError, match=f"no blob {digest}"):
        get()
