"""HTTP/1.1 out of bytes, however they are cut."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.runner.protocol import MAX_BODY_BYTES, MAX_HEAD_BYTES
from services.worker.runner.wire import BadMessage, Framing, Request, Requests, answer, wants_keep

bodies = st.binary(max_size=200)
values = st.text("abc xyz-,=;/0123", max_size=20).map(str.strip)
names = st.sampled_from(["X-Request-Id", "x-flags", "Accept", "x-caller"])
messages = st.lists(st.tuples(st.dictionaries(names, values, max_size=4), bodies), min_size=1, max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def parse(pieces: list[bytes]) -> list[tuple[str, str, dict[str, str], bytes]]:
    parser = Requests()
    found: list[Request] = []
    for piece in pieces:
        parser.feed(piece)
        while (request := parser.next()) is not None:
            found.append(request)
    assert not parser.partial
    return [(each.method, each.target, each.headers, bytes(each.body)) for each in found]


@given(messages, st.lists(st.integers(min_value=0), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_requests(
    parts: list[tuple[dict[str, str], bytes]], places: list[int]
) -> None:
    data = b""
    expected = []
    for headers, body in parts:
        lines = ["POST /call HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        data += "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body
        fields = {name.lower(): value for name, value in headers.items()}
        expected.append(("POST", "/call", {**fields, "content-length": str(len(body))}, body))
    assert parse(cut(data, places)) == expected
    assert parse([data[i : i + 1] for i in range(len(data))]) == expected


@given(st.binary(max_size=400), st.lists(st.integers(min_value=0), max_size=6))
def test_any_bytes_are_parsed_or_refused(data: bytes, places: list[int]) -> None:
    parser = Requests()
    with contextlib.suppress(BadMessage):
        for piece in cut(data, places):
            parser.feed(piece)
            while parser.next() is not None:
                pass


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /call", 400),
        (b"POST /call HTTP/2", 400),
        (b"POST  /call HTTP/1.1", 400),
        (b"POST /call HTTP/1.1\r\nno colon", 400),
        (b"POST /call HTTP/1.1\r\nspaced : x", 400),
        (b"POST /call HTTP/1.1\r\n folded: x", 400),
        (b"POST /call HTTP/1.1\r\nContent-Length: -1", 400),
        (b"POST /call HTTP/1.1\r\nContent-Length: 1_0", 400),
        (b"POST /call HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2", 400),
        (b"POST /call HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
        (b"POST /call HTTP/1.1\r\nContent-Length: %d" % (MAX_BODY_BYTES + 1), 413),
        (b"POST /call HTTP/1.1\r\nx: " + b"y" * MAX_HEAD_BYTES, 431),
    ],
)
def test_malformed_heads_are_refused(head: bytes, status: int) -> None:
    parser = Requests()
    parser.feed(head + b"\r\n\r\n")
    with pytest.raises(BadMessage) as caught:
        parser.next()
    assert caught.value.status == status


def test_a_head_without_end_is_refused_before_it_fills_memory() -> None:
    parser = Requests()
    parser.feed(b"POST /call HTTP/1.1\r\nx: " + b"y" * MAX_HEAD_BYTES)
    with pytest.raises(BadMessage):
        parser.next()


def test_repeated_fields_are_joined() -> None:
    parser = Requests()
    parser.feed(b"GET / HTTP/1.1\r\nAccept: a\r\naccept: b\r\n\r\n")
    request = parser.next()
    assert request is not None
    assert request.headers == {"accept": "a, b"}


@pytest.mark.parametrize(
    ("connection", "version", "kept"),
    [
        ("", "HTTP/1.1", True),
        ("close", "HTTP/1.1", False),
        ("Keep-Alive, Close", "HTTP/1.1", False),
        ("", "HTTP/1.0", False),
        ("keep-alive", "HTTP/1.0", True),
    ],
)
def test_connections_are_kept_as_the_sender_asks(connection: str, version: str, kept: bool) -> None:
    assert wants_keep(connection, version) is kept


def test_an_answer_is_a_whole_message() -> None:
    assert answer(503, "text/plain", b"no", (("x-a", "b"),), keep=False) == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nx-a: b\r\n"
        b"connection: close\r\n\r\nno"
    )


def run(framing: Framing, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What belongs to the message, and what is left."""
    taken = b""
    buffer = b""
    for piece in pieces:
        buffer += piece
        count = framing.take(buffer)
        taken += buffer[:count]
        buffer = buffer[count:]
    return taken, buffer


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(min_value=0), max_size=12))
def test_framing_finds_the_end_of_chunks_however_they_are_cut(chunks: list[bytes], places: list[int]) -> None:
    message = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"
    framing = Framing(chunked=True)
    assert run(framing, cut(message + b"GET /", places)) == (message, b"GET /")
    assert framing.done


@given(st.binary(max_size=100), st.lists(st.integers(min_value=0), max_size=6))
def test_framing_finds_the_end_of_a_length(body: bytes, places: list[int]) -> None:
    framing = Framing(length=len(body))
    assert run(framing, cut(body + b"next", places)) == (body, b"next")
    assert framing.done


@pytest.mark.parametrize("line", [b"\r\n", b"x\r\n", b"-1\r\n", b"0x1\r\n", b"1" * 13 + b"\r\n", b"1" * 5000])
def test_malformed_chunk_sizes_are_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        Framing(chunked=True).take(line)


def test_framing_of_requests_and_answers() -> None:
    assert Framing.of_request({}).done
    assert not Framing.of_request({"transfer-encoding": "Chunked"}).done
    for headers in ({"transfer-encoding": "gzip"}, {"transfer-encoding": "chunked", "content-length": "1"}):
        with pytest.raises(BadMessage):
            Framing.of_request(headers)
    assert Framing.of_answer("HEAD", 200, {"content-length": "5"}).done
    assert Framing.of_answer("GET", 204, {}).done
    assert Framing.of_answer("GET", 304, {"content-length": "5"}).done
    assert Framing.of_answer("GET", 200, {}).until_end
    assert not Framing.of_answer("GET", 200, {"content-length": "5"}).done
