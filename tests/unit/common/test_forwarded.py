"""Gateways vouch for the addresses of clients."""

from __future__ import annotations

import pytest

from libs.common.forwarded import ADDRESSES, CODE, Headers, addresses, code, is_vouched_for

SAID: Headers = [(b"host", b"x"), (ADDRESSES, b"192.0.2.1"), (ADDRESSES, b"10.0.0.1")]
GOOD = code("secret", SAID)


def test_several_lines_are_one_list() -> None:
    assert addresses(SAID) == b"192.0.2.1, 10.0.0.1"
    assert addresses([]) == b""
    assert code("secret", [(ADDRESSES, b"192.0.2.1, 10.0.0.1")]) == GOOD


@pytest.mark.parametrize(
    ("headers", "vouched"),
    [
        ([*SAID, (CODE, GOOD)], True),
        (SAID, False),
        ([*SAID, (CODE, b"")], False),
        ([*SAID, (CODE, code("another", SAID))], False),
        ([*SAID, (CODE, GOOD), (CODE, GOOD)], False),
        ([*SAID, (ADDRESSES, b"10.0.0.2"), (CODE, GOOD)], False),
        ([(ADDRESSES, b"\xff"), (CODE, b"\xff")], False),
    ],
)
def test_only_who_has_the_secret_vouches(headers: Headers, vouched: bool) -> None:
    assert is_vouched_for("secret", headers) is vouched
