"""The origin a request came to."""

from __future__ import annotations

import pytest

from libs.common.problems import Invalid
from services.fakts.origin import Origin, origin_of


@pytest.mark.parametrize(
    ("host", "public", "expected"),
    [
        ("a.test", None, Origin("http", "a.test", None)),
        ("a.test:80", None, Origin("http", "a.test", 80)),
        ("[::1]:8000", None, Origin("http", "[::1]", 8000)),
        ("a.test", "https://a.test", Origin("https", "a.test", None)),
        ("A.TEST:444", "https://a.test:444", Origin("https", "A.TEST", 444)),
        ("b.test", "https://a.test", Origin("http", "b.test", None)),
        ("a.test:1", "https://a.test", Origin("http", "a.test", 1)),
    ],
)
def test_it_is_the_hosts_and_the_public_ones_has_the_public_scheme(
    host: str, public: str | None, expected: Origin
) -> None:
    assert origin_of(host, "http", public) == expected


@pytest.mark.parametrize("host", [None, "", "a b", "a/b", "a:0", "a:65536", "a:b", "a@b", "[::1", "a\r\nb", "ä"])
def test_what_is_no_host_is_refused(host: str | None) -> None:
    with pytest.raises(Invalid, match="Host header"):
        origin_of(host, "http", None)


def test_the_alias_of_an_origin_is_its_address() -> None:
    alias = Origin("https", "[::1]", 444).alias("self")
    assert (alias.url, alias.challenge, alias.kind) == ("https://[::1]:444", "healthz", "absolute")
