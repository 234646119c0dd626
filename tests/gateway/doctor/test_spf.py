"""check_host of RFC 7208, section by section, against a DNS server on loopback."""

from __future__ import annotations

import pytest

from engine.dns.resolver import Resolver
from engine.dns.terms import NameServer
from gateway.doctor.spf import SpfCheck, SpfResult, check_host
from tests.fakes.dns import Fault, Records, Zone, fake_dns

US, OTHER, US_V6 = "192.0.2.10", "198.51.100.7", "2001:db8::10"


def spf(record: str) -> Records:
    return {"TXT": [f'"{record}"']}


COMMON: Zone = {
    "host.test": {"A": [US], "AAAA": [US_V6]},
    "near.test": {"A": ["192.0.2.200"]},
    "many.test": {"MX": [f"{n} mx{n}.many.test." for n in range(11)]},
    "mail.test": {"MX": ["10 near.test.", "20 host.test."]},
    "yes.test": spf(f"v=spf1 ip4:{US} -all"),
    "no.test": spf("v=spf1 -all"),
    "fails.test": Fault.SERVFAIL,
    "2.test": {"TXT": ['"v=spf1 -all"', '"v=spf1 +all"']},
    "split.test": {"TXT": [f'"v=spf1 ip4:{US[:5]}" "{US[5:]} -all"']},
    "probe.bounce.yes.macro.test": {"A": ["127.0.0.2"]},
    "10.2.0.192.in-addr.macro.test": {"A": ["127.0.0.2"]},
    "10.2.0.192.in-addr.arpa": {"PTR": ["host.test.", "liar.test."]},
    "liar.test": {"A": [OTHER]},
    "loop.test": spf("v=spf1 include:loop.test -all"),
    "helo.test": spf(f"v=spf1 ip4:{US} -all"),
}

P, F, S, N = SpfResult.PASS, SpfResult.FAIL, SpfResult.SOFTFAIL, SpfResult.NEUTRAL
NONE, TEMP, PERM = SpfResult.NONE, SpfResult.TEMPERROR, SpfResult.PERMERROR


async def check(zone: Zone, ip: str, sender: str, helo: str = "helo.test") -> SpfCheck:
    async with fake_dns({**COMMON, **zone}) as dns:
        resolver = Resolver([NameServer.parse(dns.address)], attempt_timeout_s=1.0)
        try:
            return await check_host(resolver, ip, sender, helo, lambda: 1_780_000_000.0)
        finally:
            await resolver.aclose()


@pytest.mark.parametrize(
    ("record", "result"),
    [
        # section 5.1: qualifiers, and what happens when nothing matches
        ("v=spf1 +all", P),
        ("v=spf1 -all", F),
        ("v=spf1 ~all", S),
        ("v=spf1 ?all", N),
        ("v=spf1", N),
        ("V=SPF1 -ALL", F),
        # section 5.6: networks
        (f"v=spf1 ip4:{US} -all", P),
        ("v=spf1 ip4:192.0.2.0/24 -all", P),
        ("v=spf1 ip4:198.51.100.0/24 -all", F),
        ("v=spf1 ip4:0.0.0.0/0 -all", P),
        ("v=spf1 ip6:2001:db8::/32 -all", F),
        (f"v=spf1 -ip4:{US} +all", F),
        # sections 5.3 and 5.4: a and mx, with prefixes
        ("v=spf1 a:host.test -all", P),
        ("v=spf1 a -all", F),
        ("v=spf1 a:near.test -all", F),
        ("v=spf1 a:near.test/24 -all", P),
        ("v=spf1 a:near.test/24//64 -all", P),
        ("v=spf1 mx:mail.test -all", P),
        ("v=spf1 mx -all", F),
        ("v=spf1 mx:many.test -all", PERM),
        # section 5.5
        ("v=spf1 ptr:host.test -all", P),
        ("v=spf1 ptr:liar.test -all", F),
        # sections 5.2 and 6.1
        ("v=spf1 include:yes.test -all", P),
        ("v=spf1 include:no.test ~all", S),
        ("v=spf1 include:nobody.test -all", PERM),
        ("v=spf1 include:fails.test -all", TEMP),
        ("v=spf1 redirect=yes.test", P),
        ("v=spf1 redirect=no.test", F),
        ("v=spf1 ~all redirect=yes.test", S),
        ("v=spf1 redirect=nobody.test", PERM),
        ("v=spf1 redirect=yes.test redirect=no.test", PERM),
        # sections 5.7 and 7: exists, macros
        ("v=spf1 exists:%{l}.%{d1}.yes.macro.test -all", F),
        ("v=spf1 exists:%{l}.bounce.yes.macro.test -all", P),
        ("v=spf1 exists:%{ir}.%{v}.macro.test -all", P),
        ("v=spf1 a:%{p} -all", P),
        ("v=spf1 exists:%{x}.test -all", PERM),
        ("v=spf1 exists:%{t}.test -all", PERM),
        # section 4.6.4: limits
        ("v=spf1 " + "a:near.test " * 10 + "-all", F),
        ("v=spf1 " + "a:near.test " * 11 + "-all", PERM),
        ("v=spf1 a:no1.test a:no2.test -all", F),
        ("v=spf1 a:no1.test a:no2.test a:no3.test -all", PERM),
        ("v=spf1 include:loop.test -all", PERM),
        # section 12: grammar
        ("v=spf1 ipv4:192.0.2.0/24 -all", PERM),
        ("v=spf1 ip4:192.0.2.0/33 -all", PERM),
        ("v=spf1 ip4 -all", PERM),
        ("v=spf1 a: -all", PERM),
        ("v=spf1 all/8", PERM),
        ("v=spf1 a:host.test/024 -all", PERM),
        ("v=spf1 unknown=modifier -all", F),
        ("v=spf1 exp=why.test -all", F),
        # section 4.5
        ("v=spf10 -all", NONE),
    ],
)
async def test_record(record: str, result: SpfResult) -> None:
    found = await check({"bounce.test": spf(record)}, US, "probe@bounce.test")
    assert found.result is result, found


@pytest.mark.parametrize(
    ("ip", "sender", "result"),
    [
        (US, "probe@yes.test", P),
        (OTHER, "probe@yes.test", F),
        (f"::ffff:{US}", "probe@yes.test", P),
        (US, "probe@split.test", P),
        (US, "probe@2.test", PERM),
        (US, "probe@nobody.test", NONE),
        (US, "probe@host.test", NONE),
        (US, "probe@fails.test", TEMP),
        (US, "probe@localhost", NONE),
        (US, f"probe@{'x' * 64}.test", NONE),
        # the null sender is judged by the HELO name: section 2.4
        (US, "", P),
        (OTHER, "", F),
    ],
)
async def test_sender(ip: str, sender: str, result: SpfResult) -> None:
    found = await check({}, ip, sender)
    assert found.result is result, found


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (f"v=spf1 ip6:{US_V6} -all", P),
        ("v=spf1 ip6:2001:db8::/32 -all", P),
        ("v=spf1 a:host.test -all", P),
        (f"v=spf1 ip4:{US} -all", F),
        ("v=spf1 ip6:2001:db8::/129 -all", PERM),
    ],
)
async def test_ipv6(record: str, result: SpfResult) -> None:
    found = await check({"bounce.test": spf(record)}, US_V6, "probe@bounce.test")
    assert found.result is result, found


async def test_the_answer_says_why() -> None:
    zone = {"bounce.test": spf("v=spf1 a:near.test include:yes.test -all")}
    found = await check(zone, US, "probe@bounce.test")
    assert found == SpfCheck(P, "include:yes.test of bounce.test", 2)
    found = await check({"bounce.test": spf("v=spf1 bogus -all")}, US, "probe@bounce.test")
    assert found.explanation == "'bogus' is no SPF term"


async def test_an_address_that_is_none_cannot_be_asked_about() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        await check({}, "host.test", "probe@yes.test")
