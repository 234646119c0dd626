"""Findings by facts, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.dns.terms import LookupStatus
from engine.model import Dns, Meaning, Stage
from engine.smtp.terms import EgressConfig, Identity
from gateway.doctor import judge
from gateway.doctor.block_lists import BLOCK_LISTS, Listing, ListingState
from gateway.doctor.facts import (
    Database,
    DnsServer,
    ListenAddress,
    MailHost,
    NameRecords,
    PublicAddress,
    find_public_address,
)
from gateway.doctor.finding import Finding, Level
from gateway.doctor.spf import SpfCheck, SpfResult

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
US, OTHER, HELO = "203.0.113.7", "203.0.113.8", "probe.us.test"
OURS = PublicAddress(US, "as mail hosts see it", US)
NOT_KNOWN = PublicAddress(local_ip="10.0.0.2")


def check(finding: Finding, level: Level, words: str) -> None:
    assert finding.level is level, finding
    assert words in f"{finding.said} {finding.advice}", finding
    assert (finding.advice == "") is (level is OK), finding
    assert finding.advice == "" or finding.advice.endswith((".", ").")), finding


@pytest.mark.parametrize(
    ("status", "latency_ms", "made_up", "lie", "level", "words"),
    [
        (LookupStatus.OK, 3, LookupStatus.NXDOMAIN, "", OK, "answers in 3 ms"),
        (LookupStatus.OK, 900, LookupStatus.NXDOMAIN, "", WARN, "caching resolver"),
        (
            LookupStatus.OK,
            3,
            LookupStatus.OK,
            "198.51.100.1",
            FAIL,
            "answers 198.51.100.1 for a name that",
        ),
        (LookupStatus.OK, 3, LookupStatus.NODATA, "", WARN, "with nodata for a name"),
        (LookupStatus.OK, 3, LookupStatus.SERVFAIL, "", WARN, "with servfail"),
        (LookupStatus.TIMEOUT, 0, LookupStatus.TIMEOUT, "", FAIL, "port 53"),
        (LookupStatus.REFUSED, 0, LookupStatus.REFUSED, "", FAIL, "refuses to answer us"),
        (LookupStatus.SERVFAIL, 0, LookupStatus.SERVFAIL, "", FAIL, "fails to resolve"),
        (LookupStatus.NXDOMAIN, 2, LookupStatus.NXDOMAIN, "", FAIL, "well-known mail domains"),
        (LookupStatus.NODATA, 2, LookupStatus.NXDOMAIN, "", FAIL, "well-known mail domains"),
    ],
)
def test_dns_server(
    status: LookupStatus, latency_ms: int, made_up: LookupStatus, lie: str, level: Level, words: str
) -> None:
    fact = DnsServer("127.0.0.53:53", status, latency_ms, made_up, lie)
    check(judge.dns_server(fact), level, words)


GREETED = MailHost("gmail.com", "mx.gmail.com", "192.0.2.1", accepts_ehlo=True)
UNREACHABLE = replace(
    GREETED,
    domain="yahoo.com",
    accepts_ehlo=False,
    stage=Stage.CONNECT,
    meaning=Meaning.UNREACHABLE,
)
PRIVATE = replace(UNREACHABLE, ip="10.0.0.9", meaning=Meaning.NOT_ALLOWED)
BLOCKED = replace(
    GREETED,
    accepts_ehlo=False,
    stage=Stage.BANNER,
    meaning=Meaning.IP_BLOCKED,
    text="554 \x1b[31mblocked",
)
BUSY = replace(BLOCKED, meaning=Meaning.TEMPORARY, text="421 busy")


EGRESS = EgressConfig(Identity("probe.us.test", ""))


@pytest.mark.parametrize(
    ("hosts", "level", "words"),
    [
        ([GREETED, GREETED], OK, "2 of 2"),
        ([GREETED, BLOCKED], OK, "2 of 2"),
        ([GREETED, UNREACHABLE], WARN, "not that of yahoo.com"),
        ([UNREACHABLE, UNREACHABLE], FAIL, "open outbound port 25"),
        ([PRIVATE, PRIVATE], FAIL, "such as 10.0.0.9"),
        ([PRIVATE, UNREACHABLE], FAIL, "open outbound port 25"),
        ([], WARN, "not tried"),
    ],
)
def test_port_25(hosts: Sequence[MailHost], level: Level, words: str) -> None:
    check(judge.port_25(hosts, 25, EGRESS), level, words)


@pytest.mark.parametrize(
    ("host", "level", "words"),
    [(BLOCKED, FAIL, "Request removal"), (BUSY, WARN, "421 busy")],
)
def test_a_host_that_rejects_us(host: MailHost, level: Level, words: str) -> None:
    (finding,) = judge.greetings([GREETED, UNREACHABLE, host])
    check(finding, level, words)
    assert "\x1b" not in finding.said


@pytest.mark.parametrize(
    ("given", "saw", "local", "allow_private", "ip"),
    [
        ("203.0.113.1", [US], "10.0.0.2", False, "203.0.113.1"),
        ("", ["8.8.4.4", "8.8.4.4", "9.9.9.9"], "10.0.0.2", False, "8.8.4.4"),
        ("", [], "8.8.4.4", False, "8.8.4.4"),
        ("", [], "10.0.0.2", False, ""),
        ("", ["10.0.0.3"], "10.0.0.2", False, ""),
        ("", ["10.0.0.3"], "10.0.0.2", True, "10.0.0.3"),
        ("", [], "127.0.0.1", True, "127.0.0.1"),
        ("", [], "", False, ""),
    ],
)
def test_our_address(given: str, saw: list[str], local: str, allow_private: bool, ip: str) -> None:
    hosts = [replace(GREETED, our_ip=each) for each in saw]
    assert find_public_address(PublicAddress(given), hosts, local, allow_private).ip == ip


@pytest.mark.parametrize(
    ("ours", "level", "words"),
    [
        (OURS, OK, "as mail hosts see it"),
        (PublicAddress(US, "as given with --ip", "10.0.0.2"), OK, "for this machine's 10.0.0.2"),
        (NOT_KNOWN, WARN, "10.0.0.2, which is not public"),
        (PublicAddress(), WARN, "--ip"),
    ],
)
def test_address(ours: PublicAddress, level: Level, words: str) -> None:
    check(judge.public_address(ours), level, words)


@pytest.mark.parametrize(
    ("helo", "level", "words"),
    [
        (HELO, OK, "fully qualified name"),
        ("localhost", FAIL, "names every machine"),
        ("localhost.localdomain", FAIL, "names every machine"),
        ("probe", FAIL, "not a fully qualified name"),
        ("mail.google.com", FAIL, "belongs to google"),
        ("gmail.com", FAIL, "belongs to a mail provider"),
        ("203.0.113.7", FAIL, "without brackets"),
        ("[203.0.113.7]", WARN, "is an address"),
    ],
)
def test_helo_name(helo: str, level: Level, words: str) -> None:
    check(judge.helo_name(helo), level, words)


@pytest.mark.parametrize(
    ("helo", "status", "ips", "ours", "level", "words"),
    [
        (HELO, LookupStatus.OK, [US], OURS, OK, f"resolves to {US}"),
        (HELO, LookupStatus.OK, [OTHER, US], OURS, OK, f"resolves to {US}"),
        (HELO, LookupStatus.OK, [OTHER], OURS, FAIL, f"not to {US}"),
        (HELO, LookupStatus.OK, [OTHER], NOT_KNOWN, WARN, "not known"),
        (HELO, LookupStatus.NXDOMAIN, [], OURS, FAIL, f"{HELO}: {US}"),
        (HELO, LookupStatus.NODATA, [], NOT_KNOWN, FAIL, "has no address"),
        (HELO, LookupStatus.SERVFAIL, [], OURS, WARN, "DNS did not resolve it"),
        (f"[{US}]", LookupStatus.NXDOMAIN, [], OURS, OK, "needs no DNS"),
        (f"[{OTHER}]", LookupStatus.NXDOMAIN, [], OURS, FAIL, f"is not {US}"),
    ],
)
def test_helo_address(
    helo: str, status: LookupStatus, ips: list[str], ours: PublicAddress, level: Level, words: str
) -> None:
    check(judge.helo_address(helo, NameRecords(status, ips), ours), level, words)


@pytest.mark.parametrize(
    ("status", "names", "confirmed", "ours", "level", "words"),
    [
        (LookupStatus.OK, [HELO], [HELO], OURS, OK, "resolves back"),
        (LookupStatus.OK, ["x.test", HELO], [HELO], OURS, OK, "resolves back"),
        (LookupStatus.OK, ["x.test"], ["x.test"], OURS, WARN, "Set engine.helo to x.test"),
        (LookupStatus.OK, [HELO], [], OURS, FAIL, "does not resolve back"),
        (LookupStatus.NXDOMAIN, [], [], OURS, FAIL, f"Ask the provider of {US}"),
        (LookupStatus.TIMEOUT, [], [], OURS, WARN, "DNS did not answer"),
        (LookupStatus.NXDOMAIN, [], [], NOT_KNOWN, WARN, "--ip"),
    ],
)
def test_ptr(
    status: LookupStatus,
    names: list[str],
    confirmed: list[str],
    ours: PublicAddress,
    level: Level,
    words: str,
) -> None:
    facts = NameRecords(LookupStatus.OK, [US], status, names, confirmed)
    check(judge.ptr(HELO, facts, ours), level, words)


@pytest.mark.parametrize("dns", sorted(Dns))
def test_mail_from(dns: Dns) -> None:
    finding = judge.mail_from("probe@us.test", dns)
    expected = {True: OK, False: FAIL, None: WARN}[dns.can_receive]
    if dns is Dns.SERVFAIL:  # mail servers that look it up will not find it, either
        expected = FAIL
    check(finding, expected, "its domain")


def test_the_null_sender_is_fine() -> None:
    check(judge.mail_from("", Dns.NOT_CHECKED), OK, "null sender")


@pytest.mark.parametrize(
    ("result", "level", "words"),
    [
        (SpfResult.PASS, OK, f"pass for {US}"),
        (SpfResult.FAIL, FAIL, f"Add ip4:{US} to"),
        (SpfResult.SOFTFAIL, FAIL, f"Add ip4:{US} to"),
        (SpfResult.NEUTRAL, WARN, f"Add ip4:{US} to"),
        (SpfResult.NONE, WARN, f'"v=spf1 ip4:{US} -all"'),
        (SpfResult.TEMPERROR, WARN, "again once DNS answers"),
        (SpfResult.PERMERROR, FAIL, "Correct the record"),
    ],
)
def test_spf(result: SpfResult, level: Level, words: str) -> None:
    check(judge.spf("us.test", SpfCheck(result, "because"), OURS), level, words)


def test_spf_without_an_address() -> None:
    check(judge.spf("us.test", None, NOT_KNOWN), WARN, "--ip")


@pytest.mark.parametrize(
    ("listing", "level", "words"),
    [
        (Listing(ListingState.CLEAN), OK, "is not listed"),
        (Listing(ListingState.LISTED, "PBL"), FAIL, "https://check.spamhaus.org/"),
        (Listing(ListingState.REFUSED, "asked through a public resolver"), WARN, "of your own"),
        (Listing(ListingState.SILENT), WARN, "test entry"),
        (Listing(ListingState.BROKEN), WARN, "Ignore it"),
        (Listing(ListingState.UNREACHABLE), WARN, "could not be queried"),
        (None, WARN, "--ip"),
    ],
)
def test_block_list(listing: Listing | None, level: Level, words: str) -> None:
    check(judge.block_list(BLOCK_LISTS[0], listing, OURS), level, words)


@pytest.mark.parametrize(
    ("ahead_s", "behind_files_s", "level", "words"),
    [
        ([2.0], -100.0, OK, "within 30 s"),
        ([2.0, -9000.0, 1.0], -100.0, OK, "within 30 s"),  # the clock of one host is wrong
        ([45.0], -100.0, WARN, "45 s ahead"),
        ([-900.0], -100.0, FAIL, "900 s behind"),
        ([], -100.0, OK, "no mail host showed"),
        ([], 86_400.0, FAIL, "behind the newest"),
    ],
)
def test_clock(ahead_s: list[float], behind_files_s: float, level: Level, words: str) -> None:
    hosts = [GREETED, *(replace(GREETED, clock_ahead_s=each) for each in ahead_s)]
    check(judge.clock(hosts, behind_files_s), level, words)


@pytest.mark.parametrize(
    ("fact", "level", "words"),
    [
        (Database("v.db", True, 10**11), OK, "can be written; 100.0 GB free"),
        (Database("v.db", False, 10**11), OK, "can be created"),
        (Database("v.db", True, 5 * 10**8), WARN, "Free space"),
        (Database("v.db", True, 10**6), FAIL, "Free space"),
        (Database("v.db", True, 10**11, "permission denied"), FAIL, "permission denied"),
        (Database("v.db", True, 10**11, is_locked=True), WARN, "lock"),
        (Database(":memory:", False, None), WARN, "lost when the server stops"),
    ],
)
def test_database(fact: Database, level: Level, words: str) -> None:
    check(judge.database(fact), level, words)


@pytest.mark.parametrize(
    ("fact", "level", "words"),
    [
        (ListenAddress("http://127.0.0.1:8025"), OK, "is free"),
        (
            ListenAddress("http://127.0.0.1:8025", "address in use", is_veriplex=True),
            OK,
            "Veriplex is listening",
        ),
        (ListenAddress("http://127.0.0.1:8025", "address in use"), FAIL, "server.port"),
    ],
)
def test_listening(fact: ListenAddress, level: Level, words: str) -> None:
    check(judge.listen_address(fact), level, words)
