"""The IP addresses that may be dialled: global unicast only, unless the settings allow others.

DNS records come from strangers, so that a mail host may have a loopback, private or other special
address. The tables are the IANA special-purpose address registries (RFC 6890) as of 2025; an IPv6
address that embeds an IPv4 address is judged by the latter.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927; clouds serve their metadata there
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 1112
        "240.0.0.0/4",  # reserved and limited broadcast, RFC 1112 and 919
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""The whole global unicast space (RFC 4291 section 2.4); all other addresses are special."""
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments with Teredo, benchmarking, ORCHID: RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


_METADATA = (
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("100.100.100.200/32"),  # Alibaba Cloud
    ipaddress.IPv4Network("192.0.0.192/32"),  # Oracle Cloud
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure
    ipaddress.IPv6Network("fe80::/10"),
    ipaddress.IPv6Network("fd00:ec2::/32"),  # Amazon
    ipaddress.IPv6Network("fd20:ce::/32"),  # Google Cloud
)
"""Link-local networks (RFC 3927, RFC 4291 section 2.5.6), where clouds serve the credentials of a
machine, and the addresses outside of them that some use for it."""


def may_serve_metadata(text: str) -> bool:
    """Whether `text` is an address that a stranger's URL must not reach with any settings."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded_v4(address) or address
    return any(address in network for network in _METADATA)


_LOCAL_ONLY = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927
        "224.0.0.0/4",  # multicast, RFC 1112
        "255.255.255.255/32",  # limited broadcast, RFC 919
        "::/128",  # unspecified, RFC 4291
        "::1/128",  # loopback, RFC 4291
        "fe80::/10",  # link-local, RFC 4291
        "ff00::/8",  # multicast, RFC 4291
    )
)


@lru_cache(maxsize=4096)
def is_local_only(text: str) -> bool:
    """Whether a mail host with the address `text` takes mail of no other machine, ours or others.

    A private address is none of these: it may belong to the client's own network.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded_v4(address) or address
    return any(address in network for network in _LOCAL_ONLY)


def is_localhost(host: str) -> bool:
    """Whether a name (lower case, no final dot) is one of the machine that looks it up (RFC 6761
    section 6.3), or the one that installers write there."""
    return host.rpartition(".")[2] in ("localhost", "localdomain")


@lru_cache(maxsize=4096)
def is_global(text: str) -> bool:
    """Whether `text` is an IP address that may be dialled with any settings."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return _is_global_v4(address)
    inner = _embedded_v4(address)
    if inner is not None:
        return _is_global_v4(inner)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def _is_global_v4(address: ipaddress.IPv4Address) -> bool:
    return not any(address in network for network in _SPECIAL_V4)


def _embedded_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in a mapped (RFC 4291), NAT64 (RFC 6052) or 6to4 (RFC 3056) address."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return address.sixtofour
    return None
