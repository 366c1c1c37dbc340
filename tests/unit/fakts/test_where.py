"""Where requests come from."""

from __future__ import annotations

import pytest

from services.fakts import where
from services.fakts.where import Where, Zone

GATEWAYS = where.networks("127.0.0.0/8, ::1/128,")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.7", None, "10.0.0.7"),
        ("10.0.0.7", "8.8.8.8", "10.0.0.7"),
        ("127.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("::1", "6.6.6.6, 2001:db8::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "::ffff:8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("127.0.0.1", "8.8.8.8, somebody", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        (None, "8.8.8.8", ""),
        ("testclient", "8.8.8.8", ""),
    ],
)
def test_only_a_trusted_peer_says_for_whom_it_asks(peer: str | None, forwarded: str | None, address: str) -> None:
    assert where.client_address(peer, forwarded, GATEWAYS) == address


def test_what_is_vouched_for_counts_wherever_it_comes_from() -> None:
    for peer in ("10.0.0.7", None):
        assert where.client_address(peer, "6.6.6.6, 8.8.8.8", (), vouched=True) == "8.8.8.8"
    assert where.client_address("10.0.0.7", "somebody", (), vouched=True) == "10.0.0.7"


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("127.0.0.1", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("192.168.1.4", Zone.LAN),
        ("fe80::1", Zone.LAN),
        ("8.8.8.8", Zone.PUBLIC),
        ("", Zone.PUBLIC),
    ],
)
def test_an_address_is_near_or_far_and_an_unknown_one_is_far(address: str, zone: Zone) -> None:
    assert Where(address).zone is zone


def test_an_address_is_within_zones_and_networks_by_name() -> None:
    assert where.within("192.168.1.4", ["loopback", "lan"])
    assert where.within("10.1.2.3", ["8.8.8.0/24", "10.0.0.0/8"])
    assert not where.within("10.1.2.3", ["8.8.8.0/24", "public"])
    assert not where.within("::1", ["127.0.0.0/8"])
    assert not where.within("", ["0.0.0.0/0"])
    assert where.within("", ["public"])


def test_a_network_is_a_zone_or_an_address_with_a_length() -> None:
    assert [where.network(text) for text in ("lan", "10.0.0.0/8", "::1")] == ["lan", "10.0.0.0/8", "::1/128"]
    for text in ("10.0.0.1/8", "nowhere", ""):
        with pytest.raises(ValueError, match=r"host bits|network"):
            where.network(text)


def test_requests_are_counted_for_an_address_or_the_network_of_a_customer() -> None:
    told = ("192.0.2.1", "2001:db8::ffff", "::ffff:192.0.2.1", "", "elsewhere")
    assert [where.source(address) for address in told] == [
        "192.0.2.1",
        "2001:db8::/64",
        "192.0.2.1",
        "",
        "elsewhere",
    ]
