"""What nobody should send: values, bodies and headers that break what is careless. The same for the same seed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import quote

NIL = "00000000-0000-0000-0000-000000000000"
HALF = "\ud800"
"""Half of a surrogate pair."""


def _cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


TEXTS: Sequence[str] = (
    "",
    " ",
    "\x00",
    "a\x00b",
    HALF,
    f"a{HALF}b",
    "\udfff\ud800",
    "\ufeff",
    "\ufffe",
    "\x1b[31m",
    "\r\nx-injected: y",
    "\N{UNICORN FACE}" * 40,
    "e\u0301" * 200,
    "\N{ARABIC LETTER TEH MARBUTA}",
    "\N{SUPERSCRIPT TWO}",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "a" * 256,
    "a" * 5000,
    "a" * 70_000,
    "..",
    "../../etc/passwd",
    "/",
    "//host/path",
    "%",
    "%00",
    "%ff",
    "'",
    '"',
    "\\",
    "; drop table x",
    "{{7*7}}",
    "${x}",
    "<script>",
    "*",
    "[",
    "(a+)+$",
    "null",
    "true",
    "[]",
    "{}",
    "0",
    "-1",
    "1.5",
    "1e400",
    "nan",
    "inf",
    "1_000",
    " 1",
    "0x10",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    str(-(2**63) - 1),
    str(2**64),
    "9" * 400,
    "9" * 5000,
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z",
    "2024-02-30T00:00:00Z",
    "2024-01-01T00:00:00",
    "2024-01-01",
    "PT1H",
    NIL,
    "{" + NIL + "}",
    "http://[",
    "https://[::1",
    "https://host:99999",
    "http://127.0.0.1:1/",
    "javascript:alert(1)",
    "http://user:pw@host/#f",
    "a@b",
    "a/b",
    "a/b/1.0.0",
    "admin",
    "constellation.registry",
    _cursor(),
    _cursor(1),
    _cursor(None, None),
    _cursor("x"),
    _cursor("\x00"),
    _cursor(HALF),
    _cursor("9" * 30),
    _cursor("9" * 5000),
    _cursor("-1"),
    _cursor("a" * 300),
    _cursor("2024-01-01T00:00:00+00:00", NIL),
    _cursor("2024-01-01T00:00:00", NIL),
    _cursor("0001-01-01T00:00:00+14:00", NIL),
    _cursor("9999-12-31T23:59:59-14:00", NIL),
    _cursor("2024-01-01T00:00:00+00:00", "x"),
    _cursor("x", "y"),
    _cursor("x", "y", "z"),
    _cursor({"a": 1}),
    "!!!!",
    "AAAA",
    "W10",
)

NUMBERS: Sequence[int | float] = (
    *(0, -1, 1.5, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400),
    *(1e308, 5e-324, 1e15, 253402300800, float("inf"), float("nan")),
)

_STRUCTURES: Sequence[Any] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"\x00": HALF},
    ["a"] * 2000,
    [0] * 300,
)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def text(random: Random) -> str:
    return random.choice(TEXTS)


def value(random: Random) -> Any:
    """A JSON value."""
    kind = random.random()
    if kind < 0.55:
        return text(random)
    if kind < 0.8:
        return random.choice(NUMBERS)
    return random.choice((*_STRUCTURES, _nested(40), _nested(300)))


def spoilt(random: Random, document: Any, known: Mapping[str, Sequence[str]]) -> Any:
    """The JSON document with one or two of its values replaced: by what the platform knows under that name, or by
    something hostile."""
    places: list[tuple[Any, Any]] = []
    document = json.loads(json.dumps(document))
    level = [document]
    while level:
        one = level.pop()
        inside = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, below in list(inside):
            places.append((one, key))
            level.append(below)
    for holder, key in places:
        if key in known and random.random() < 0.5:
            holder[key] = random.choice(known[key])
    if not places:
        return value(random)
    for holder, key in random.sample(places, min(len(places), random.choice((1, 1, 2)))):
        holder[key] = value(random)
        if isinstance(holder, dict) and random.random() < 0.15:
            holder[text(random)] = holder.pop(key)
    return document


_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"

Body = tuple[bytes, str | None]
"""The bytes, and their content type."""


def _multipart(head: str, content: bytes, *, end: str = "--b--\r\n") -> Body:
    return (f"--b\r\n{head}\r\n\r\n".encode() + content + b"\r\n" + end.encode(), f"{_MULTIPART}; boundary=b")


RAW: Sequence[Body] = (
    (b"", None),
    (b"", "application/json"),
    (b"{", "application/json"),
    (b'{"a": 1', "application/json"),
    (b"\x00", "application/json"),
    (b"\xff\xfe{\x00}\x00", "application/json"),
    (b'"\xed\xa0\x80"', "application/json"),
    (b'{"a": "\xff"}', "application/json"),
    (b"\xef\xbb\xbf{}", "application/json"),
    ('{"a": 1}'.encode("utf-16"), "application/json; charset=utf-16"),
    (b"{}", "application/json; charset=nonsense"),
    (b"{}", "application/json;;;="),
    (b"{}", "application/vnd.x+json"),
    (b"{}", "text/plain"),
    (b"{}", "*/*"),
    (b"{}", "garbage"),
    (b"{}", "/"),
    (b"{}", _MULTIPART),
    (b"{}", f"{_MULTIPART}; boundary="),
    (b"{}", f"{_MULTIPART}; boundary=b"),
    (b"{}", f"{_MULTIPART}; boundary={'b' * 300}"),
    (b"[" * 100_000, "application/json"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json"),
    (b"NaN", "application/json"),
    (b'{"a": Infinity, "b": -Infinity}', "application/json"),
    (b"1e999", "application/json"),
    (b"9" * 5000, "application/json"),
    (b'{"a": 1, "a": 2}', "application/json"),
    (b"null", "application/json"),
    (b"[]", "application/json"),
    (b'"text"', "application/json"),
    (b"a" * 300_000, "application/json"),
    (b"\x80" * 100, "application/octet-stream"),
    (b"=", _FORM),
    (b"&&&", _FORM),
    (b"a=%", _FORM),
    (b"a=%zz&b=%ff&c=%00", _FORM),
    (b"a=\xff&\x00=b", _FORM),
    (b"a=1&a=2&a=3", _FORM),
    (b"&".join(b"f%d=1" % n for n in range(300)), _FORM),
    (b"a=" + b"x" * 300_000, _FORM),
    (b"a=1", f"{_FORM}; charset=utf-16"),
    (b"a=1", f"{_FORM}; charset=nonsense"),
    _multipart('content-disposition: form-data; name="a"', b"1"),
    _multipart('content-disposition: form-data; name="a"', b"\xff\x00"),
    _multipart('content-disposition: form-data; name="a"; filename="f"', b"1"),
    _multipart('content-disposition: form-data; name="a"; filename="\x00"', b"1"),
    _multipart("content-disposition: form-data", b"1"),
    _multipart("content-disposition: garbage", b"1"),
    _multipart("nonsense", b"1"),
    _multipart('content-disposition: form-data; name="a"', b"1", end=""),
    _multipart('content-disposition: form-data; name="a"\r\ncontent-type: text/plain; charset=x', b"1"),
    _multipart('content-disposition: form-data; name="a"', b"1", end="--c\r\n"),
    (b"--b\r\n" * 3000, f"{_MULTIPART}; boundary=b"),
)
"""Bodies that are no document of the API."""


HEADERS: Sequence[tuple[str, bytes]] = (
    ("accept", b"text/html"),
    ("accept", b"\xff"),
    ("accept", b"application/xml;q=nan"),
    ("accept-encoding", b"br;q=x, \xfe"),
    ("accept-language", b"\xff" * 50),
    ("authorization", b""),
    ("authorization", b"Bearer"),
    ("authorization", b"Bearer \xff\xfe"),
    ("authorization", b"Bearer a.b.c"),
    ("authorization", b"Bearer ..."),
    ("authorization", b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
    ("authorization", b"Bearer W10.W10.W10"),
    ("authorization", b"Bearer bnVsbA.bnVsbA.bnVsbA"),
    ("authorization", b"Bearer eyJhbGciOlsxXX0.eyJpc3MiOlsxXX0.AAAA"),
    ("authorization", b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6MX0.eyJpc3MiOjF9.AAAA"),
    ("authorization", b"Bearer " + b"x" * 8000),
    ("authorization", b"Basic"),
    ("authorization", b"Basic !!!!"),
    ("authorization", b"Basic " + base64.b64encode(b"no colon")),
    ("authorization", b"Basic " + base64.b64encode(b"\xff\xfe:\xff")),
    ("authorization", b"Basic " + base64.b64encode(b"\x00:\x00")),
    ("authorization", b"Basic " + base64.b64encode(f"{NIL}:x".encode())),
    ("authorization", b"Digest a=b"),
    ("authorization", b"\xff"),
    ("authorization", b"Simple \x80"),
    ("authorization", b"simAAAA"),
    ("cookie", b"constellation_session=\xff"),
    ("cookie", b"constellation_session=" + b"a" * 43),
    ("cookie", b"constellation_journey=AAAA; constellation_visit=\x80"),
    ("cookie", b"constellation_journey=%00"),
    ("cookie", b"=;;=\xff; a"),
    ("content-type", b"\xff"),
    ("content-type", b""),
    ("content-encoding", b"gzip"),
    ("host", b""),
    ("host", b"\xff"),
    ("host", b"a b"),
    ("host", b"[::1"),
    ("host", b"host:99999"),
    ("host", b"x" * 300),
    ("if-match", b"\xff"),
    ("if-none-match", b'W/"'),
    ("if-modified-since", b"yesterday"),
    ("if-range", b"\xff"),
    ("origin", b"null"),
    ("origin", b"\xff"),
    ("origin", b"http://["),
    ("range", b"bytes=-"),
    ("range", b"bytes=0-99999999999999999999999"),
    ("range", b"bytes=5-1,\xff"),
    ("referer", b"http://["),
    ("referer", b"\xff"),
    ("traceparent", b"00-\xff"),
    ("traceparent", b"00-00000000000000000000000000000000-0000000000000000-00"),
    ("traceparent", b"00-" + b"f" * 32 + b"-" + b"f" * 16 + b"-ff"),
    ("tracestate", b"\xff=,=="),
    ("user-agent", b"\xff" * 400),
    ("x-forwarded-for", b"\xff"),
    ("x-forwarded-for", b"1.2.3.4, " * 200 + b"x"),
    ("x-forwarded-for", b"::1%eth0"),
    ("x-forwarded-host", b"\xff"),
    ("x-forwarded-proto", b"\xff"),
    ("x-request-id", b"\xff\xfe"),
    ("x-request-id", b"r" * 7000),
    ("idempotency-key", b"\xff"),
    ("idempotency-key", b"k" * 400),
)

QUERY_NAMES = (
    *("limit", "cursor", "marker", "q", "next", "since", "until", "acl", "force", "service", "published", "callable"),
    *("\x00", HALF, "a" * 300, ""),
)
"""Names in queries: such as routes read themselves, and such as nobody does."""


def segment(random: Random, *, path: bool) -> str:
    """Text for a part of a path, percent-encoded.

    Args:
        path: it may have slashes.
    """
    found = text(random) or "x"
    if random.random() < 0.1:
        return random.choice(("%00", "%ff%fe", "%C0%80", "%2e%2e", "%2F", "%5C", "%0d%0a", "%25"))
    return encoded(found[:3000], safe="/" if path else "")


def encoded(part: str, *, safe: str = "") -> str:
    found = quote(part.encode("utf-8", "surrogatepass"), safe=safe)
    return found.replace(".", "%2E") if found.strip(".") == "" else found
