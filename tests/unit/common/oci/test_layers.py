"""Layers, layouts and Docker's configuration on disk."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import pytest

from libs.common.oci.credentials import Credentials, CredentialsUnusable, docker_config, from_docker_config
from libs.common.oci.documents import BadDocument, DigestMismatch, Platform, digest_of
from libs.common.oci.images import Start, compose, scratch
from libs.common.oci.layers import Entry, UnfitForLayer, tree, write_layer
from libs.common.oci.layout import Layout, LayoutMissing

AMD64 = Platform.of("x86_64")
AT = PurePosixPath("/opt/here")
LONG = "long" * 40


def a_tree(folder: Path, *, names: list[str], mtime: int, umask: int) -> Path:
    before = os.umask(umask)
    try:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        (folder / "run").chmod(0o700)
        (folder / "a" / "link").symlink_to("../run")
        (folder / "away").symlink_to(folder / "a")
        for one in folder.rglob("*"):
            os.utime(one, (mtime, mtime), follow_symlinks=False)
    finally:
        os.umask(before)
    return folder


def test_a_layer_depends_on_names_contents_and_x_bits_alone(tmp_path: Path) -> None:
    names = ["b", "a/é", f"a/{LONG}/{LONG}", "run", "skipped/x"]
    first = a_tree(tmp_path / "1", names=names, mtime=1, umask=0o022)
    second = a_tree(tmp_path / "deeper" / "2", names=names[::-1], mtime=2_000_000_000, umask=0o077)

    def skip(path: PurePosixPath) -> bool:
        return path.name == "skipped"

    one = write_layer(tree(first, AT, left_out=skip), tmp_path / "one", created_by="x")
    two = write_layer(tree(second, AT, left_out=skip), tmp_path / "other name")
    assert (one.descriptor, one.diff_id) == (two.descriptor, two.diff_id)
    content = one.file.read_bytes()
    assert (digest_of(content), len(content)) == (one.descriptor.digest, one.descriptor.size)
    assert digest_of(gzip.decompress(content)) == one.diff_id
    with tarfile.open(one.file) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert [(m.name, oct(m.mode), m.linkname) for m in members if LONG not in m.name] == [
        ("opt", "0o755", ""),
        ("opt/here", "0o755", ""),
        ("opt/here/a", "0o755", ""),
        ("opt/here/a/link", "0o777", "../run"),
        ("opt/here/a/é", "0o644", ""),
        ("opt/here/away", "0o777", "/opt/here/a"),
        ("opt/here/b", "0o644", ""),
        ("opt/here/run", "0o755", ""),
    ]
    dated = write_layer(tree(first, AT), tmp_path / "dated", epoch=5)
    with tarfile.open(dated.file) as archive:
        assert {member.mtime for member in archive} == {5}


def test_what_cannot_be_part_of_a_layer_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    os.mkfifo(tmp_path / "t" / "fifo")
    a, b = PurePosixPath("/a"), PurePosixPath("/a/b")
    cases: list[tuple[Callable[[], Iterable[Entry]], str]] = [
        (lambda: tree(tmp_path / "t", AT), "t/fifo is neither file, folder nor link"),
        (lambda: [Entry(a, source=b"1"), Entry(a, source=b"2")], "two things would be called /a "),
        (lambda: [Entry(a, source=b"1"), Entry(b)], "/a would be a file and a folder"),
        (lambda: [Entry(PurePosixPath("a"))], "'a' is no absolute path"),
        (lambda: [Entry(PurePosixPath("/a/../b"))], "'/a/../b' is no absolute path"),
        (lambda: [Entry(a, source=tmp_path / "gone")], "gone cannot be read for the image: No such file"),
        (lambda: [Entry(a, source=tmp_path / "t" / "fifo")], "fifo is no file any more"),
    ]
    for number, (entries, reason) in enumerate(cases):
        with pytest.raises(UnfitForLayer, match=reason):
            write_layer(entries(), tmp_path / str(number))


def test_a_layout_gives_what_it_took_and_names_a_flipped_byte(tmp_path: Path) -> None:
    layer = write_layer([Entry(PurePosixPath("/a"), source=b"a" * 1000)], tmp_path / "layer")
    image = compose(scratch(AMD64), [layer.stacked], Start(["/a"], "1", "/"))
    other = compose(scratch(Platform.of("aarch64")), [layer.stacked], Start(["/a"], "1", "/"))
    layout = Layout.create(tmp_path / "layout")
    for each, name in ((other, "moved"), (image, "moved"), (other, "other"), (image, None), (image, None)):
        layout.add_file(layer.file, layer.descriptor)
        layout.add_image(each, name)
    assert layout.image(AMD64, "moved") == image
    assert layout.image(AMD64, "other") == other
    assert layout.image(AMD64) == image
    layout.verify()
    assert len(json.loads((layout.folder / "index.json").read_bytes())["manifests"]) == 3

    with tarfile.open(tmp_path / "layout.tar", "w") as archive:
        archive.add(layout.folder, ".")
    assert Layout.unpack(tmp_path / "layout.tar", tmp_path / "unpacked").image(AMD64, "moved") == image
    with pytest.raises(BadDocument, match=r"oci-layout cannot be unpacked"):
        Layout.unpack(tmp_path / "layout" / "oci-layout", tmp_path / "x")
    with pytest.raises(LayoutMissing, match=rf"{tmp_path} is no OCI image layout"):
        Layout(tmp_path)
    with pytest.raises(LayoutMissing, match=r"holds no image 'nobody'; it holds moved, other$"):
        layout.image(AMD64, "nobody")

    for digest in (layer.descriptor.digest, image.manifest.config.digest, image.descriptor.digest):
        path = layout.path(digest)
        content = path.read_bytes()
        path.unlink()  # it may be a further name of the layer's own file
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(DigestMismatch, match=digest):
            layout.verify()
        path.unlink()
        with pytest.raises(LayoutMissing, match=digest):
            layout.verify()
        path.write_bytes(content)
    layout.verify()


def test_credentials_come_from_dockers_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    packed = base64.b64encode(b"joe:s3cret:x").decode()

    def read(registry: str, **members: object) -> Credentials | None:
        file.write_text(json.dumps(members))
        return from_docker_config(file, registry)

    assert from_docker_config(file, "a.example") is None
    auths = {"a.example": {"auth": packed}, "https://index.docker.io/v1/": {"identitytoken": "t0ken"}}
    assert read("a.example", auths=auths) == Credentials("joe", "s3cret:x")
    assert read("docker.io", auths=auths) == Credentials("", identity_token="t0ken")
    assert read("https://b.example", auths=auths) is None
    assert "s3cret" not in repr(read("a.example", auths=auths))
    assert Credentials("joe", "s3cret:x").basic == f"Basic {packed}"
    with pytest.raises(CredentialsUnusable, match=r"a.example to the program docker-credential-desktop"):
        read("a.example", auths={"a.example": {}}, credsStore="desktop")
    with pytest.raises(CredentialsUnusable, match="docker-credential-other"):
        read("a.example", credHelpers={"a.example": "other"})
    assert read("a.example", credsStore="desktop") is None
    for damaged in ({"auths": {"a.example": {"auth": "s3cret!"}}}, {"auths": ["a.example"]}):
        with pytest.raises(CredentialsUnusable, match=r"a.example: it is damaged") as caught:
            read("a.example", **damaged)
        assert "s3cret" not in str(caught.value)
    assert docker_config({"DOCKER_CONFIG": "/d", "HOME": "/h"}) == Path("/d/config.json")
    assert docker_config({"HOME": "/h"}) == Path("/h/.docker/config.json")
