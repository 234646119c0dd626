"""The mail hosts of a domain (RFC 5321 section 5.1, RFC 7505), and their IP addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import random

from engine.dns.resolver import Resolver
from engine.dns.targets import is_local_only, is_localhost
from engine.dns.terms import DnsAnswer, HostAddresses, LookupStatus, MailRoute, RecordType
from engine.model import Dns, MxHost

MAX_HOSTS = 10
"""Mail hosts taken from one answer, the preferred ones. An answer may name 3,000 hosts, whose IP
addresses would be queried one after the other."""
MAX_ADDRESSES_PER_FAMILY = 16
"""IP addresses taken of one host, for IPv4 and for IPv6."""


_DNS_BY_STATUS = {
    LookupStatus.NODATA: Dns.NODATA,
    LookupStatus.NXDOMAIN: Dns.NXDOMAIN,
    LookupStatus.SERVFAIL: Dns.SERVFAIL,
    LookupStatus.REFUSED: Dns.REFUSED,
    LookupStatus.TIMEOUT: Dns.TIMEOUT,
}


async def resolve_route(
    resolver: Resolver,
    domain: str,
    rng: random.Random,
    *,
    ipv4_suffices: bool = False,
    counts_local: bool = True,
) -> MailRoute:
    """The mail hosts of `domain` (in A-labels), hosts of equal preference in random order.

    With `Dns.MX` and `Dns.IMPLICIT_MX` at least one of the hosts has an IP address.
    `ipv4_suffices` is that of `resolve_addresses`. Without `counts_local` an address counts only if
    other machines can reach it: a domain whose mail goes to 127.0.0.1 takes none.
    """
    answer = await resolver.resolve(domain, RecordType.MX)
    if answer.status is LookupStatus.NODATA:
        return await _implicit_route(
            resolver, domain, ipv4_suffices=ipv4_suffices, counts_local=counts_local
        )
    if answer.status is not LookupStatus.OK:
        return MailRoute(_DNS_BY_STATUS[answer.status])
    all_hosts = _parse_hosts(answer, rng)
    if not all_hosts:
        return MailRoute(Dns.NULL_MX)
    hosts = all_hosts[:MAX_HOSTS]
    # Where not all hosts are queried, another one may have an IP address.
    failed = LookupStatus.SERVFAIL if len(hosts) < len(all_hosts) else None
    for host in hosts:
        if not counts_local and is_localhost(host.host):
            continue
        # One host with an IP address is enough.
        addresses, is_usable = await _resolve_usable(
            resolver, host.host, ipv4_suffices=ipv4_suffices, counts_local=counts_local
        )
        if is_usable:
            return MailRoute(Dns.MX, hosts)
        if not addresses.status.definite:
            failed = failed or addresses.status
    return MailRoute(_DNS_BY_STATUS[failed] if failed else Dns.UNRESOLVABLE, hosts)


async def resolve_addresses(
    resolver: Resolver, host: str, *, ipv4_suffices: bool = False
) -> HostAddresses:
    """The IP addresses of `host`, IPv4 before IPv6.

    Servers demand more of IPv6 clients (reverse DNS, reputation), and a probe that is refused
    learns nothing about the mailbox. With `ipv4_suffices` AAAA is only asked for if there is no
    A record, which saves bulk probes a question for each host.
    """
    if _is_ip(host):
        # RFC 5321 section 5.1: an MX record names a host, so "127.0.0.10." is no mail host.
        return HostAddresses(LookupStatus.NXDOMAIN)
    if ipv4_suffices:
        v4 = await resolver.resolve(host, RecordType.A)
        if v4.records:
            return HostAddresses(LookupStatus.OK, v4.records[:MAX_ADDRESSES_PER_FAMILY])
    v4, v6 = await _resolve_both(resolver, host)
    ips = v4.records[:MAX_ADDRESSES_PER_FAMILY] + v6.records[:MAX_ADDRESSES_PER_FAMILY]
    if ips:
        return HostAddresses(LookupStatus.OK, ips)
    failed = [answer.status for answer in (v4, v6) if not answer.status.definite]
    return HostAddresses(failed[0] if failed else v4.status)


async def _resolve_both(resolver: Resolver, host: str) -> tuple[DnsAnswer, DnsAnswer]:
    v4, v6 = resolver.get_cached(host, RecordType.A), resolver.get_cached(host, RecordType.AAAA)
    if v4 is not None and v6 is not None:
        return v4, v6
    return await asyncio.gather(
        resolver.resolve(host, RecordType.A), resolver.resolve(host, RecordType.AAAA)
    )


async def _resolve_usable(
    resolver: Resolver, host: str, *, ipv4_suffices: bool, counts_local: bool
) -> tuple[HostAddresses, bool]:
    """The IP addresses of `host`, and whether any of them counts."""
    addresses = await resolve_addresses(resolver, host, ipv4_suffices=ipv4_suffices)
    is_usable = any(counts_local or not is_local_only(ip) for ip in addresses.ips)
    if ipv4_suffices and addresses.ips and not is_usable:
        return await _resolve_usable(resolver, host, ipv4_suffices=False, counts_local=counts_local)
    return addresses, is_usable


async def _implicit_route(
    resolver: Resolver, domain: str, *, ipv4_suffices: bool, counts_local: bool
) -> MailRoute:
    """RFC 5321 section 5.1: without MX records the domain's own address is its mail host."""
    addresses, is_usable = await _resolve_usable(
        resolver, domain, ipv4_suffices=ipv4_suffices, counts_local=counts_local
    )
    if is_usable:
        return MailRoute(Dns.IMPLICIT_MX, (MxHost(domain, 0),))
    if addresses.ips:
        return MailRoute(Dns.UNRESOLVABLE, (MxHost(domain, 0),))
    return MailRoute(_DNS_BY_STATUS[addresses.status])


def _parse_hosts(answer: DnsAnswer, rng: random.Random) -> tuple[MxHost, ...]:
    hosts: dict[str, MxHost] = {}
    for record in answer.records:
        preference, _, exchange = record.partition(" ")
        host = exchange.rstrip(".").lower()
        duplicate = hosts.get(host)
        # RFC 7505 section 3: "." is no host, also beside other records.
        if host and (duplicate is None or int(preference) < duplicate.preference):
            hosts[host] = MxHost(host, int(preference))
    shuffled = list(hosts.values())
    rng.shuffle(shuffled)
    return tuple(sorted(shuffled, key=lambda host: host.preference))


def _is_ip(host: str) -> bool:
    if not (host[-1:].isdigit() or ":" in host):
        return False  # as of nearly all hosts; the rest takes ten times as long
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
