"""Mail routes, the IP addresses of mail hosts, and SPF and DMARC records."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from engine.dns.mx import MAX_HOSTS, resolve_addresses, resolve_route
from engine.dns.policies import has_dmarc, has_spf
from engine.dns.resolver import Resolver
from engine.dns.terms import LookupStatus, NameServer
from engine.model import Dns
from tests.fakes.dns import Fault, fake_dns

ZONE: Mapping[str, Mapping[str, list[str]] | Fault] = {
    "mail.test": {"MX": ["20 b.mail.test.", "10 A.mail.test."]},
    "a.mail.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    "b.mail.test": {"A": ["127.0.0.2"]},
    "alias.test": {"CNAME": ["mail.test."]},
    "mx-alias.test": {"MX": ["10 c.mail.test."]},
    "c.mail.test": {"CNAME": ["d.mail.test."]},
    "d.mail.test": {"CNAME": ["a.mail.test."]},
    "null.test": {"MX": ["0 ."], "A": ["127.0.0.1"]},
    "null-and-host.test": {"MX": ["0 .", "10 a.mail.test."]},
    "implicit.test": {"A": ["127.0.0.1"]},
    "implicit-v6.test": {"AAAA": ["::1"]},
    "nothing.test": {"TXT": ['"x"']},
    "ghosts.test": {"MX": ["10 ghost1.test.", "20 ghost2.test."]},
    "ghost-and-host.test": {"MX": ["10 ghost1.test.", "20 b.mail.test."]},
    "ghost-and-failure.test": {"MX": ["10 ghost1.test.", "20 host.fail.test."]},
    "host.fail.test": Fault.SERVFAIL,
    "ip.test": {"MX": ["10 127.0.0.1."]},
    "twice.test": {"MX": ["30 a.mail.test.", "10 a.mail.test."]},
    "servfail.test": Fault.SERVFAIL,
    "refused.test": Fault.REFUSED,
    "lame.test": Fault.REFERRAL,
    "balanced.test": {"MX": [f"10 m{number}.test." for number in range(8)]},
    **{f"m{number}.test": {"A": ["127.0.0.1"]} for number in range(8)},
}


@pytest.mark.parametrize(
    ("domain", "dns", "hosts"),
    [
        ("mail.test", Dns.MX, ["a.mail.test", "b.mail.test"]),
        ("alias.test", Dns.MX, ["a.mail.test", "b.mail.test"]),
        ("mx-alias.test", Dns.MX, ["c.mail.test"]),
        ("null.test", Dns.NULL_MX, []),
        ("null-and-host.test", Dns.MX, ["a.mail.test"]),
        ("implicit.test", Dns.IMPLICIT_MX, ["implicit.test"]),
        ("implicit-v6.test", Dns.IMPLICIT_MX, ["implicit-v6.test"]),
        ("nothing.test", Dns.NODATA, []),
        ("ghost.test", Dns.NXDOMAIN, []),
        ("ghosts.test", Dns.UNRESOLVABLE, ["ghost1.test", "ghost2.test"]),
        ("ghost-and-host.test", Dns.MX, ["ghost1.test", "b.mail.test"]),
        ("ghost-and-failure.test", Dns.SERVFAIL, ["ghost1.test", "host.fail.test"]),
        ("ip.test", Dns.UNRESOLVABLE, ["127.0.0.1"]),
        ("twice.test", Dns.MX, ["a.mail.test"]),
        ("servfail.test", Dns.SERVFAIL, []),
        ("refused.test", Dns.REFUSED, []),
        ("lame.test", Dns.SERVFAIL, []),
    ],
)
@pytest.mark.parametrize("ipv4_suffices", [True, False])
async def test_route(domain: str, dns: Dns, hosts: list[str], ipv4_suffices: bool) -> None:
    async with fake_dns(ZONE) as server:
        resolver = _resolver(server.address)
        route = await resolve_route(resolver, domain, random.Random(1), ipv4_suffices=ipv4_suffices)
    assert (route.dns, [host.host for host in route.hosts]) == (dns, hosts)


LOCAL_ZONE: Mapping[str, Mapping[str, list[str]] | Fault] = {
    "localhost.test": {"MX": ["0 localhost."]},
    "localdomain.test": {"MX": ["0 localhost.localdomain."]},
    "localhost.localdomain": {"A": ["192.0.2.9"]},
    "loopback-mx.test": {"MX": ["10 mx.loopback-mx.test."]},
    "mx.loopback-mx.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    "loopback.test": {"A": ["127.0.0.1"]},
    "loopback-v6.test": {"AAAA": ["::1"]},
    "unspecified.test": {"A": ["0.0.0.0"]},
    "link-local.test": {"AAAA": ["fe80::1"]},
    "link-local-v4.test": {"A": ["169.254.1.1"]},
    "mapped.test": {"AAAA": ["::ffff:127.0.0.1"]},
    "private.test": {"A": ["10.0.0.1"]},
    "unique-local.test": {"AAAA": ["fd12:3456::1"]},
    "loopback-and-global.test": {"A": ["127.0.0.1"], "AAAA": ["2606:4700::1111"]},
    "localhost-and-host.test": {"MX": ["0 localhost.", "10 mx.global.test."]},
    "localhost-and-failure.test": {"MX": ["0 localhost.", "10 fail.global.test."]},
    "mx.global.test": {"A": ["192.0.2.1"]},
    "fail.global.test": Fault.SERVFAIL,
}


@pytest.mark.parametrize(
    ("domain", "dns"),
    [
        ("localhost.test", Dns.UNRESOLVABLE),
        ("localdomain.test", Dns.UNRESOLVABLE),
        ("loopback-mx.test", Dns.UNRESOLVABLE),
        ("loopback.test", Dns.UNRESOLVABLE),
        ("loopback-v6.test", Dns.UNRESOLVABLE),
        ("unspecified.test", Dns.UNRESOLVABLE),
        ("link-local.test", Dns.UNRESOLVABLE),
        ("link-local-v4.test", Dns.UNRESOLVABLE),
        ("mapped.test", Dns.UNRESOLVABLE),
        # a private address is not dialled, but may take mail
        ("private.test", Dns.IMPLICIT_MX),
        ("unique-local.test", Dns.IMPLICIT_MX),
        ("loopback-and-global.test", Dns.IMPLICIT_MX),
        ("localhost-and-host.test", Dns.MX),
        ("localhost-and-failure.test", Dns.SERVFAIL),
    ],
)
@pytest.mark.parametrize("ipv4_suffices", [True, False])
async def test_a_host_that_no_other_machine_reaches_takes_no_mail(
    domain: str, dns: Dns, ipv4_suffices: bool
) -> None:
    async with fake_dns(LOCAL_ZONE) as server:
        route = await resolve_route(
            _resolver(server.address),
            domain,
            random.Random(1),
            ipv4_suffices=ipv4_suffices,
            counts_local=False,
        )
    assert route.dns is dns


async def test_few_of_many_hosts_are_queried() -> None:
    zone = {"many.test": {"MX": [f"{n} mx{n}.many.test." for n in range(2_800, 0, -1)]}}
    async with fake_dns(zone) as server:
        # the fake server takes its time to render so many records
        servers = [NameServer.parse(server.address)]
        resolver = Resolver(servers, attempt_timeout_s=20, timeout_s=60)
        route = await resolve_route(resolver, "many.test", random.Random(1))
        queries = len(server.queries)
    # Another host may have an IP address, so that the domain is not known to be unreachable.
    assert route.dns is Dns.SERVFAIL
    assert [host.host for host in route.hosts] == [f"mx{n}.many.test" for n in range(1, 11)]
    assert queries <= 2 + 2 * MAX_HOSTS


async def test_hosts_of_equal_preference_come_in_random_order() -> None:
    async with fake_dns(ZONE) as server:
        resolver = _resolver(server.address)
        firsts = {
            (await resolve_route(resolver, "balanced.test", random.Random(seed))).hosts[0].host
            for seed in range(40)
        }
    assert len(firsts) == 8


async def test_an_ip_address_as_mail_host_is_not_queried() -> None:
    async with fake_dns(ZONE) as server:
        resolver = _resolver(server.address)
        assert (await resolve_addresses(resolver, "127.0.0.1")).status is LookupStatus.NXDOMAIN
        assert (await resolve_addresses(resolver, "::1")).status is LookupStatus.NXDOMAIN
        assert server.queries == []


async def test_ipv4_addresses_come_first() -> None:
    async with fake_dns(ZONE) as server:
        addresses = await resolve_addresses(_resolver(server.address), "a.mail.test")
    assert addresses.ips == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("host", "ips", "queried"),
    [
        ("a.mail.test", ("127.0.0.1",), ["A"]),
        ("implicit-v6.test", ("::1",), ["A", "AAAA"]),
        ("ghost.test", (), ["A", "AAAA"]),
    ],
)
async def test_ipv4_suffices_saves_the_query_for_ipv6(
    host: str, ips: tuple[str, ...], queried: list[str]
) -> None:
    async with fake_dns(ZONE) as server:
        addresses = await resolve_addresses(_resolver(server.address), host, ipv4_suffices=True)
        assert addresses.ips == ips
        assert [record_type for _, record_type, _ in server.queries] == queried


POLICIES: Mapping[str, Mapping[str, list[str]] | Fault] = {
    "both.test": {"TXT": ['"other"', '"v=spf1 -all"']},
    "_dmarc.both.test": {"TXT": ['"v=DMARC1; p=none"']},
    "minimal.test": {"TXT": ['"v=spf1"']},
    "_dmarc.minimal.test": {"TXT": ['"v = DMARC1;p=reject"']},
    "similar.test": {"TXT": ['"v=spf10 -all"', '"spf2.0/pra"', '" v=spf1"']},
    "_dmarc.similar.test": {"TXT": ['"v=dmarc1; p=none"', '"p=none; v=DMARC1"', '"v=DMARC12"']},
    "a.b.both.test": {"MX": ["10 x.test."]},
    "none.test": {"MX": ["10 x.test."]},
    "fails.test": Fault.SERVFAIL,
    "_dmarc.fails.test": Fault.SERVFAIL,
}


@pytest.mark.parametrize(
    ("domain", "spf", "dmarc"),
    [
        ("both.test", True, True),
        ("minimal.test", True, True),
        ("similar.test", False, False),
        ("none.test", False, False),
        ("a.b.both.test", False, True),  # by the organizational domain, RFC 7489 section 6.6.3
        ("ghost.test", False, False),
        ("fails.test", None, None),
    ],
)
async def test_policies(domain: str, spf: bool | None, dmarc: bool | None) -> None:
    async with fake_dns(POLICIES) as server:
        resolver = _resolver(server.address)
        assert (await has_spf(resolver, domain), await has_dmarc(resolver, domain)) == (spf, dmarc)


def _resolver(address: str) -> Resolver:
    return Resolver([NameServer.parse(address)], attempt_timeout_s=0.5)
