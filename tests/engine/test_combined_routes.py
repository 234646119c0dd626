"""Routes of mail, in combinations: several hosts that disagree, unusual DNS, unusual addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from engine.probe import ProbeEngine
from tests.engine.asking import verify, verify_list
from tests.engine.combined import (
    ACCEPTED,
    BLOCKED,
    CATCH_ALL,
    DNS_ERROR,
    FULL,
    GREYLISTED_450,
    INVALID_DOMAIN,
    INVALID_EMAIL,
    NO_CONNECT,
    NO_SUCH_USER,
    QUICK,
    RBL,
    REJECTED,
    RELAY,
    UNAVAILABLE,
    Outcome,
    Scenario,
    check,
    mail_host,
    scenario,
)
from tests.engine.test_probe import DEAD, A, B, zone_of
from tests.fakes.dns import Fault, Zone, fake_dns
from tests.fakes.smtp import CLOSE, HANG, Script, fake_smtp

OK_250 = "250 2.1.5 Ok"
V6 = "::1"
FULL_552 = "552 5.2.2 Over quota"
NOT_NOW = "451 4.3.0 Temporary lookup failure"
NO_ROUTE_V6 = "100::1"
"""In the discard-only prefix (RFC 6666): no host is there."""


def mail_host_for_all(reply: str) -> Script:
    return mail_host(reply, reply, reply)


HOSTS = (
    scenario(
        "the first host blocks us, the second knows no such user",
        "a refusal before RCPT: next host; rule `not-found-words`",
        REJECTED,
        mail_host(banner=RBL),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "the first host blocks us at RCPT, the second accepts every name",
        "rule `blocked`; the control",
        CATCH_ALL,
        mail_host_for_all(RBL),
        mail_host(unknown=OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "the first host fails temporarily, the second knows no such user",
        "rule `temporary`; rule `not-found-words`",
        REJECTED,
        mail_host_for_all(NOT_NOW),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "the first host fails temporarily, the second is full",
        "rule `temporary`; rule `full-words`",
        FULL,
        mail_host_for_all(NOT_NOW),
        mail_host(FULL_552),
    ),
    scenario(
        "the first host fails temporarily, the second accepts every name",
        "rule `temporary`; the control",
        CATCH_ALL,
        mail_host_for_all(NOT_NOW),
        mail_host(unknown=OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "the first host does not serve the domain, the second does",
        "rule `relay`: one host of several",
        ACCEPTED,
        mail_host_for_all(RELAY),
        mail_host(),
    ),
    scenario(
        "the first host does not serve the domain, the second greylists",
        "rule `relay`; RFC 6647 section 2",
        ACCEPTED,
        mail_host_for_all(RELAY),
        mail_host(
            [GREYLISTED_450, OK_250], [GREYLISTED_450, NO_SUCH_USER], [GREYLISTED_450, OK_250]
        ),
    ),
    scenario(
        "the first host does not serve the domain, the second knows no such user",
        "rule `relay`; rule `not-found-words`",
        REJECTED,
        mail_host_for_all(RELAY),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "the first host does not serve the domain, the second is dead",
        "rule `relay`: not all hosts say so",
        NO_CONNECT,
        mail_host_for_all(RELAY),
        zone=zone_of(A, DEAD),
        known=NO_CONNECT,
        unknown=NO_CONNECT,
    ),
    scenario(
        "two hosts that do not serve the domain",
        "rule `relay`: all hosts say so",
        REJECTED,
        mail_host_for_all(RELAY),
        mail_host_for_all("550 5.7.1 Unable to relay"),
        known=REJECTED,
    ),
    scenario(
        "a first host that replies 421, and a second",
        "RFC 5321 section 3.8 (421): next host",
        ACCEPTED,
        mail_host(banner="421 4.3.2 All server ports are busy"),
        mail_host(),
    ),
    scenario(
        "two hosts that reply 421",
        "RFC 5321 section 3.8 (421)",
        UNAVAILABLE,
        mail_host(banner="421 4.3.2 Busy"),
        mail_host(banner="421 4.3.2 Busy"),
        known=UNAVAILABLE,
        unknown=UNAVAILABLE,
        config={"deadline_s": 1.5},
    ),
    scenario(
        "a first host that replies 421 once, and a dead second",
        "RFC 5321 section 3.8 (421): the same host later",
        ACCEPTED,
        mail_host(banner=["421 4.3.2 Busy", "220 mx.fake.test ESMTP"]),
        zone=zone_of(A, DEAD),
    ),
    scenario(
        "a silent host, a blocking host, a normal host",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(banner=HANG),
        mail_host(banner=RBL),
        mail_host(),
    ),
    scenario(
        "a bare refusal on the first host alone",
        "a bare refusal: no other host would say otherwise",
        BLOCKED,
        mail_host("550 Rejected", "550 Rejected"),
        mail_host(),
        unknown=BLOCKED,
    ),
    scenario(
        "two hosts of one preference, one of them dead",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(),
        zone={
            "a.test": {"MX": ["10 mx0.a.test.", "10 mx1.a.test."]},
            "mx0.a.test": {"A": [DEAD]},
            "mx1.a.test": {"A": [A]},
        },
    ),
    scenario(
        "a dead host, and one that hangs up on greeting",
        "RFC 5321 section 4.5.4.1",
        UNAVAILABLE,
        mail_host(banner=CLOSE),
        zone=zone_of(DEAD, A),
        known=UNAVAILABLE,
        unknown=UNAVAILABLE,
    ),
)


def mx(*hosts: str, **more: Mapping[str, list[str]] | Fault) -> Zone:
    records = [f"{10 * number} {host}" for number, host in enumerate(hosts)]
    return {"a.test": {"MX": records}} | {name.replace("_", "."): r for name, r in more.items()}


CHAIN = {f"c{number}.test": {"CNAME": [f"c{number + 1}.test."]} for number in range(12)}

DNS = (
    scenario(
        "an MX with an IPv6 address alone, and catch-all",
        "RFC 5321 section 5.2",
        CATCH_ALL,
        (V6, mail_host(unknown=OK_250)),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "an MX with an IPv6 address that leads nowhere, and a second",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(),
        zone=mx("m.test.", "n.test.", m_test={"AAAA": [NO_ROUTE_V6]}, n_test={"A": [A]}),
    ),
    scenario(
        "an MX that is an alias, and greylisting",
        "RFC 2181 section 10.3 forbids it, and it is common",
        ACCEPTED,
        mail_host(
            [GREYLISTED_450, OK_250], [GREYLISTED_450, NO_SUCH_USER], [GREYLISTED_450, OK_250]
        ),
        zone=mx("m.test.", m_test={"CNAME": ["n.test."]}, n_test={"A": [A]}),
    ),
    scenario(
        "an MX that is an IP address, and a second that is a host",
        "RFC 5321 section 5.1: an MX record names a host",
        ACCEPTED,
        mail_host(),
        zone=mx("127.0.0.9.", "m.test.", m_test={"A": [A]}),
    ),
    scenario(
        "MX records with . among others",
        "RFC 7505 section 3: . alone is the null MX",
        ACCEPTED,
        mail_host(),
        zone=mx(".", "m.test.", m_test={"A": [A]}),
    ),
    scenario(
        "a null MX and an address",
        "RFC 7505 section 3",
        INVALID_DOMAIN,
        mail_host(),
        zone={"a.test": {"MX": ["0 ."], "A": [A]}},
        known=INVALID_DOMAIN,
        unknown=INVALID_DOMAIN,
    ),
    scenario(
        "no MX but an address, and an unknown user",
        "RFC 5321 section 5.1",
        REJECTED,
        mail_host(NO_SUCH_USER),
        zone={"a.test": {"A": [A]}},
    ),
    scenario(
        "no MX but an alias to a host with an address",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(),
        zone={"a.test": {"CNAME": ["m.test."]}, "m.test": {"A": [A]}},
    ),
    scenario(
        "an MX whose host has no address, and an address of the domain",
        "RFC 5321 section 5.1: with MX records the address must not be used",
        INVALID_DOMAIN,
        mail_host(),
        zone={"a.test": {"MX": ["10 ghost.test."], "A": [A]}},
        known=INVALID_DOMAIN,
        unknown=INVALID_DOMAIN,
    ),
    scenario(
        "a domain below one that takes mail",
        "RFC 5321 section 5.1: no such name",
        INVALID_DOMAIN,
        mail_host(),
        address="user@nowhere.a.test",
        known=INVALID_DOMAIN,
        unknown=INVALID_DOMAIN,
    ),
    scenario(
        "an MX host whose look-up fails, and a second",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(),
        zone=mx("m.test.", "n.test.", m_test=Fault.SERVFAIL, n_test={"A": [A]}),
    ),
    scenario(
        "an MX host that does not exist, and one whose look-up fails",
        "RFC 5321 section 5.1: SERVFAIL is no answer",
        DNS_ERROR,
        mail_host(),
        zone=mx("ghost.test.", "n.test.", n_test=Fault.SERVFAIL),
        known=DNS_ERROR,
        unknown=DNS_ERROR,
    ),
    scenario(
        "a lame delegation",
        "RFC 1912 section 2.8: no answer",
        DNS_ERROR,
        mail_host(),
        zone={"a.test": Fault.REFERRAL},
        known=DNS_ERROR,
        unknown=DNS_ERROR,
    ),
    scenario(
        "aliases in a ring",
        "RFC 1034 section 3.6.2: an error",
        DNS_ERROR,
        mail_host(),
        zone={"a.test": {"CNAME": ["b.test."]}, "b.test": {"CNAME": ["a.test."]}},
        known=DNS_ERROR,
        unknown=DNS_ERROR,
    ),
    scenario(
        "an alias of itself",
        "RFC 1034 section 3.6.2: an error",
        DNS_ERROR,
        mail_host(),
        zone={"a.test": {"CNAME": ["a.test."]}},
        known=DNS_ERROR,
        unknown=DNS_ERROR,
    ),
    scenario(
        "a dozen aliases",
        "RFC 1034 section 5.2.2: aliases are followed, here up to a bound",
        DNS_ERROR,
        mail_host(),
        zone={"a.test": {"CNAME": ["c0.test."]}, **CHAIN, "c12.test": {"MX": ["0 m.test."]}},
        known=DNS_ERROR,
        unknown=DNS_ERROR,
    ),
    scenario(
        "five aliases and catch-all",
        "RFC 1034 section 5.2.2",
        CATCH_ALL,
        mail_host(unknown=OK_250),
        zone={
            "a.test": {"CNAME": ["c8.test."]},
            **CHAIN,
            "c12.test": {"MX": ["0 m.test."]},
            "m.test": {"A": [A]},
        },
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "an alias to a name that does not exist",
        "RFC 2308 section 2.1: NXDOMAIN for the last name",
        INVALID_DOMAIN,
        mail_host(),
        zone={"a.test": {"CNAME": ["gone.test."]}},
        known=INVALID_DOMAIN,
        unknown=INVALID_DOMAIN,
    ),
    scenario(
        "mail hosts in upper case, one of them twice",
        "RFC 4343",
        ACCEPTED,
        mail_host(),
        zone={"a.test": {"MX": ["10 MX.A.Test.", "20 mx.a.test."]}, "mx.a.test": {"A": [A]}},
    ),
)

OFFERS = ("PIPELINING", "8BITMIME", "SMTPUTF8")
IDN = "xn--bcher-kva.test"
IDN_ZONE = {IDN: {"MX": ["0 m.test.", "10 n.test."]}, "m.test": {"A": [A]}, "n.test": {"A": [B]}}
UTF8_NAMES = (("^(jörg|p\\d+)@xn--", OK_250), (".*", NO_SUCH_USER))
LONG = "user." + "x" * 59
USER_ONLY = mail_host()

ADDRESSES = (
    scenario(
        "a name beyond ASCII at a domain beyond ASCII",
        "RFC 6531 section 3.5",
        ACCEPTED,
        Script(rcpt=UTF8_NAMES, extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    scenario(
        "a name beyond ASCII that is unknown, behind TLS",
        "RFC 6531 section 3.5; rule `not-found-words`",
        REJECTED,
        Script(rcpt=UTF8_NAMES, extensions=OFFERS, tls=True, tls_required=True),
        address="jürgen@bücher.test",
        zone=IDN_ZONE,
    ),
    scenario(
        "a name beyond ASCII, and no host with SMTPUTF8",
        "RFC 6531 section 3.5: such mail cannot be delivered",
        REJECTED,
        Script(rcpt=UTF8_NAMES),
        Script(rcpt=UTF8_NAMES),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    scenario(
        "a name beyond ASCII, and SMTPUTF8 on the second host alone",
        "RFC 6531 section 3.5; RFC 5321 section 5.1",
        ACCEPTED,
        Script(rcpt=UTF8_NAMES),
        Script(rcpt=UTF8_NAMES, extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
    ),
    scenario(
        "a name beyond ASCII, a host without SMTPUTF8, and a dead one",
        "RFC 6531 section 3.5: not all say so",
        NO_CONNECT,
        Script(rcpt=UTF8_NAMES),
        address="jörg@bücher.test",
        zone={**IDN_ZONE, "n.test": {"A": [DEAD]}},
    ),
    scenario(
        "a name beyond ASCII and catch-all",
        "RFC 6531 section 3.5; the control",
        CATCH_ALL,
        Script(extensions=OFFERS),
        address="jörg@bücher.test",
        zone=IDN_ZONE,
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "an ASCII name at a domain beyond ASCII, on a host without SMTPUTF8",
        "RFC 5891: the A-label form is plain ASCII",
        ACCEPTED,
        Script(rcpt=(("^(user|p\\d+)@xn--bcher-kva[.]test$", OK_250), (".*", NO_SUCH_USER))),
        address="user@BÜCHER.test",
        zone=IDN_ZONE,
    ),
    scenario(
        "a quoted name",
        "RFC 5321 section 4.1.2",
        ACCEPTED,
        Script(rcpt=(('^"user[.]name"@|^p\\d', OK_250), (".*", NO_SUCH_USER))),
        address='"user.name"@a.test',
    ),
    scenario(
        "a quoted name with an @, and catch-all",
        "RFC 5321 section 4.1.2",
        CATCH_ALL,
        mail_host(unknown=OK_250),
        address='"user@home"@a.test',
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a name of 64 octets",
        "RFC 5321 section 4.5.3.1.1",
        ACCEPTED,
        mail_host(),
        address=f"{LONG}@a.test",
    ),
    scenario(
        "a name of 65 octets",
        "RFC 5321 section 4.5.3.1.1",
        INVALID_EMAIL,
        mail_host(),
        address=f"{LONG}x@a.test",
    ),
    scenario("a tag", "RFC 5233", ACCEPTED, mail_host(), address="user+tag@a.test"),
    scenario(
        "a tag that the host does not support",
        "RFC 5233: the host decides",
        REJECTED,
        Script(rcpt=(("^user@|^p\\d", OK_250), (".*", NO_SUCH_USER))),
        address="user+tag@a.test",
    ),
    scenario(
        "upper case in the local part",
        "RFC 5321 section 2.4: the case of the name is kept",
        ACCEPTED,
        Script(rcpt=(("^USER@a.test$|^p\\d", OK_250), (".*", NO_SUCH_USER))),
        address="USER@A.TEST",
    ),
    scenario(
        "a domain with a trailing dot",
        "RFC 5321 section 4.1.2: no dot there",
        INVALID_EMAIL,
        mail_host(),
        address="user@a.test.",
        known=INVALID_EMAIL,
        unknown=INVALID_EMAIL,
    ),
    scenario(
        "a domain literal",
        "engine.address.syntax: malformed",
        INVALID_EMAIL,
        mail_host(),
        address="user@[127.0.0.2]",
        known=INVALID_EMAIL,
        unknown=INVALID_EMAIL,
    ),
)


@pytest.mark.parametrize("row", [*HOSTS, *DNS, *ADDRESSES], ids=str)
async def test_routes(row: Scenario) -> None:
    await check(row)


FAULTY = {"a.test": {"MX": ["0 m.test."], "A": [A]}, "m.test": {"A": [A]}}


@pytest.mark.parametrize(
    ("first", "faults", "expected"),
    [
        # RFC 5321 section 5.1: after a failed MX look-up the address must not be used
        (None, {"a.test MX": Fault.SERVFAIL}, DNS_ERROR),
        (None, {"a.test MX": Fault.TRUNCATED}, ACCEPTED),
        (None, {"m.test A": Fault.TRUNCATED, "a.test": Fault.NO_EDNS}, ACCEPTED),
        (None, {"m.test AAAA": Fault.SERVFAIL}, ACCEPTED),
        # the second server answers: RFC 1123 section 6.1.3.3
        (Fault.SERVFAIL, {}, ACCEPTED),
        (Fault.REFUSED, {}, ACCEPTED),
        (Fault.REFERRAL, {}, ACCEPTED),
        (Fault.GARBAGE, {}, ACCEPTED),
        (Fault.SILENT, {}, ACCEPTED),
    ],
)
async def test_dns_server_faults(
    first: Fault | None, faults: Mapping[str, Fault], expected: Outcome
) -> None:
    """The first server answers `first` for every name, the second has the records."""
    broken: Zone = dict.fromkeys(FAULTY, first) if first else FAULTY
    async with (
        fake_dns(broken, faults=faults) as one,
        fake_dns(FAULTY, faults=faults) as two,
        fake_smtp({A: USER_ONLY}) as smtp,
    ):
        config = replace(QUICK, dns_servers=(one.address, two.address), smtp_port=smtp.port)
        engine = ProbeEngine.open(config, rng=random.Random(1))
        single, (listed,) = await asyncio.gather(
            verify(engine, "user@a.test"),
            verify_list(engine, ["user@a.test"]),
        )
        await engine.aclose()
    assert [(v.verdict, v.reason) for v in (single, listed)] == [expected, expected]
