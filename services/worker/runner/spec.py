"""The replica's specification: one JSON file that the worker writes and the runner reads at its start."""

from __future__ import annotations

import json

from .protocol import MAX_TIMEOUT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PYTHON = "python"
PIPE = "pipe"
MAX_CONCURRENCY = 64


class SpecError(ValueError):
    """The specification cannot be used; the text says which member and why."""


class Gateway:
    """Where the local door forwards to: a host and port, or the path of a Unix socket."""

    __slots__ = ("host", "path", "port")

    def __init__(self, host: str = "", port: int = 0, path: str = "") -> None:
        self.host = host
        self.port = port
        self.path = path

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Spec:
    """One replica. Members are those of the JSON file; absent ones have the defaults below.

    name: of the algorithm, so `src/NAME.py` for Python. kind: `python` or `pipe`. command: argument list of
    a pipe algorithm. root: its working directory. socket, control: paths of the Unix sockets. tcp:
    `HOST:PORT` to listen on besides. entrance: path of a further Unix socket, to which what comes over TCP elsewhere
    is carried. health: `HOST:PORT` on which anybody may ask how the replica is. token: what calls over the first two
    must carry. log, state: paths of the output log and of the state file. gateways: `http://HOST:PORT` or
    `unix:PATH`, tried in this order. load_timeout: seconds. concurrency: calls at a time. private_tmp: /tmp belongs
    to this replica alone. pipeline: whether the algorithm may call algorithms. must_load: end when loading fails;
    else each call is answered with that error.
    """

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members
        self.name = self._text("name")
        self.kind = self._text("kind", PYTHON)
        self.root = self._text("root")
        self.socket = self._text("socket", "")
        self.control = self._text("control", "")
        self.log = self._text("log", "")
        self.state = self._text("state", "")
        self.token = self._optional_text("token")
        self.tcp = self._address("tcp")
        self.entrance = self._text("entrance", "")
        self.health = self._address("health")
        self.command = self._texts("command")
        self.gateways = [parse_gateway(url) for url in self._texts("gateways")]
        self.load_timeout = self._number("load_timeout", 300.0, MAX_TIMEOUT_S)
        self.concurrency = int(self._number("concurrency", 1, MAX_CONCURRENCY))
        self.private_tmp = self._flag("private_tmp", default=False)
        self.pipeline = self._flag("pipeline", default=True)
        self.must_load = self._flag("must_load", default=False)
        if self.kind not in (PYTHON, PIPE):
            raise SpecError(f'"kind" must be "{PYTHON}" or "{PIPE}", not {self.kind!r}')
        if self.kind == PIPE and not self.command:
            raise SpecError('a pipe algorithm needs "command", a list of arguments')
        if self.kind == PIPE:
            self.concurrency = 1

    def require_addresses(self) -> None:
        """Refuse a specification that a replica cannot be reached under (a check needs none of them)."""
        for name in ("socket", "control", "log", "state"):
            self._text(name)

    def _text(self, name: str, default: str | None = None) -> str:
        value = self._members.get(name, default)
        if not isinstance(value, str) or (not value and default is None):
            raise SpecError(f'"{name}" must be a text, not {value!r}')
        return value

    def _optional_text(self, name: str) -> str | None:
        return None if self._members.get(name) is None else self._text(name)

    def _texts(self, name: str) -> list[str]:
        value = self._members.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SpecError(f'"{name}" must be a list of texts')
        return value

    def _number(self, name: str, default: float, most: float) -> float:
        value = self._members.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            raise SpecError(f'"{name}" must be a number above 0 and at most {most:g}, not {value!r}')
        return value

    def _flag(self, name: str, *, default: bool) -> bool:
        value = self._members.get(name, default)
        if not isinstance(value, bool):
            raise SpecError(f'"{name}" must be true or false, not {value!r}')
        return value

    def _address(self, name: str) -> tuple[str, int] | None:
        if self._members.get(name) is None:
            return None
        return parse_address(self._text(name), name)


def parse_address(text: str, what: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT`, as host and port."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SpecError(f'"{what}" must be HOST:PORT, not {text!r}')
    return host.strip("[]"), int(port)


def parse_gateway(url: str) -> Gateway:
    """`http://HOST:PORT` or `unix:/PATH`."""
    if url.startswith("unix:/"):
        return Gateway(path=url[len("unix:") :])
    if not url.startswith("http://"):
        raise SpecError(f'a gateway must be http://HOST:PORT or unix:/PATH, not "{url}"')
    address = url[len("http://") :].rstrip("/")
    if ":" not in address.rpartition("]")[2]:
        address += ":80"
    host, port = parse_address(address, "gateways")
    return Gateway(host, port)


def read_members(path: str) -> dict[str, Any]:
    """What a specification's file holds. Raises SpecError, or OSError when it cannot be read."""
    with open(path, encoding="utf-8") as file:
        try:
            members = json.load(file)
        except ValueError as error:
            raise SpecError(f"{path} is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise SpecError(f"{path} must hold a JSON object")
    return members
