"""Where mail for a domain goes (RFC 5321 section 5.1, RFC 7505), and where its hosts live."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from dataclasses import dataclass

from engine.dns.resolver import Answer, Kind, Resolver, Status
from engine.model import Dns, MxHost

MAX_HOSTS = 100
"""Mail hosts kept of one answer: more than any real domain has, and a bound."""
MAX_ADDRESSES = 16
"""Addresses kept of one host, of each family."""


@dataclass(frozen=True, slots=True)
class Route:
    """What DNS says of a domain's mail, and the hosts to try, best first."""

    dns: Dns
    hosts: tuple[MxHost, ...] = ()


@dataclass(frozen=True, slots=True)
class Addresses:
    """The IP addresses of a host, IPv4 first."""

    status: Status
    ips: tuple[str, ...] = ()


_BY_STATUS = {
    Status.NODATA: Dns.NODATA,
    Status.NXDOMAIN: Dns.NXDOMAIN,
    Status.SERVFAIL: Dns.SERVFAIL,
    Status.REFUSED: Dns.REFUSED,
    Status.TIMEOUT: Dns.TIMEOUT,
}


async def locate(
    resolver: Resolver, domain: str, rng: random.Random, *, sparing: bool = False
) -> Route:
    """The mail hosts of `domain` (A-label form), hosts of equal preference shuffled.

    `Dns.MX` and `Dns.IMPLICIT_MX` promise that at least one of them has an address.
    `sparing` is as in `addresses`.
    """
    answer = await resolver.ask(domain, Kind.MX)
    if answer.status is Status.NODATA:
        return await _implicit(resolver, domain, sparing=sparing)
    if answer.status is not Status.OK:
        return Route(_BY_STATUS[answer.status])
    hosts = _hosts(answer, rng)
    if not hosts:
        return Route(Dns.NULL_MX)
    failed: Status | None = None
    for host in hosts:
        # Stop at the first that lives somewhere: 61 hosts need not cost 122 questions.
        found = await addresses(resolver, host.host, sparing=sparing)
        if found.ips:
            return Route(Dns.MX, hosts)
        if not found.status.definite:
            failed = failed or found.status
    return Route(_BY_STATUS[failed] if failed else Dns.UNRESOLVABLE, hosts)


async def addresses(resolver: Resolver, host: str, *, sparing: bool = False) -> Addresses:
    """Where `host` lives.

    IPv4 comes first: block lists and PTR demands are harsher on IPv6 senders, and a probe
    that is refused over IPv6 has learnt nothing of the mailbox. Who is `sparing` wants the
    first address alone, and asks for IPv6 only where there is no IPv4: a question less for
    each host of a long list.
    """
    if _is_ip(host):
        # RFC 5321 section 5.1 wants a name; "127.0.0.10." in an MX record is none.
        return Addresses(Status.NXDOMAIN)
    if sparing:
        v4 = await resolver.ask(host, Kind.A)
        if v4.records:
            return Addresses(Status.OK, v4.records[:MAX_ADDRESSES])
    v4, v6 = await _both(resolver, host)
    ips = v4.records[:MAX_ADDRESSES] + v6.records[:MAX_ADDRESSES]
    if ips:
        return Addresses(Status.OK, ips)
    failed = [answer.status for answer in (v4, v6) if not answer.status.definite]
    return Addresses(failed[0] if failed else v4.status)


async def _both(resolver: Resolver, host: str) -> tuple[Answer, Answer]:
    v4, v6 = resolver.recall(host, Kind.A), resolver.recall(host, Kind.AAAA)
    if v4 is not None and v6 is not None:
        return v4, v6
    return await asyncio.gather(resolver.ask(host, Kind.A), resolver.ask(host, Kind.AAAA))


async def _implicit(resolver: Resolver, domain: str, *, sparing: bool) -> Route:
    """RFC 5321 section 5.1: without MX records the domain's own address is its mail host."""
    found = await addresses(resolver, domain, sparing=sparing)
    if found.ips:
        return Route(Dns.IMPLICIT_MX, (MxHost(domain, 0),))
    return Route(_BY_STATUS[found.status])


def _hosts(answer: Answer, rng: random.Random) -> tuple[MxHost, ...]:
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
