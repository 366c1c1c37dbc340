"""HTTP/1.1 as far as a runner needs it: whole requests out of bytes, answers into bytes, and framing.

Source: RFC 9112. `Requests` is on the path of each call; it takes bodies with Content-Length only, which
is what gateways send. `Framing` finds the end of any message, for the local door, which passes bodies on
without reading them.
"""

from __future__ import annotations

from .protocol import MAX_BODY_BYTES, MAX_HEAD_BYTES, REPLICA_TOKEN

REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
MAX_CHUNK_LINE = 4096


class BadMessage(Exception):
    """The bytes are not a message that can be served. `status` is what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Request:
    """Header names are lower case. `keep` is false when the sender asks to close after the answer."""

    __slots__ = ("body", "headers", "keep", "method", "target")

    def __init__(self, method: str, target: str, headers: dict[str, str], *, keep: bool) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.keep = keep
        self.body: bytes = b""


def parse_fields(lines: list[str]) -> dict[str, str]:
    """Header lines as a dictionary with lower-case names. Repeated fields are joined by a comma, except
    that a repeated Content-Length or Host is refused."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name or " " in name:
            raise BadMessage(400, f"malformed header line {line[:80]!r}")
        name = name.lower()
        if name in headers:
            if name in ("content-length", "host", "transfer-encoding"):
                raise BadMessage(400, f"header {name} is given twice")
            headers[name] += ", " + value.strip()
        else:
            headers[name] = value.strip()
    return headers


def parse_length(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise BadMessage(400, f"malformed content-length {text[:40]!r}")
    return int(text)


def split_request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[0] or not parts[1] or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadMessage(400, f"malformed request line {line[:80]!r}")
    return parts[0], parts[1], parts[2]


def shows_token(headers: dict[str, str], token: bytes) -> bool:
    """Whether a request comes from who knows the replica's token."""
    import hmac  # noqa: PLC0415 - only replicas that gateways on other hosts call need it

    return hmac.compare_digest(headers.get(REPLICA_TOKEN, "").encode("latin-1"), token)


def head_end(buffer: bytes | bytearray, limit: int = MAX_HEAD_BYTES) -> int:
    """Where the blank line begins, or -1 while it has not arrived."""
    end = buffer.find(b"\r\n\r\n")
    if end > limit or (end < 0 and len(buffer) > limit):
        raise BadMessage(431, f"the request's head is over {limit} bytes")
    return end


class Requests:
    """Incremental parser of one connection: `feed` bytes as they come, then take requests with `next`
    until it gives None. However the bytes are cut, the same requests come out."""

    __slots__ = ("_body", "_buffer", "_missing", "_request")

    def __init__(self) -> None:
        self._buffer = b""
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._missing = 0

    @property
    def partial(self) -> bool:
        """Whether bytes were taken that belong to a request not yet handed out."""
        return self._request is not None or bool(self._buffer)

    @property
    def head(self) -> Request | None:
        """The request whose body is still coming."""
        return self._request

    @property
    def missing(self) -> int:
        """Bytes that the body under way still needs."""
        return self._missing

    def feed(self, data: bytes) -> None:
        if self._request is None:
            self._buffer = self._buffer + data if self._buffer else data
            return
        self._body.append(data)
        self._missing -= len(data)

    def next(self) -> Request | None:
        """Raises BadMessage; the connection is of no further use then."""
        if self._request is None and not self._start():
            return None
        if self._missing > 0:
            return None
        request = self._request
        if request is None:
            return None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._missing < 0:  # it holds the beginning of the next request too
            self._buffer = body[self._missing :]
            body = body[: self._missing]
        request.body = body
        self._body = []
        self._missing = 0
        self._request = None
        return request

    def _start(self) -> bool:
        """Take a head off the buffer; what follows it becomes the first piece of the body."""
        buffer = self._buffer
        if not buffer:
            return False
        end = head_end(buffer)
        if end < 0:
            return False
        lines = buffer[:end].decode("latin-1").split("\r\n")
        method, target, version = split_request_line(lines[0])
        headers = parse_fields(lines[1:])
        if "transfer-encoding" in headers:
            raise BadMessage(411, "send the body with content-length: transfer-encoding is not taken here")
        size = parse_length(headers.get("content-length", "0"))
        if size > MAX_BODY_BYTES:
            raise BadMessage(413, f"the body is over {MAX_BODY_BYTES} bytes")
        keep = version == "HTTP/1.1"
        if "connection" in headers:
            keep = wants_keep(headers["connection"], version)
        self._request = Request(method, target, headers, keep=keep)
        rest = buffer[end + 4 :]
        self._body = [rest]
        self._missing = size - len(rest)
        self._buffer = b""
        return True


def wants_keep(connection: str, version: str) -> bool:
    """Whether a Connection header leaves the connection open."""
    options = {option.strip().lower() for option in connection.split(",")}
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)


def answer(
    status: int, content_type: str, body: bytes, fields: tuple[tuple[str, str], ...] = (), *, keep: bool = True
) -> bytes:
    """A whole answer. Not for the path of each call, which writes its own."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if not keep:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Framing:
    """Finds where one message's body ends, without decoding it."""

    __slots__ = ("_chunked", "_remaining", "_trailer", "done", "until_end")

    def __init__(self, *, length: int = 0, chunked: bool = False, until_end: bool = False) -> None:
        self._remaining = 0 if chunked else length
        self._chunked = chunked
        self._trailer = False
        self.until_end = until_end
        self.done = not chunked and not until_end and length == 0

    @classmethod
    def of_request(cls, headers: dict[str, str]) -> Framing:
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
                raise BadMessage(400, "the body must come with content-length or as chunked, not both")
            return cls(chunked=True)
        return cls(length=parse_length(headers.get("content-length", "0")))

    @classmethod
    def of_answer(cls, method: str, status: int, headers: dict[str, str]) -> Framing:
        if method == "HEAD" or status in (204, 304) or status < 200:
            return cls()
        if "transfer-encoding" in headers:
            return cls(chunked=True)
        if "content-length" in headers:
            return cls(length=parse_length(headers["content-length"]))
        return cls(until_end=True)

    def take(self, buffer: bytes | bytearray) -> int:
        """How many of these bytes belong to the message. Those that follow them, if it is not `done`, are
        the beginning of a line and must come again with more."""
        if self.done:
            return 0
        if self.until_end:
            return len(buffer)
        if self._chunked:
            return self._take_chunks(buffer)
        count = min(self._remaining, len(buffer))
        self._remaining -= count
        self.done = self._remaining == 0
        return count

    def _take_chunks(self, buffer: bytes | bytearray) -> int:
        position = 0
        while True:
            count = min(self._remaining, len(buffer) - position)
            self._remaining -= count
            position += count
            if self._remaining:
                return position
            end = buffer.find(b"\r\n", position)
            if end < 0:
                if len(buffer) - position > MAX_CHUNK_LINE:
                    raise BadMessage(400, "a chunk's size line is too long")
                return position
            line = bytes(buffer[position:end])
            position = end + 2
            if self._trailer:
                if not line:
                    self.done = True
                    return position
                continue
            size = parse_chunk_size(line)
            if size:
                self._remaining = size + 2  # the line end after the data
            else:
                self._trailer = True


def parse_chunk_size(line: bytes) -> int:
    digits = line.split(b";")[0].strip()
    if not digits or len(digits) > 12 or digits.strip(b"0123456789abcdefABCDEF"):
        raise BadMessage(400, f"malformed chunk size {digits[:20]!r}")
    return int(digits, 16)
