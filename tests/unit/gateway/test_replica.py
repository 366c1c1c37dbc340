"""Reading the answers of replicas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.replicas import Address
from libs.common.contracts.runner import STATUSES
from libs.common.hosts import host_id
from services.gateway.replica import is_local, is_reachable, parse_head
from services.gateway.router import FIRST_PACE

USUAL = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 12\r\n"
    b"x-outcome: ok\r\nx-duration: 0.250000"
)


def test_the_runners_own_head_is_read() -> None:
    assert parse_head(USUAL) == (200, b"text/plain; charset=utf-8", b"ok", 12, 0.25, True)


def test_a_runner_that_hangs_up_says_so() -> None:
    assert parse_head(USUAL + b"\r\nconnection: close")[-1] is False
    assert parse_head(USUAL + b"\r\nConnection: Close")[-1] is False


def test_any_other_servers_head_is_read() -> None:
    head = b"HTTP/1.1 503 \r\nServer: x\r\nContent-Length:0\r\nX-Outcome: unstarted"
    assert parse_head(head) == (503, b"", b"unstarted", 0, FIRST_PACE, True)


@given(st.permutations(USUAL.split(b"\r\n")[1:]), st.lists(st.booleans(), min_size=4, max_size=4))
def test_order_and_case_of_header_lines_change_nothing(lines: list[bytes], upper: list[bool]) -> None:
    names = [line.split(b":", 1) for line in lines]
    cased = [(name.upper() if up else name) + b":" + value for (name, value), up in zip(names, upper, strict=True)]
    assert parse_head(b"\r\n".join((USUAL.split(b"\r\n")[0], *cased))) == parse_head(USUAL)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.0 200 OK\r\ncontent-length: 1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: x",
        b"HTTP/1.1 abc OK\r\ncontent-length: 1",
        b"HTTP/1.1 -10 OK\r\ncontent-length: 1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx-duration: fast",
    ],
)
def test_what_is_no_answer_of_known_length_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_head(head)


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_status_of_the_contract_is_read_in_every_head(status: int) -> None:
    usual = USUAL.replace(b"200", b"%d" % status)
    assert parse_head(usual)[0] == parse_head(usual + b"\r\nserver: x")[0] == status


@pytest.mark.parametrize("status", [100, 101, 103, 199, 201, 204, 205, 206, 301, 304, 401, 407, 500, 600, 999])
def test_any_other_status_is_refused(status: int) -> None:
    usual = USUAL.replace(b"200", b"%d" % status)
    for head in (usual, usual + b"\r\nserver: x"):
        with pytest.raises(ValueError, match=f"{status}"):
            parse_head(head)


def test_a_unix_socket_is_reached_only_on_its_own_host() -> None:
    here = Address(host_id=host_id(), unix="/s")
    elsewhere = Address(host_id="elsewhere", unix="/s")
    over_tcp = Address(host_id="elsewhere", unix="/s", host="h", port=1)
    assert [is_local(one) for one in (here, elsewhere, over_tcp)] == [True, False, False]
    assert [is_reachable(one) for one in (here, elsewhere, over_tcp)] == [True, False, True]
