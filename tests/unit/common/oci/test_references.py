"""References of images."""

from __future__ import annotations

import pytest

from libs.common.oci.references import ImageReference, InvalidImageReference, parse

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python", ImageReference("docker.io", "library/python")),
        ("python:3.11", ImageReference("docker.io", "library/python", "3.11")),
        ("docker.io/python", ImageReference("docker.io", "library/python")),
        ("index.docker.io/joe/a", ImageReference("docker.io", "joe/a")),
        ("joe/a__b-c.d:V_1", ImageReference("docker.io", "joe/a__b-c.d", "V_1")),
        ("localhost/a", ImageReference("localhost", "a")),
        ("host:5000/a/b/c", ImageReference("host:5000", "a/b/c")),
        (f"host:5000/a:1@{DIGEST}", ImageReference("host:5000", "a", "1", DIGEST)),
        (f"[::1]:5000/a@{DIGEST}", ImageReference("[::1]:5000", "a", None, DIGEST)),
        ("ghcr.io/a/b:latest", ImageReference("ghcr.io", "a/b", "latest")),
    ],
)
def test_references_are_read_and_written(text: str, expected: ImageReference) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


def test_what_is_asked_of_a_registry() -> None:
    assert parse("python").api_host == "registry-1.docker.io"
    assert parse("host:1/a").api_host == "host:1"
    assert [parse(text).version for text in ("a", "a:1", f"a:1@{DIGEST}")] == ["latest", "1", DIGEST]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is no part of a repository's name"),
        ("A", "'A' is no part of a repository's name"),
        ("a/", "'' is no part"),
        ("a..b", "is no part"),
        ("a@sha256:12", "a digest is sha256: and 64 hexadecimal digits, not 'sha256:12'"),
        ("a:.b", "'.b' is no tag"),
        ("a:", "'' is no tag"),
        ("ho_st.x/a", "'ho_st.x' is no registry"),
        ("host:port/a", "'host:port' is no registry"),
        ("h.x/" + "a" * 256, "longer than 255"),
    ],
)
def test_what_is_no_reference_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(InvalidImageReference) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert text in str(caught.value)
