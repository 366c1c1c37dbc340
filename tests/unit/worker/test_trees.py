"""Unpacking archives that mean no good."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.worker.trees import BadArchive, unpack

Add = Callable[[tarfile.TarFile], None]


def file(name: str, content: bytes = b"x", mode: int = 0o644) -> Add:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), mode
        archive.addfile(member, io.BytesIO(content))

    return add


def entry(name: str, kind: bytes, target: str = "") -> Add:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.mode = kind, target, 0o777
        archive.addfile(member)

    return add


def archive_of(folder: Path, *members: Add, compression: str = "") -> Path:
    path = folder / "archive.tar"
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for add in members:
            add(archive)
    (folder / "tree").mkdir()
    return path


@pytest.mark.parametrize("compression", ["", "gz"])
def test_files_folders_programs_and_links_are_kept(tmp_path: Path, compression: str) -> None:
    path = archive_of(
        tmp_path,
        entry("src", tarfile.DIRTYPE),
        file("src/a.py", b"content"),
        file("bin/run", b"#!/bin/sh", 0o755),
        file("./data/deep/file.bin", b"\0\1"),
        entry("src/link", tarfile.SYMTYPE, "../data/deep"),
        entry("latest", tarfile.SYMTYPE, "src/a.py"),
        entry("data/again", tarfile.SYMTYPE, "../data/deep/../../src/link/file.bin"),
        entry("round", tarfile.SYMTYPE, "round"),
        compression=compression,
    )
    tree = tmp_path / "tree"
    unpack(path, tree)
    assert (tree / "src" / "a.py").read_bytes() == b"content"
    assert (tree / "src" / "link" / "file.bin").read_bytes() == b"\0\1"
    assert (tree / "latest").read_bytes() == b"content"
    assert (tree / "data" / "again").read_bytes() == b"\0\1"
    assert stat.S_IMODE((tree / "src" / "a.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((tree / "bin" / "run").stat().st_mode) == 0o555
    assert stat.S_IMODE((tree / "src").stat().st_mode) == 0o555


def test_special_permissions_are_dropped(tmp_path: Path) -> None:
    path = archive_of(tmp_path, file("run", mode=0o6777))
    unpack(path, tmp_path / "tree")
    assert stat.S_IMODE((tmp_path / "tree" / "run").stat().st_mode) == 0o555


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([file("/etc/evil")], "outside of itself: '/etc/evil'"),
        ([file("a/../../evil")], "outside of itself: 'a/../../evil'"),
        ([entry("evil", tarfile.SYMTYPE, "/etc")], "link to outside of itself: 'evil'"),
        ([entry("a/evil", tarfile.SYMTYPE, "../../etc")], "link to outside of itself: 'a/evil'"),
        ([entry("a/evil", tarfile.SYMTYPE, "b/../../../c")], "link to outside of itself: 'a/evil'"),
        (
            [entry("a/a/top", tarfile.SYMTYPE, "../.."), entry("evil", tarfile.SYMTYPE, "a/a/top/../archive.tar")],
            "link to outside of itself: 'evil'",
        ),
        (
            [entry("evil", tarfile.SYMTYPE, "a/a/top/../archive.tar"), entry("a/a/top", tarfile.SYMTYPE, "../..")],
            "link to outside of itself: 'evil'",
        ),
        (
            [entry("a/b/evil", tarfile.SYMTYPE, "../../b/x/.."), entry("b", tarfile.SYMTYPE, "a")],
            "link to outside of itself: 'a/b/evil'",
        ),
        ([entry("a", tarfile.SYMTYPE, "b"), file("a/file")], "file behind a link: 'a/file'"),
        ([entry("a", tarfile.SYMTYPE, "."), entry("a", tarfile.DIRTYPE)], "two things called 'a'"),
        ([entry("a", tarfile.SYMTYPE, "b"), file("a")], "two things called 'a'"),
        ([file("a"), file("a")], "two things called 'a'"),
        ([file("a"), entry("a", tarfile.DIRTYPE)], "two things called 'a'"),
        ([file("a"), entry("evil", tarfile.LNKTYPE, "a")], "neither file, folder nor link: 'evil'"),
        ([entry("evil", tarfile.CHRTYPE)], "neither file, folder nor link: 'evil'"),
        ([entry("evil", tarfile.BLKTYPE)], "neither file, folder nor link: 'evil'"),
        ([entry("evil", tarfile.FIFOTYPE)], "neither file, folder nor link: 'evil'"),
    ],
)
def test_what_reaches_outside_or_is_no_file_is_refused(members: list[Add], reason: str, tmp_path: Path) -> None:
    path = archive_of(tmp_path, *members)
    with pytest.raises(BadArchive) as refused:
        unpack(path, tmp_path / "tree")
    assert reason in str(refused.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["archive.tar", "tree"]


def test_too_much_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path, *(file(str(number), b"x" * 100) for number in range(10)))
    with pytest.raises(BadArchive, match="more than 9 files"):
        unpack(path, tmp_path / "tree", max_members=9)
    (tmp_path / "other").mkdir()
    with pytest.raises(BadArchive, match="larger than 900 bytes"):
        unpack(path, tmp_path / "other", max_bytes=900)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b\x08\x00rubbish"])
def test_damaged_archives_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(content)
    (tmp_path / "tree").mkdir()
    with pytest.raises(BadArchive, match="cannot be unpacked"):
        unpack(path, tmp_path / "tree")


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path, file("a", b"x" * 5000))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadArchive):
        unpack(path, tmp_path / "tree")


def test_a_linked_name_takes_the_place_of_what_the_archive_has(tmp_path: Path) -> None:
    path = archive_of(tmp_path, file("node_modules/left/index.js"), file("./node_modules/x"), file("src/a.js"))
    elsewhere = tmp_path / "elsewhere"
    unpack(path, tmp_path / "tree", linked={"node_modules": elsewhere})
    assert (tmp_path / "tree" / "node_modules").readlink() == elsewhere
    assert sorted(found.name for found in (tmp_path / "tree").iterdir()) == ["node_modules", "src"]


def test_no_link_leads_out_by_a_linked_name(tmp_path: Path) -> None:
    path = archive_of(tmp_path, entry("evil", tarfile.SYMTYPE, "node_modules/../other/secret"))
    with pytest.raises(BadArchive, match="link to outside of itself: 'evil'"):
        unpack(path, tmp_path / "tree", linked={"node_modules": tmp_path / "elsewhere" / "node_modules"})


def leads_nowhere(path: Path) -> bool:
    """It is a link in a circle. What `realpath` makes of one whose text has `//` is a path that nothing opens."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
MEMBERS = st.lists(
    st.one_of(
        st.builds(file, NAMES),
        st.builds(entry, NAMES, st.just(tarfile.DIRTYPE)),
        st.builds(entry, NAMES, st.just(tarfile.SYMTYPE), NAMES),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@example([entry("a", tarfile.SYMTYPE, "a//a")])
@given(MEMBERS)
def test_nothing_is_ever_written_outside(tmp_path_factory: pytest.TempPathFactory, members: list[Add]) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = archive_of(folder, *members)
    try:
        unpack(path, folder / "tree")
    except BadArchive:
        pass
    else:
        for found in (folder / "tree").rglob("*"):
            target = (folder / "tree").resolve()
            assert leads_nowhere(found) or Path(os.path.realpath(found)).is_relative_to(target)
    assert sorted(found.name for found in folder.iterdir()) == ["archive.tar", "tree"]
