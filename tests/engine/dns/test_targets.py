"""Which IP addresses may be connected to."""

from __future__ import annotations

import pytest

from engine.dns.targets import is_global


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:400c::1a",
     "64:ff9b::808:808", "2002:808:808::1"],
)  # fmt: skip
def test_global_addresses(address: str) -> None:
    assert is_global(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
        "2002:7f00:1::1", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1",
        "fe80::1", "fec0::1", "ff02::1", "mx.example.com", "", "1.2.3", "1.2.3.4.5", "0x7f.1",
        "2130706433", "010.0.0.1",
    ],
)  # fmt: skip
def test_other_addresses_and_names_are_not_global(address: str) -> None:
    assert not is_global(address)
