"""Where mail for a domain goes (RFC 5321 section 5.1, RFC 7505), and where its hosts live."""

from __future__ import annotations

import asyncio
import ipaddress
import random

from engine.dns.resolver import Resolver
from engine.dns.terms import DnsAnswer, HostAddresses, LookupStatus, MailRoute, RecordType
from engine.model import Dns, MxHost

MAX_HOSTS = 100
"""Mail hosts kept of one answer: more than any real domain has, and a bound."""
MAX_ADDRESSES_PER_FAMILY = 16
"""Addresses kept of one host, of each family."""


_DNS_BY_STATUS = {
    LookupStatus.NODATA: Dns.NODATA,
    LookupStatus.NXDOMAIN: Dns.NXDOMAIN,
    LookupStatus.SERVFAIL: Dns.SERVFAIL,
    LookupStatus.REFUSED: Dns.REFUSED,
    LookupStatus.TIMEOUT: Dns.TIMEOUT,
}


async def resolve_route(
    resolver: Resolver, domain: str, rng: random.Random, *, ipv4_suffices: bool = False
) -> MailRoute:
    """The mail hosts of `domain` (A-label form), hosts of equal preference shuffled.

    `Dns.MX` and `Dns.IMPLICIT_MX` promise that at least one of them has an address.
    `sparing` is as in `addresses`.
    """
    answer = await resolver.resolve(domain, RecordType.MX)
    if answer.status is LookupStatus.NODATA:
        return await _implicit_route(resolver, domain, ipv4_suffices=ipv4_suffices)
    if answer.status is not LookupStatus.OK:
        return MailRoute(_DNS_BY_STATUS[answer.status])
    hosts = _parse_hosts(answer, rng)
    if not hosts:
        return MailRoute(Dns.NULL_MX)
    failed: LookupStatus | None = None
    for host in hosts:
        # Stop at the first that lives somewhere: 61 hosts need not cost 122 questions.
        found = await resolve_addresses(resolver, host.host, ipv4_suffices=ipv4_suffices)
        if found.ips:
            return MailRoute(Dns.MX, hosts)
        if not found.status.definite:
            failed = failed or found.status
    return MailRoute(_DNS_BY_STATUS[failed] if failed else Dns.UNRESOLVABLE, hosts)


async def resolve_addresses(
    resolver: Resolver, host: str, *, ipv4_suffices: bool = False
) -> HostAddresses:
    """Where `host` lives.

    IPv4 comes first: block lists and PTR demands are harsher on IPv6 senders, and a probe
    that is refused over IPv6 has learnt nothing of the mailbox. Who is `sparing` wants the
    first address alone, and asks for IPv6 only where there is no IPv4: a question less for
    each host of a long list.
    """
    if _is_ip(host):
        # RFC 5321 section 5.1 wants a name; "127.0.0.10." in an MX record is none.
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


async def _implicit_route(resolver: Resolver, domain: str, *, ipv4_suffices: bool) -> MailRoute:
    """RFC 5321 section 5.1: without MX records the domain's own address is its mail host."""
    found = await resolve_addresses(resolver, domain, ipv4_suffices=ipv4_suffices)
    if found.ips:
        return MailRoute(Dns.IMPLICIT_MX, (MxHost(domain, 0),))
    return MailRoute(_DNS_BY_STATUS[found.status])


def _parse_hosts(answer: DnsAnswer, rng: random.Random) -> tuple[MxHost, ...]:
    hosts: dict[str, MxHost] = {}
    for record in answer.records:
        preference, _, exchange = record.partition(" ")
        host = exchange.rstrip(".").lower()
        known = hosts.get(host)
        # RFC 7505 section 3: "." is no host, whatever stands beside it.
        if host and (known is None or int(preference) < known.preference):
            hosts[host] = MxHost(host, int(preference))
    shuffled = list(hosts.values())
    rng.shuffle(shuffled)
    return tuple(sorted(shuffled, key=lambda host: host.preference)[:MAX_HOSTS])


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
