"""Where a request came from, as far as the edge knows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Zone(StrEnum):
    """How far away an address is."""

    LOOPBACK = "loopback"
    LAN = "lan"
    PUBLIC = "public"


_ZONES = frozenset(Zone)


@dataclass(frozen=True, slots=True)
class Where:
    address: str
    """Of the client; empty if nobody knows."""

    @property
    def zone(self) -> Zone:
        return zone_of(self.address)


def client_address(
    peer: str | None, forwarded: str | None, trusted: Sequence[Network], *, vouched: bool = False
) -> str:
    """The address of the client: the peer's, or what a gateway or a peer that is trusted says.

    Args:
        peer: address of the other end of the connection.
        forwarded: `X-Forwarded-For`. Its last entry is the one that whoever asks vouches for.
        trusted: networks whose members are believed.
        vouched: a gateway says it.
    """
    at = _parse(peer)
    told = _parse((forwarded or "").rpartition(",")[2].strip())
    if told is not None and (vouched or (at is not None and any(at in network for network in trusted))):
        return str(told)
    return "" if at is None else str(at)


def source(address: str) -> str:
    """Whom requests from there are counted for: the address, of IPv6 its network of 64 bits (RFC 6177: a customer has
    at least one, and each address in it). Text that is no address is as it is."""
    at = _parse(address)
    if isinstance(at, IPv6Address):
        return str(ip_network((at, 64), strict=False))
    return address if at is None else str(at)


def zone_of(address: str) -> Zone:
    """The zone of an address; what nobody knows is far away."""
    at = _parse(address)
    if at is None:
        return Zone.PUBLIC
    if at.is_loopback:
        return Zone.LOOPBACK
    return Zone.LAN if at.is_private or at.is_link_local else Zone.PUBLIC


def within(address: str, networks: Sequence[str]) -> bool:
    """Is the address in one of the networks, each a zone's name or as in `10.0.0.0/8`?"""
    at = _parse(address)
    for network in networks:
        if network in _ZONES:
            if zone_of(address) == network:
                return True
        elif at is not None and at in ip_network(network):
            return True
    return False


def network(text: str) -> str:
    """A zone's name or a network, checked. Raises ValueError."""
    return text if text in _ZONES else str(ip_network(text))


def networks(text: str) -> tuple[Network, ...]:
    """Networks with commas between them. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())


@lru_cache(4096)
def _parse(text: str | None) -> Address | None:
    try:
        at = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return (at.ipv4_mapped or at) if isinstance(at, IPv6Address) else at
