"""No byte of a bundle can be changed, taken away or added without its being named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt

from constellation.bundle import content, notes, signature
from constellation.bundle.folder import BundleFolder
from constellation.bundle.problems import BundleProblem, Damaged, Untrusted
from libs.common.contracts.bundles import BundleFile, SatelliteSecrets
from services.registry import bundles
from tests.support.bundles import LAUNCH, SATELLITE, Mothership, plan, signed
from tests.support.fakts_double import signing_key
from tests.unit.bundle.conftest import Get


@pytest.fixture
def whole(folder: BundleFolder, get: Get) -> BundleFolder:
    get()
    folder.configuration = {"stage.fqdn": "edge.example"}
    folder.report = {"key": "k"}
    return folder


def paths(folder: BundleFolder) -> list[Path]:
    return sorted(path for path in folder.path.rglob("*") if path.is_file() and path.name != "lock")


def check(folder: BundleFolder) -> content.Content:
    return folder.verified(str(SATELLITE), str(LAUNCH))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), which=st.integers(0, 1000), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_refused_by_name(whole: BundleFolder, where: float, which: int, bit: int) -> None:
    found = paths(whole)
    path = found[which % len(found)]
    good = path.read_bytes()
    changed = bytearray(good)
    changed[int(where * len(good))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        with pytest.raises(Damaged, match=path.name):
            check(whole)
    finally:
        path.write_bytes(good)


def test_each_bit_of_the_signature_counts(whole: BundleFolder) -> None:
    """Decoders pass over some of them."""
    path = whole.content / content.SIGNATURE
    good = path.read_bytes()
    for at in range(8 * (len(good) - 4), 8 * len(good)):
        changed = bytearray(good)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(Damaged, match=content.SIGNATURE):
            signature.read(bytes(changed), content.SIGNATURE)
    for other in (good + b"\n", good[:-1], b"", b"..", good + b"." + good, b"x" * 20_000):
        with pytest.raises(Damaged, match=content.SIGNATURE):
            signature.read(other, content.SIGNATURE)


def test_what_is_missing_or_does_not_belong_there_is_named(whole: BundleFolder) -> None:
    copy = whole.path.with_name("copy")
    for path in paths(whole):
        if not path.is_relative_to(whole.content):
            continue
        shutil.copytree(whole.path, copy)
        other = BundleFolder(copy)
        lost = other.content / path.relative_to(whole.content)
        lost.unlink()
        with pytest.raises(Damaged, match=f"{path.name} is missing"):
            check(other)
        lost.symlink_to(path)
        if path.name not in (content.INDEX, content.SIGNATURE):
            with pytest.raises(Damaged, match=f"{path.name} is damaged: it is no plain file"):
                check(other)
        shutil.rmtree(copy)
    (whole.content / "images" / "more").mkdir()
    (whole.content / "images" / "more" / "file").touch()
    with pytest.raises(Damaged, match=r"images/more is no part of the bundle; images/more/file is no part"):
        check(whole)


def test_a_good_bundle_of_somebody_else_is_not_this_one(whole: BundleFolder) -> None:
    thumbprint = check(whole).thumbprint
    assert check(whole).thumbprint == signing_key().thumbprint()
    assert whole.verified(str(SATELLITE).upper(), str(LAUNCH), trusted=thumbprint)
    with pytest.raises(Untrusted, match="not with pinned"):
        whole.verified(str(SATELLITE), str(LAUNCH), trusted="pinned")
    with pytest.raises(BundleProblem, match=f"is of satellite {SATELLITE}"):
        whole.verified(str(LAUNCH), str(LAUNCH))
    whole.origin = {"url": "http://mothership", "key": "the last key"}
    with pytest.raises(Untrusted, match="not with the last key"):
        check(whole)


async def test_no_token_of_the_platform_is_a_signature(mothership: Mothership) -> None:
    found = plan({})
    packed = await bundles.pack(found, SatelliteSecrets(salt=""), mothership.blobs)
    assert signature.read(signed(packed).signature.encode(), "x").sha256 == packed.sha256
    with pytest.raises(Damaged, match="no signature of a bundle"):
        signature.read(signed(packed, kind="at+jwt").signature.encode(), "x")
    token = jwt.encode({"alg": "RS256", "kid": "double"}, {"sub": "x"}, signing_key())
    with pytest.raises(Damaged):
        signature.read(token.encode(), "x")
    assert not signature.is_among("x", {"keys": "none"})
    assert not signature.is_among("x", {})


async def test_the_same_makes_the_same_bundle_and_an_index_cannot_lead_elsewhere(mothership: Mothership) -> None:
    found = plan({})
    first = await bundles.pack(found, SatelliteSecrets(salt=""), mothership.blobs)
    assert await bundles.pack(found, SatelliteSecrets(salt=""), mothership.blobs) == first
    for path in ("../plan.json", "/etc/passwd", "images/blobs/sha256/" + "0" * 64, "images/blobs/sha256/../x"):
        with pytest.raises(ValueError, match="has no file"):
            BundleFile(path=path, size=1, sha256="1" * 64)


def test_notes_beside_a_bundle_tell_when_they_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    assert notes.read(path) == {}
    notes.write(path, {"a": 1})
    assert notes.read(path) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    for bad in ("", "[]", '{"content": {"a": 1}}', '{"content": {"a": 2}, "sha256": ""}', path.read_text() + " "):
        path.write_text(bad)
        with pytest.raises(Damaged, match=r"note\.json"):
            notes.read(path)
    assert [found.name for found in iterated(tmp_path)] == ["note.json"]


def iterated(folder: Path) -> Iterator[Path]:
    yield from folder.iterdir()
