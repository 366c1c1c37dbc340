"""What the platform says is read strictly where credentials are at stake, and tolerantly elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.connect import protocol
from libs.common.connect.errors import ConnectFailed, Denied, Expired, NeedsLogin, Refused, Unreachable
from libs.common.contracts.joining import Manifest
from tests.unit.connect.platform import URL, Platform

APP = Manifest(identifier="org.example.app", version="1.0")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://lab.example/", "https://lab.example"),
        (" https://lab.example/prefix/ ", "https://lab.example/prefix"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_is_normalised(text: str, url: str) -> None:
    assert protocol.server_url(text) == url


@pytest.mark.parametrize(
    "text", ["lab.example", "ftp://lab.example", "https://", "https://a:b@lab.example", "http://[::1", "https://h:0"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConnectFailed, match="is no address"):
        protocol.server_url(text)


def test_tokens_cross_no_network_in_the_clear_unless_it_is_trusted() -> None:
    with pytest.raises(ConnectFailed, match="not encrypted"):
        protocol.server_url("http://lab.example")
    assert protocol.server_url("http://lab.example", allow_insecure=True) == "http://lab.example"


def test_endpoints_are_on_the_origin_that_was_asked() -> None:
    document = Platform().document
    found = protocol.deployment(URL, document)
    assert found.token_endpoint == f"{URL}/o/token/"
    assert found.report_endpoint == f"{URL}/lok/f/report/"
    assert protocol.deployment(URL, {**document, "token_endpoint": "https://LAB.example:443/t"})
    for elsewhere in ("http://lab.example/o/token/", "https://evil.example/o/token/", "https://lab.example:1/", "x"):
        with pytest.raises(Unreachable, match="another origin"):
            protocol.deployment(URL, {**document, "token_endpoint": elsewhere})
    bare = protocol.deployment(URL, {"token_endpoint": f"{URL}/o/token/", "protocol_version": "2"})
    assert (bare.device_endpoint, bare.revocation_endpoint, bare.report_endpoint) == (None, None, None)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "not answer as a platform"),
        ([], "not answer as a platform"),
        ({"name": "x"}, "not answer as a platform"),
        ({"token_endpoint": f"{URL}/t"}, "speaks version 1"),
        ({"token_endpoint": f"{URL}/t", "protocol_version": "3"}, "speaks version 3"),
    ],
)
def test_what_is_no_platform_is_told(document: Any, words: str) -> None:
    with pytest.raises(Unreachable, match=words):
        protocol.deployment(URL, document)


START = {"device_code": "s", "client_id": "c", "user_code": "ABCD", "verification_uri": f"{URL}/configure/"}


def test_a_started_login_has_a_page_and_a_code() -> None:
    found = protocol.device_login(URL, START)
    assert (found.url, found.code, found.seconds, found.interval) == (f"{URL}/configure/", "ABCD", 300.0, 5.0)
    full = {**START, "verification_uri_complete": f"{URL}/configure/ABCD", "expires_in": 60, "interval": 0.1}
    found = protocol.device_login(URL, full)
    assert (found.url, found.seconds, found.interval) == (f"{URL}/configure/ABCD", 60.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"device_code": None},
        {"user_code": "\x1b[2J"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": 1},
        {"verification_uri": f"{URL}/\x1b[31m"},
    ],
)
def test_a_login_that_cannot_be_shown_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="without saying how"):
        protocol.device_login(URL, {**START, **change})


@pytest.mark.parametrize("lifetime", [40.0, 3600.0])
def test_a_token_is_renewed_before_it_runs_out(lifetime: float) -> None:
    answer = protocol.token_answer(URL, {"access_token": "t", "expires_in": lifetime})
    kept = protocol.credential(answer, URL, APP, now=1000.0)
    assert kept.expires_at == 1000.0 + lifetime
    assert kept.renew_at == 1000.0 + max(lifetime - 60, lifetime / 2)


def test_what_a_renewal_leaves_out_stays() -> None:
    first = protocol.token_answer(
        URL,
        {
            "access_token": "t",
            "refresh_token": "r",
            "client_id": "c",
            "scope": "openid",
            "instances": {"a": {"service": "s", "identifier": "1"}},
            "statuses": {"a": "granted"},
        },
    )
    before = protocol.credential(first, URL, APP, now=0.0)
    after = protocol.credential(protocol.token_answer(URL, {"access_token": "u"}), URL, APP, now=1.0, before=before)
    assert after == before.model_copy(update={"access_token": "u", "renew_at": 241.0, "expires_at": 301.0})
    none = protocol.token_answer(URL, {"access_token": "u", "instances": {}, "statuses": {}})
    assert protocol.credential(none, URL, APP, now=1.0, before=before).instances == {}


def test_an_address_of_an_unknown_kind_is_left_out() -> None:
    good = {"id": "1", "host": "h", "challenge": "ht", "kind": "absolute"}
    answer = protocol.token_answer(
        URL,
        {
            "access_token": "t",
            "instances": {
                "a": {"service": "s", "identifier": "1", "aliases": [{**good, "kind": "carrier-pigeon"}, good]},
                "b": {"service": "s"},
                "c": None,
            },
        },
    )
    kept = protocol.credential(answer, URL, APP, now=0.0)
    assert list(kept.instances) == ["a"]
    assert [alias.id for alias in kept.instances["a"].aliases] == ["1"]


def test_what_is_no_token_is_told() -> None:
    with pytest.raises(Unreachable, match="no token"):
        protocol.token_answer(URL, {"refresh_token": "r"})


def test_errors_have_their_own_kinds() -> None:
    refused = protocol.refusal({"error": "access_denied", "error_description": "No."}, 400)
    assert refused is not None
    assert isinstance(protocol.decision(refused), Denied)
    assert str(protocol.decision(refused)) == "No."
    assert str(protocol.decision(Refused("access_denied"))) == "the login was denied"
    assert isinstance(protocol.decision(Refused("expired_token")), Expired)
    other = Refused("invalid_scope", "no such scope")
    assert protocol.decision(other) is other
    assert protocol.lost(other) is other
    assert isinstance(protocol.lost(Refused("invalid_grant", "Gone.")), NeedsLogin)
    for document, status in (({"error": "x"}, 500), ({"error": {"message": "m"}}, 400), ([], 400), ({}, 400)):
        assert protocol.refusal(document, status) is None


@pytest.mark.parametrize("token", ["", "a.b.c", "a.W10.c", "a.e30.c", "opaque"])
def test_a_token_may_say_nothing_of_its_account(token: str) -> None:
    assert protocol.account_of(token) is None


def test_an_app_asks_anew_only_for_something_else() -> None:
    newer = APP.model_copy(update={"version": "2.0", "description": "better"})
    assert protocol.asked(newer) == protocol.asked(APP)
    assert protocol.asked(APP.model_copy(update={"scopes": ("openid", "algo:call")})) != protocol.asked(APP)
