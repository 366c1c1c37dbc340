"""The client of the platform's HTTP APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from constellation.api import Api
from constellation.push import Pushed
from constellation.rest import ApiError
from libs.common.connect.calls import BINARY, TEXT

URL = "http://platform.example"
KEY = "simAAAA1111bbbb2222CCCC33331"
COMMIT = "c" * 40

Reply = httpx.Response | Exception


class Server:
    """Answers requests with what the test put down for them, in order, and keeps the requests."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    def body(self, index: int = -1) -> Any:
        return json.loads(self.requests[index].content)


def answer(document: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document)


def api(server: Server, key: str = KEY) -> Api:
    return Api(URL, key, transport=httpx.MockTransport(server))


def build(status: str, build_id: str = "b1", commit: str = COMMIT) -> dict[str, str]:
    return {"build_id": build_id, "status": status, "commit_sha": commit}


def builds(*found: dict[str, str]) -> httpx.Response:
    return answer({"results": list(found), "marker": None})


def log(text: str, offset: int, *, finished: bool, status: str = "in-progress", reason: str | None = None) -> Reply:
    return answer(
        {
            "offset": offset,
            "next_offset": offset + len(text),
            "text": text,
            "finished": finished,
            "status": status,
            "reason": reason,
        }
    )


def test_every_request_carries_the_key() -> None:
    server = Server(answer({"id": "1"}))
    assert api(server).algorithm("ana", "hello") == {"id": "1"}
    assert server.requests[0].headers["authorization"] == f"Simple {KEY}"
    assert server.lines == ["GET /v1/algorithms/ana/hello"]


def test_names_cannot_change_the_path() -> None:
    server = Server(answer({}))
    api(server).algorithm("../admin", "a?b#c")
    assert server.lines == ["GET /v1/algorithms/..%2Fadmin/a%3Fb%23c"]


def test_lists_are_read_to_the_end_whichever_way_they_are_paged() -> None:
    server = Server(
        answer({"results": [{"n": 1}, {"n": 2}], "marker": "m", "next_link": "..."}),
        answer({"results": [{"n": 3}], "marker": None}),
        answer({"items": [{"n": 4}], "cursor": "c"}),
        answer({"items": [], "cursor": None}),
    )
    client = api(server)
    assert [one["n"] for one in client.algorithms("ana")] == [1, 2, 3]
    assert [one["n"] for one in client.workers()] == [4]
    assert server.lines == [
        "GET /v1/users/ana/algorithms?limit=100",
        "GET /v1/users/ana/algorithms?limit=100&marker=m",
        "GET /admin/v1/workers?limit=100",
        "GET /admin/v1/workers?limit=100&cursor=c",
    ]


def test_only_the_pages_that_are_looked_at_are_asked_for() -> None:
    server = Server(answer({"results": [{"n": 1}], "cursor": "more"}))
    assert next(api(server).audit(actor="ana", action=None)) == {"n": 1}
    assert server.lines == ["GET /admin/v1/audit?actor=ana&limit=100"]


@pytest.mark.parametrize(
    ("response", "message", "status", "code"),
    [
        (answer({"error": {"id": "r", "code": 1002, "message": "name taken"}}, 409), "name taken", 409, 1002),
        (answer({"error": "No such algorithm"}, 404), "No such algorithm", 404, None),
        (answer({"title": "No", "detail": "use an admin key", "code": 2001}, 403), "use an admin key", 403, 2001),
        (httpx.Response(502, text="<html>"), f"{URL}/v1/algorithms/a/b answered 502 Bad Gateway", 502, None),
        (httpx.Response(307, headers={"location": "http://other.example"}), "answered 307", 307, None),
    ],
)
def test_a_refusal_has_the_servers_words(response: Reply, message: str, status: int, code: int | None) -> None:
    with pytest.raises(ApiError) as refused:
        api(Server(response)).algorithm("a", "b")
    assert message in str(refused.value)
    assert (refused.value.status, refused.value.code) == (status, code)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (httpx.ConnectError("connection refused"), "cannot be reached"),
        (httpx.ReadTimeout("slow"), "did not answer in time"),
        (httpx.Response(200, text="<html>welcome</html>"), "is the address right"),
        (answer(["a list"]), "is the address right"),
    ],
)
def test_who_is_no_platform_or_silent_is_told_so(reply: Reply, words: str) -> None:
    with pytest.raises(ApiError, match=words) as failed:
        api(Server(reply)).algorithm("a", "b")
    assert failed.value.status is None


@pytest.mark.parametrize("key", ["", "  ", "sim\nX", "sim\u00e9", "a\x00b"])
def test_a_key_that_cannot_be_one_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(ApiError, match="copied whole") as refused:
        api(Server(), key)
    assert not key.strip() or key not in str(refused.value)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ApiError, match="no address"):
        Api("http://[::1", KEY)


def test_an_algorithm_is_created_and_published_with_what_is_asked_for() -> None:
    server = Server(answer({"id": "1"}, 201), answer({"version_info": {"semantic_version": "0.1.0"}}))
    client = api(server)
    client.create_algorithm("ana", "hello", details={"label": "Hello"}, settings={"language": "python3"})
    assert server.body() == {"name": "hello", "details": {"label": "Hello"}, "settings": {"language": "python3"}}
    client.publish("ana", "hello", version_type="major", callability="public", info={"release_notes": "first"})
    assert server.body() == {
        "settings": {"algorithm_callability": "public"},
        "version_info": {"version_type": "major", "release_notes": "first"},
    }
    assert server.lines == ["POST /v1/algorithms/ana", "POST /v1/algorithms/ana/hello/versions"]


@pytest.mark.parametrize(
    ("kind", "sent", "result"),
    [("text", "hi", "hi"), ("json", {"a": [1]}, {"a": [1]}), ("binary", "AP8=", b"\x00\xff")],
)
def test_a_calls_result_has_the_type_that_the_algorithm_gave_it(kind: str, sent: Any, result: Any) -> None:
    metadata = {"content_type": kind, "duration": 0.25, "stdout": "printed"}
    server = Server(answer({"result": sent, "metadata": metadata, "request_id": "req-1"}))
    got = api(server).call("algo://ana/hello/1.2.*", b"in", TEXT, seconds=30, stdout=True)
    assert (got.result, got.kind, got.duration, got.stdout, got.request_id) == (
        result,
        kind,
        0.25,
        "printed",
        "req-1",
    )
    assert server.lines == ["POST /v1/algo/ana/hello/1.2.*?timeout=30&stdout=true"]
    assert server.requests[0].headers["content-type"] == TEXT
    assert server.requests[0].content == b"in"


def test_an_algorithms_error_has_its_type_and_trace() -> None:
    error = {"message": "no good", "error_type": "InputError", "stacktrace": "File ..."}
    with pytest.raises(ApiError, match="no good") as failed:
        api(Server(answer({"error": error, "metadata": {"duration": 0.1}}))).call("a/b", b"", BINARY)
    assert (failed.value.kind, failed.value.trace, failed.value.status) == ("InputError", "File ...", 200)


def test_a_build_is_followed_until_its_log_ends() -> None:
    server = Server(
        log("one\n", 0, finished=False),
        log("", 4, finished=False),
        log("two\n", 4, finished=True, status="failed", reason="no good"),
    )
    seen: list[str] = []
    last = api(server).follow_build("b1", seen.append)
    assert seen == ["one\n", "two\n"]
    assert (last["status"], last["reason"]) == ("failed", "no good")
    offsets = [request.url.params["offset"] for request in server.requests]
    assert offsets == ["0", "4", "4"]
    assert all(0 < float(request.url.params["wait"]) <= 25 for request in server.requests)


def test_following_a_build_ends_when_its_time_does() -> None:
    with pytest.raises(ApiError, match="has not finished within 0 s"):
        api(Server(log("", 0, finished=False))).follow_build("b1", lambda _: None, seconds=0)


def test_the_build_of_a_push_is_waited_for_until_the_platform_has_it() -> None:
    server = Server(builds(build("succeeded", "old", "d" * 40)), builds(build("in-progress", "new"), build("failed")))
    found = api(server).build_of("ana", "hello", Pushed(COMMIT, changed=True))
    assert found["build_id"] == "new"


def test_a_push_of_nothing_new_starts_a_build_only_where_none_is_good() -> None:
    good = Server(builds(build("succeeded")))
    assert api(good).build_of("ana", "hello", Pushed(COMMIT, changed=False))["status"] == "succeeded"
    assert len(good.requests) == 1

    started: list[Callable[[], Reply]] = [
        lambda: answer({"compilation": {"successful": True}}),
        lambda: httpx.ReadTimeout("it takes longer"),
        lambda: answer({"error": {"code": 1010, "message": "it failed again"}}, 400),
    ]
    for reply in started:
        bad = Server(
            builds(build("failed", "b1")), reply(), builds(build("in-progress", "b2"), build("failed", "b1"))
        )
        assert api(bad).build_of("ana", "hello", Pushed(COMMIT, changed=False))["build_id"] == "b2"
        assert bad.lines[1] == "POST /v1/algorithms/ana/hello/compile"


def test_a_build_that_may_not_be_started_is_an_error() -> None:
    server = Server(builds(), answer({"error": {"code": 2001, "message": "this key may not"}}, 403))
    with pytest.raises(ApiError, match="this key may not"):
        api(server).build_of("ana", "hello", Pushed(COMMIT, changed=False))


def test_a_push_that_fails_is_an_api_error(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="is not a folder"):
        api(Server()).push(tmp_path / "missing", "ana", "hello", message="m")


def test_keys_of_users_and_organizations_have_their_own_addresses() -> None:
    made = {"id": "k1", "api_key": "sim..."}
    server = Server(answer(made, 201), answer(made, 201), httpx.Response(204))
    client = api(server)
    client.create_key("ana", {"key_label": "laptop"})
    client.create_key("lab", {"key_label": "ci"}, organization=True)
    client.revoke_key("ana", "k1")
    assert server.lines == [
        "POST /v1/users/ana/keys",
        "POST /v1/organizations/lab/keys",
        "DELETE /v1/users/ana/keys/k1",
    ]


def test_putting_a_member_tells_whether_it_is_new() -> None:
    server = Server(httpx.Response(201), httpx.Response(200))
    client = api(server)
    assert client.put_member("lab", "ana")
    assert server.body() == {}
    assert not client.put_member("lab", "ana", "owner")
    assert server.body() == {"role": "owner"}


def test_a_worker_is_drained_and_taken_back() -> None:
    server = Server(answer({"id": "w"}), answer({"id": "w"}))
    client = api(server)
    client.drain_worker("w")
    client.drain_worker("w", drain=False)
    assert server.lines == ["POST /admin/v1/workers/w/drain", "DELETE /admin/v1/workers/w/drain"]
