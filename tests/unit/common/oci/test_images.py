"""Documents of images, and images put together."""

from __future__ import annotations

import pytest

from libs.common.oci.challenges import Challenge, parse
from libs.common.oci.documents import (
    CONFIG,
    DOCKER_INDEX,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    BadDocument,
    Descriptor,
    DigestMismatch,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    check,
    describe,
    digest_of,
)
from libs.common.oci.images import Image, Stacked, Start, compose, is_index, scratch

AMD64 = Platform.of("x86_64")


def blob(content: bytes, media_type: str = LAYER_GZIP) -> Descriptor:
    return describe(content, media_type)


def test_an_image_is_its_base_and_what_is_put_on_it() -> None:
    below = Stacked(
        blob(b"base", "application/vnd.docker.image.rootfs.diff.tar.gzip"), digest_of(b"base tar"), "made"
    )
    base = compose(
        scratch(AMD64),
        [below],
        Start(["/old"], "root", "/", command=["x"], environment={"PATH": "/bin", "KEPT": "1"}, labels={"a": "old"}),
    )
    start = Start(
        ["/new"],
        "65532",
        "/work",
        environment={"PATH": "/new", "MORE": "a=b"},
        labels={"a": "new", "b": "b"},
        exposed=["8080/tcp"],
    )
    layer = Stacked(blob(b"top"), digest_of(b"top tar"), "test")
    image = compose(base, [layer], start, annotations={"note": "x"}, epoch=86400)
    again = compose(
        Image.read(base.manifest_bytes, base.config_bytes), [layer], start, annotations={"note": "x"}, epoch=86400
    )
    assert (image.manifest_bytes, image.config_bytes) == (again.manifest_bytes, again.config_bytes)
    assert image.descriptor == describe(image.manifest_bytes, MANIFEST)
    assert image.platform == AMD64
    assert image.manifest.annotations == {"note": "x"}
    assert [(one.media_type, one.digest) for one in image.manifest.layers] == [
        (LAYER_GZIP, digest_of(b"base")),
        (LAYER_GZIP, digest_of(b"top")),
    ]
    assert image.manifest.config == describe(image.config_bytes, CONFIG)
    assert image.config.rootfs.diff_ids == [digest_of(b"base tar"), digest_of(b"top tar")]
    assert image.config.created == "1970-01-02T00:00:00Z"
    assert [line["created_by"] for line in image.config.history or ()] == ["made", "test"]
    assert image.config.config == {
        "User": "65532",
        "WorkingDir": "/work",
        "Entrypoint": ["/new"],
        "Cmd": [],
        "Env": ["PATH=/new", "KEPT=1", "MORE=a=b"],
        "Labels": {"a": "new", "b": "b"},
        "ExposedPorts": {"8080/tcp": {}},
        "StopSignal": "SIGTERM",
    }


def test_a_base_of_another_tool_is_taken_as_it_is() -> None:
    config = ImageConfig.model_validate(
        {
            "architecture": "arm64",
            "variant": "v8",
            "os": "linux",
            "config": {"Healthcheck": {"Test": ["CMD", "x"]}, "Env": None, "Labels": None, "Domainname": "x"},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(b"1")]},
        }
    ).encode()
    base = Image.read(Manifest(config=blob(config), layers=[blob(b"2")]).encode(), config)
    image = compose(base, [], Start(["/a"], "1", "/"))
    assert b'"variant":"v8"' in image.config_bytes
    assert image.config.config["Domainname"] == "x"
    assert "Healthcheck" not in image.config.config
    assert [line["created_by"] for line in image.config.history or ()] == ["base"]


def test_documents_that_are_none_are_refused_in_words() -> None:
    with pytest.raises(BadDocument, match=r"no Manifest of an image: config: Field required"):
        Manifest.decode(b'{"layers": []}')
    with pytest.raises(BadDocument, match=r"no Index of an image: document: Invalid JSON"):
        Index.decode(b"{")
    with pytest.raises(BadDocument, match=r"layers.0.digest: String should match"):
        Manifest.decode(
            b'{"config": {"mediaType": "a", "size": 0, "digest": "sha256:' + b"a" * 64 + b'"},'
            b' "layers": [{"mediaType": "a", "size": 0, "digest": "sha256:../.."}]}'
        )
    base = scratch(AMD64)
    manifest = base.manifest.model_copy(update={"layers": [blob(b"1")]})
    with pytest.raises(BadDocument, match=r"1 layers, but its config names 0"):
        Image.read(manifest.encode(), base.config_bytes)
    with pytest.raises(BadDocument, match=r"'text/html' is no image"):
        is_index("text/html")
    assert [is_index(kind) for kind in (INDEX, DOCKER_INDEX, MANIFEST)] == [True, True, False]
    assert check(b"a", digest_of(b"a"), "here") == b"a"
    with pytest.raises(DigestMismatch, match=rf"^here: the bytes of {digest_of(b'a')} are damaged"):
        check(b"b", digest_of(b"a"), "here")


def test_an_index_gives_the_image_for_a_platform() -> None:
    def offered(content: bytes, *, variant: str | None = None, architecture: str = "arm64") -> Descriptor:
        platform = Platform(architecture=architecture, variant=variant)
        return blob(content, MANIFEST).model_copy(update={"platform": platform})

    v6, v8, amd = offered(b"6", variant="v6"), offered(b"8", variant="v8"), offered(b"a", architecture="amd64")
    index = Index(manifests=[blob(b"other", MANIFEST), v6, v8, amd])
    assert index.choose(AMD64) == amd
    assert index.choose(Platform.of("aarch64")) == v6
    assert index.choose(Platform(architecture="arm64", variant="v8")) == v8
    with pytest.raises(BadDocument, match=r"for linux/riscv64; its platforms are: linux/arm64/v6, .*linux/amd64$"):
        index.choose(Platform.of("riscv64"))
    assert Index(manifests=[blob(b"only")]).choose(AMD64) == blob(b"only")
    with pytest.raises(BadDocument, match="none that it names"):
        Index().choose(AMD64)


def test_challenges_are_read() -> None:
    bearer = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull,push"'
    expected = {
        "realm": "https://auth.example/token",
        "service": "registry.example",
        "scope": "repository:a:pull,push",
    }
    assert parse(bearer) == [Challenge("bearer", expected)]
    assert parse(f'Basic realm="a \\"b\\"", {bearer}') == [
        Challenge("basic", {"realm": 'a "b"'}),
        Challenge("bearer", expected),
    ]
    assert parse("Negotiate, BASIC Realm=plain") == [
        Challenge("negotiate", {}),
        Challenge("basic", {"realm": "plain"}),
    ]
    assert parse("") == []
