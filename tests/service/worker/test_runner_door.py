"""The local door: an algorithm's own client reaches the platform as the caller of the call under way."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.replica import Replica, until

CHAIN = """
    import Algorithmia
    from Algorithmia import ADK
    client = Algorithmia.client()

    def apply(input):
        return client.algo("demo/echo").pipe(input).result

    ADK(apply).init("x")
"""

ASK = """
    import ctypes, http.client, os, threading, time
    address = os.environ["ALGORITHMIA_API"][len("http://"):]

    def ask(method="POST", path="/v1/algo/demo/echo", body=b"[1]", headers=None, chunked=False):
        connection = http.client.HTTPConnection(address, timeout=120)
        fields = {"Content-Type": "application/json", **(headers or {})}
        pieces = iter([body[i:i + 100000] for i in range(0, len(body), 100000)])
        connection.request(method, path, pieces if chunked else body, fields, encode_chunked=chunked)
        answer = connection.getresponse()
        return [answer.status, answer.read().decode("latin-1")]

    def apply(input):
        what = input.pop("what", "ask")
        if what == "ask":
            return ask(**input)
        if what == "size":
            return len(ask(body=bytes(input["size"]), chunked=input["chunked"])[1])
        if what == "address":
            return os.environ["ALGORITHMIA_API"]
        if what == "twice":
            connection = http.client.HTTPConnection(address, timeout=120)
            answers = []
            for _ in range(2):
                connection.request("POST", "/v1/algo/demo/echo", b"[1]", {"Content-Type": "application/json"})
                answers.append(connection.getresponse().read().decode())
            return [answers, connection.sock is not None]
        if what == "environment":
            return {name: os.environ.get(name) for name in ("ALGORITHMIA_API_KEY", "NO_PROXY", "GREETING")}
        if what == "after":
            def after():
                while not os.path.exists("go"):
                    time.sleep(0.01)
                with open("after", "w") as file:
                    file.write(repr(ask()))
            threading.Thread(target=after).start()
"""


class FakeGateway(ThreadingHTTPServer):
    """Answers each request with what it was, in the shape of an algorithm's answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class FakeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeGateway
    streams: ClassVar[set[str]] = {"/v1/data/stream", "/v1/data/close"}

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append({**headers, "target": self.path})
        body = self.read_body()
        if self.path in self.streams:
            self.stream()
            return
        answer = json.dumps({"result": body.decode("latin-1"), "metadata": {"content_type": "text", "duration": 0}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_POST  # noqa: N815 - the name that http.server looks for

    def read_body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def stream(self) -> None:
        """300,000 bytes, chunked or until the end of the connection."""
        chunked = self.path == "/v1/data/stream"
        self.send_response(200)
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        self.end_headers()
        for _ in range(3):
            piece = b"x" * 100_000
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CALLER = {"x-caller": "caller-token"}


def test_the_published_client_without_a_key_calls_as_the_caller(
    tmp_path: Path, published: Path, gateway: FakeGateway
) -> None:
    with Replica(tmp_path, CHAIN, python=published, gateways=[gateway.url]) as replica:
        assert replica.call({"deep": [1]}, headers=CALLER).result == '{"deep": [1]}'
        assert replica.call("text", headers={"x-caller": "other-token"}).result == "text"
        assert [seen["authorization"] for seen in gateway.seen] == ["Bearer caller-token", "Bearer other-token"]
        assert [seen["x-parent-request-id"] for seen in gateway.seen] == ["req-1", "req-1"]
        assert gateway.seen[0]["host"] == gateway.url[len("http://") :]
        assert gateway.seen[0]["target"].startswith("/v1/algo/demo/echo")


def test_a_key_that_the_algorithm_brings_is_kept_and_an_empty_one_replaced(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url]) as replica:
        replica.call({"headers": {"Authorization": "Simple own"}}, headers=CALLER)
        replica.call({"headers": {"Authorization": "", "X-Parent-Request-Id": "forged"}}, headers=CALLER)
        assert [seen["authorization"] for seen in gateway.seen] == ["Simple own", "Bearer caller-token"]
        assert [seen["x-parent-request-id"] for seen in gateway.seen] == ["req-1", "req-1"]


def test_requests_without_an_identity_are_refused(tmp_path: Path, gateway: FakeGateway) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url]) as replica:
        status, body = replica.call({}).result
        assert (status, "has no identity" in json.loads(body)["error"]["message"]) == (401, True)
        replica.call({"what": "after"}, headers=CALLER)
        until(lambda: replica.health["in_flight"] == 0)
        (replica.root / "go").touch()
        until((replica.root / "after").exists)
        until(lambda: "no call is under way" in (replica.root / "after").read_text())
        assert gateway.seen == []


def test_other_processes_of_the_machine_are_refused(tmp_path: Path, gateway: FakeGateway) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url]) as replica:
        url = replica.call({"what": "address"}).result
        host, port = url[len("http://") :].split(":")
        with socket.create_connection((host, int(port)), timeout=60) as stranger:
            stranger.sendall(b"GET /v1/data/ HTTP/1.1\r\nAuthorization: Simple x\r\n\r\n")
            assert stranger.recv(65536).startswith(b"HTTP/1.1 403 ")
        assert gateway.seen == []


def test_calls_of_algorithms_can_be_switched_off(tmp_path: Path, gateway: FakeGateway) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url], pipeline=False) as replica:
        status, body = replica.call({}, headers=CALLER).result
        assert (status, "pipeline_enabled" in json.loads(body)["error"]["message"]) == (403, True)
        assert replica.call({"path": "/v1/data/demo/file"}, headers=CALLER).result[0] == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_large_bodies_stream_both_ways(tmp_path: Path, gateway: FakeGateway, chunked: bool) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url]) as replica:
        size = 3_000_000
        answer = replica.call({"what": "size", "size": size, "chunked": chunked}, headers=CALLER)
        assert answer.result == len(json.dumps("\0" * size)) + len('{"result": , "metadata": }') + len(
            '{"content_type": "text", "duration": 0}'
        )
        assert ("transfer-encoding" in gateway.seen[0]) == chunked


def test_answers_of_each_framing_arrive_whole(tmp_path: Path, gateway: FakeGateway) -> None:
    with Replica(tmp_path, ASK, gateways=[gateway.url]) as replica:
        for path in sorted(FakeHandler.streams):
            assert replica.call({"path": path}, headers=CALLER).result == [200, "x" * 300_000]
        answers, kept = replica.call({"what": "twice"}, headers=CALLER).result
        assert (len(answers), answers[0], kept) == (2, answers[1], True)


def test_the_next_gateway_is_tried_and_names_are_looked_up(tmp_path: Path, gateway: FakeGateway) -> None:
    port = gateway.server_address[1]
    gateways = ["http://127.0.0.1:1", "http://no-such-host.invalid:1", f"http://localhost:{port}"]
    with Replica(tmp_path, ASK, gateways=gateways) as replica:
        assert replica.call({}, headers=CALLER).result[0] == 200
        assert gateway.seen[0]["host"] == f"localhost:{port}"
    with Replica(tmp_path / "none", ASK, gateways=gateways[:1]) as replica:
        status, body = replica.call({}, headers=CALLER).result
        assert (status, "no gateway" in json.loads(body)["error"]["message"]) == (502, True)


def test_the_door_is_open_while_apply_holds_the_interpreter(tmp_path: Path, gateway: FakeGateway) -> None:
    ask = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
connection.request("POST", "/v1/algo/demo/echo", b"[1]")
print(connection.getresponse().status, file=open("status", "w"))
"""
    code = f"""
        import ctypes, os, subprocess
        def apply(input):
            address = os.environ["ALGORITHMIA_API"][len("http://"):]
            child = subprocess.Popen([{sys.executable!r}, "ask.py", address])
            ctypes.PyDLL(None).waitpid(child.pid, None, 0)
            return open("status").read()
    """
    with Replica(tmp_path, code, files={"ask.py": ask}, gateways=[gateway.url]) as replica:
        assert replica.call("x", headers=CALLER, timeout=120).result == "200\n"


def test_the_environment_is_passed_on_without_a_key(tmp_path: Path) -> None:
    with Replica(tmp_path, ASK, environment={"GREETING": "hello", "NO_PROXY": "example.org"}) as replica:
        assert replica.call({"what": "environment"}).result == {
            "ALGORITHMIA_API_KEY": None,
            "NO_PROXY": "example.org,127.0.0.1",
            "GREETING": "hello",
        }


def test_a_gateway_behind_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        with Replica(tmp_path, ASK, gateways=[f"unix:{path}"]) as replica:
            caller = replica.caller()
            caller.send({}, headers=CALLER)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(60)
                request = b""
                while not request.endswith(b"\r\n\r\n[1]"):
                    request += connection.recv(65536)
                assert b"\r\nAuthorization: Bearer caller-token\r\n" in request
                connection.sendall(
                    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok"
                )
                assert caller.receive().result == [201, "ok"]
