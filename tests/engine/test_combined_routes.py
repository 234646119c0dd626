"""Where mail goes, in combinations: several hosts that disagree, odd DNS, odd addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from engine.probe import ProbeEngine
from tests.engine.asking import verify, verify_list
from tests.engine.combined import (
    ALL,
    BLOCK,
    BUSY,
    DNS_ERROR,
    FULL,
    GREY_450,
    NO,
    NO_ADDRESS,
    NO_DOMAIN,
    NOBODY,
    NOBODY_THERE,
    OK,
    QUICK,
    RBL,
    RELAY,
    Gist,
    Row,
    alone,
    check,
    says,
)
from tests.engine.test_probe import DEAD, A, B, zone_of
from tests.fakes.dns import Fault, Zone, fake_dns
from tests.fakes.smtp import CLOSE, HANG, Script, fake_smtp

YES = "250 2.1.5 Ok"
V6 = "::1"
FULL_552 = "552 5.2.2 Over quota"
NOT_NOW = "451 4.3.0 Temporary lookup failure"
NO_ROUTE_V6 = "100::1"
"""Discard-only (RFC 6666): nobody answers there."""


def everybody(reply: str) -> Script:
    return says(reply, reply, reply)


HOSTS = (
    alone(
        "the first host blocks us, the second knows no such user",
        "table rows 3 and 18: next MX",
        NO,
        says(banner=RBL),
        says(NOBODY),
    ),
    alone(
        "the first host blocks us at RCPT, the second accepts all",
        "table rows 10 and 27",
        ALL,
        everybody(RBL),
        says(others=YES),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "the first host fails for now, the second knows no such user",
        "table rows 24 and 18",
        NO,
        everybody(NOT_NOW),
        says(NOBODY),
    ),
    alone(
        "the first host fails for now, the second is full",
        "table rows 24 and 13",
        FULL,
        everybody(NOT_NOW),
        says(FULL_552),
    ),
    alone(
        "the first host fails for now, the second accepts all",
        "table rows 24 and 27",
        ALL,
        everybody(NOT_NOW),
        says(others=YES),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "the first host does not serve the domain, the second does",
        "table row 12: one MX of several",
        OK,
        everybody(RELAY),
        says(),
    ),
    alone(
        "the first host does not serve the domain, the second greylists",
        "table rows 12 and 16",
        OK,
        everybody(RELAY),
        says([GREY_450, YES], [GREY_450, NOBODY], [GREY_450, YES]),
    ),
    alone(
        "the first host does not serve the domain, the second knows no such user",
        "table rows 12 and 18",
        NO,
        everybody(RELAY),
        says(NOBODY),
    ),
    alone(
        "the first host does not serve the domain, the second is dead",
        "table row 12: not all say so",
        NOBODY_THERE,
        everybody(RELAY),
        zone=zone_of(A, DEAD),
        people=NOBODY_THERE,
        strangers=NOBODY_THERE,
    ),
    alone(
        "two hosts that do not serve the domain",
        "table row 12: all say so",
        NO,
        everybody(RELAY),
        everybody("550 5.7.1 Unable to relay"),
        people=NO,
    ),
    alone(
        "a first host that says 421, and a second",
        "table row 2: next MX",
        OK,
        says(banner="421 4.3.2 All server ports are busy"),
        says(),
    ),
    alone(
        "two hosts that say 421",
        "table row 2",
        BUSY,
        says(banner="421 4.3.2 Busy"),
        says(banner="421 4.3.2 Busy"),
        people=BUSY,
        strangers=BUSY,
        config={"deadline_s": 1.5},
    ),
    alone(
        "a first host that says 421, and a dead second, then let in",
        "table row 2: the same MX later",
        OK,
        says(banner=["421 4.3.2 Busy", "220 mx.fake.test ESMTP"]),
        zone=zone_of(A, DEAD),
    ),
    alone(
        "a silent host, a blocking host, a host that knows",
        "RFC 5321 section 5.1",
        OK,
        says(banner=HANG),
        says(banner=RBL),
        says(),
    ),
    alone(
        "a bare refusal on the first host alone",
        "table row 25: nobody else would say otherwise",
        BLOCK,
        says("550 Rejected", "550 Rejected"),
        says(),
        strangers=BLOCK,
    ),
    alone(
        "two hosts of one preference, one of them dead",
        "RFC 5321 section 5.1",
        OK,
        says(),
        zone={
            "a.test": {"MX": ["10 mx0.a.test.", "10 mx1.a.test."]},
            "mx0.a.test": {"A": [DEAD]},
            "mx1.a.test": {"A": [A]},
        },
    ),
    alone(
        "a dead host, and one that hangs up on greeting",
        "table row 1",
        BUSY,
        says(banner=CLOSE),
        zone=zone_of(DEAD, A),
        people=BUSY,
        strangers=BUSY,
    ),
)


def mx(*hosts: str, **more: Mapping[str, list[str]] | Fault) -> Zone:
    records = [f"{10 * number} {host}" for number, host in enumerate(hosts)]
    return {"a.test": {"MX": records}} | {name.replace("_", "."): r for name, r in more.items()}


CHAIN = {f"c{number}.test": {"CNAME": [f"c{number + 1}.test."]} for number in range(12)}

DNS = (
    alone(
        "an MX with an IPv6 address alone, and catch-all",
        "RFC 5321 section 5.2",
        ALL,
        (V6, says(others=YES)),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "an MX with an IPv6 address that leads nowhere, and a second",
        "RFC 5321 section 5.1",
        OK,
        says(),
        zone=mx("m.test.", "n.test.", m_test={"AAAA": [NO_ROUTE_V6]}, n_test={"A": [A]}),
    ),
    alone(
        "an MX that is an alias, and greylisting",
        "RFC 2181 section 10.3 forbids it, and it is common",
        OK,
        says([GREY_450, YES], [GREY_450, NOBODY], [GREY_450, YES]),
        zone=mx("m.test.", m_test={"CNAME": ["n.test."]}, n_test={"A": [A]}),
    ),
    alone(
        "an MX that is an IP address, and a second that is a host",
        "RFC 5321 section 5.1: a name is wanted",
        OK,
        says(),
        zone=mx("127.0.0.9.", "m.test.", m_test={"A": [A]}),
    ),
    alone(
        "MX records with . among others",
        "RFC 7505 section 3: . alone is the null MX",
        OK,
        says(),
        zone=mx(".", "m.test.", m_test={"A": [A]}),
    ),
    alone(
        "a null MX and an address",
        "RFC 7505 section 3",
        NO_DOMAIN,
        says(),
        zone={"a.test": {"MX": ["0 ."], "A": [A]}},
        people=NO_DOMAIN,
        strangers=NO_DOMAIN,
    ),
    alone(
        "no MX but an address, and an unknown user",
        "RFC 5321 section 5.1",
        NO,
        says(NOBODY),
        zone={"a.test": {"A": [A]}},
    ),
    alone(
        "no MX but an alias to a host with an address",
        "RFC 5321 section 5.1",
        OK,
        says(),
        zone={"a.test": {"CNAME": ["m.test."]}, "m.test": {"A": [A]}},
    ),
    alone(
        "an MX whose host has no address, and an address of the domain",
        "RFC 5321 section 5.1: with MX records the address must not be used",
        NO_DOMAIN,
        says(),
        zone={"a.test": {"MX": ["10 ghost.test."], "A": [A]}},
        people=NO_DOMAIN,
        strangers=NO_DOMAIN,
    ),
    alone(
        "a domain below one that takes mail",
        "RFC 5321 section 5.1: no such name",
        NO_DOMAIN,
        says(),
        address="user@nowhere.a.test",
        people=NO_DOMAIN,
        strangers=NO_DOMAIN,
    ),
    alone(
        "an MX host that DNS cannot tell, and a second",
        "RFC 5321 section 5.1",
        OK,
        says(),
        zone=mx("m.test.", "n.test.", m_test=Fault.SERVFAIL, n_test={"A": [A]}),
    ),
    alone(
        "an MX host that does not exist, and one that DNS cannot tell",
        "RFC 5321 section 5.1: SERVFAIL is no answer",
        DNS_ERROR,
        says(),
        zone=mx("ghost.test.", "n.test.", n_test=Fault.SERVFAIL),
        people=DNS_ERROR,
        strangers=DNS_ERROR,
    ),
    alone(
        "a lame delegation",
        "RFC 1912 section 2.8: no answer",
        DNS_ERROR,
        says(),
        zone={"a.test": Fault.REFERRAL},
        people=DNS_ERROR,
        strangers=DNS_ERROR,
    ),
    alone(
        "aliases in a ring",
        "RFC 1034 section 3.6.2: an error",
        DNS_ERROR,
        says(),
        zone={"a.test": {"CNAME": ["b.test."]}, "b.test": {"CNAME": ["a.test."]}},
        people=DNS_ERROR,
        strangers=DNS_ERROR,
    ),
    alone(
        "an alias of itself",
        "RFC 1034 section 3.6.2: an error",
        DNS_ERROR,
        says(),
        zone={"a.test": {"CNAME": ["a.test."]}},
        people=DNS_ERROR,
        strangers=DNS_ERROR,
    ),
    alone(
        "a dozen aliases",
        "RFC 1034 section 5.2.2 follows them; how many is a bound of ours",
        DNS_ERROR,
        says(),
        zone={"a.test": {"CNAME": ["c0.test."]}, **CHAIN, "c12.test": {"MX": ["0 m.test."]}},
        people=DNS_ERROR,
        strangers=DNS_ERROR,
    ),
    alone(
        "five aliases and catch-all",
        "RFC 1034 section 5.2.2",
        ALL,
        says(others=YES),
        zone={
            "a.test": {"CNAME": ["c8.test."]},
            **CHAIN,
            "c12.test": {"MX": ["0 m.test."]},
            "m.test": {"A": [A]},
        },
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "an alias to a name that does not exist",
        "RFC 2308 section 2.1: NXDOMAIN of the end",
        NO_DOMAIN,
        says(),
        zone={"a.test": {"CNAME": ["gone.test."]}},
        people=NO_DOMAIN,
        strangers=NO_DOMAIN,
    ),
    alone(
        "mail hosts in upper case, one of them twice",
        "RFC 4343",
        OK,
        says(),
        zone={"a.test": {"MX": ["10 MX.A.Test.", "20 mx.a.test."]}, "mx.a.test": {"A": [A]}},
    ),
)

OFFERS = ("PIPELINING", "8BITMIME", "SMTPUTF8")
IDN = "xn--bcher-kva.test"
IDN_ZONE = {IDN: {"MX": ["0 m.test.", "10 n.test."]}, "m.test": {"A": [A]}, "n.test": {"A": [B]}}
UTF8_NAMES = (("^(jörg|p\\d+)@xn--", YES), (".*", NOBODY))
LONG = "user." + "x" * 59
HONEST = says()

ADDRESSES = (
    alone(
        "a name beyond ASCII at a domain beyond ASCII",
        "RFC 6531 section 3.5",
        OK,
        Script(rcpt=UTF8_NAMES, extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    alone(
        "a name beyond ASCII that is unknown, behind TLS",
        "RFC 6531 section 3.5; table row 18",
        NO,
        Script(rcpt=UTF8_NAMES, extensions=OFFERS, tls=True, tls_required=True),
        address="jürgen@bücher.test",
        zone=IDN_ZONE,
    ),
    alone(
        "a name beyond ASCII and no host that could read it",
        "RFC 6531 section 3.5: such mail cannot be delivered",
        NO,
        Script(rcpt=UTF8_NAMES),
        Script(rcpt=UTF8_NAMES),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    alone(
        "a name beyond ASCII that the second host alone can read",
        "RFC 6531 section 3.5; RFC 5321 section 5.1",
        OK,
        Script(rcpt=UTF8_NAMES),
        Script(rcpt=UTF8_NAMES, extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    alone(
        "a name beyond ASCII, a host that cannot read it, and a dead one",
        "RFC 6531 section 3.5: not all say so",
        NOBODY_THERE,
        Script(rcpt=UTF8_NAMES),
        address="jörg@bücher.test",
        zone={**IDN_ZONE, "n.test": {"A": [DEAD]}},
    ),
    alone(
        "a name beyond ASCII where everything is accepted",
        "RFC 6531 section 3.5; table row 27",
        ALL,
        Script(extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "a plain name at a domain beyond ASCII, of a host without SMTPUTF8",
        "RFC 5891: the A-label form is plain ASCII",
        OK,
        Script(rcpt=(("^(user|p\\d+)@xn--bcher-kva[.]test$", YES), (".*", NOBODY))),
        address="user@BÜCHER.test",
        zone=IDN_ZONE,
    ),
    alone(
        "a quoted name",
        "RFC 5321 section 4.1.2",
        OK,
        Script(rcpt=(('^"user[.]name"@|^p\\d', YES), (".*", NOBODY))),
        address='"user.name"@a.test',
    ),
    alone(
        "a quoted name with an @, and catch-all",
        "RFC 5321 section 4.1.2",
        ALL,
        says(others=YES),
        address='"user@home"@a.test',
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "a name of 64 octets", "RFC 5321 section 4.5.3.1.1", OK, says(), address=f"{LONG}@a.test"
    ),
    alone(
        "a name of 65 octets",
        "RFC 5321 section 4.5.3.1.1",
        NO_ADDRESS,
        says(),
        address=f"{LONG}x@a.test",
    ),
    alone("a tag", "RFC 5233", OK, says(), address="user+tag@a.test"),
    alone(
        "a tag that the host does not know",
        "RFC 5233: the host decides",
        NO,
        Script(rcpt=(("^user@|^p\\d", YES), (".*", NOBODY))),
        address="user+tag@a.test",
    ),
    alone(
        "upper case, as it is written",
        "RFC 5321 section 2.4: the case of the name is kept",
        OK,
        Script(rcpt=(("^USER@a.test$|^p\\d", YES), (".*", NOBODY))),
        address="USER@A.TEST",
    ),
    alone(
        "a domain with a trailing dot",
        "RFC 5321 section 4.1.2: no dot there",
        NO_ADDRESS,
        says(),
        address="user@a.test.",
        people=NO_ADDRESS,
        strangers=NO_ADDRESS,
    ),
    alone(
        "a domain literal",
        "engine.address.syntax: not dialled",
        NO_ADDRESS,
        says(),
        address="user@[127.0.0.2]",
        people=NO_ADDRESS,
        strangers=NO_ADDRESS,
    ),
)


@pytest.mark.parametrize("row", [*HOSTS, *DNS, *ADDRESSES], ids=str)
async def test_routes(row: Row) -> None:
    await check(row)


FAULTY = {"a.test": {"MX": ["0 m.test."], "A": [A]}, "m.test": {"A": [A]}}


@pytest.mark.parametrize(
    ("first", "faults", "expected"),
    [
        # RFC 5321 section 5.1: a failed MX look-up is no leave to use the address
        (None, {"a.test MX": Fault.SERVFAIL}, DNS_ERROR),
        (None, {"a.test MX": Fault.TRUNCATED}, OK),
        (None, {"m.test A": Fault.TRUNCATED, "a.test": Fault.NO_EDNS}, OK),
        (None, {"m.test AAAA": Fault.SERVFAIL}, OK),
        # the second server knows: RFC 1123 section 6.1.3.3
        (Fault.SERVFAIL, {}, OK),
        (Fault.REFUSED, {}, OK),
        (Fault.REFERRAL, {}, OK),
        (Fault.GARBAGE, {}, OK),
        (Fault.SILENT, {}, OK),
    ],
)
async def test_servers_of_dns(
    first: Fault | None, faults: Mapping[str, Fault], expected: Gist
) -> None:
    """The first server has `first` for every name, the second has the records."""
    broken: Zone = dict.fromkeys(FAULTY, first) if first else FAULTY
    async with (
        fake_dns(broken, faults=faults) as one,
        fake_dns(FAULTY, faults=faults) as two,
        fake_smtp({A: HONEST}) as smtp,
    ):
        config = replace(QUICK, dns_servers=(one.address, two.address), smtp_port=smtp.port)
        engine = ProbeEngine.open(config, rng=random.Random(1))
        single, (listed,) = await asyncio.gather(
            verify(engine, "user@a.test"),
            verify_list(engine, ["user@a.test"]),
        )
        await engine.aclose()
    assert [(v.verdict, v.reason) for v in (single, listed)] == [expected, expected]
