"""check_host of RFC 7208, against a DNS server on loopback.

`rfc7208-tests.json` is the openspf.org test suite for RFC 7208 (release 2014.04, with the additions
of 2019.08), as pyspf 2.0.14 carries it, converted from YAML. Its licence is in NOTICE.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.dns.resolver import Resolver
from engine.dns.terms import NameServer
from gateway.doctor.spf import MAX_EXPLANATION, SpfCheck, SpfResult, check_host
from tests.fakes.dns import Fault, Records, Zone, fake_dns

SUITE = json.loads((Path(__file__).parent / "rfc7208-tests.json").read_text("utf-8"))

Case = Mapping[str, Any]


async def check(
    zone: Zone,
    ip: str,
    sender: str,
    helo: str = "helo.test",
    faults: Mapping[str, Fault] | None = None,
) -> SpfCheck:
    async with fake_dns(zone, faults=faults) as dns:
        resolver = Resolver([NameServer.parse(dns.address)], attempt_timeout_s=1.0)
        try:
            return await check_host(resolver, ip, sender, helo, lambda: 1_780_000_000.0)
        finally:
            await resolver.aclose()


# -- the official suite ------------------------------------------------------------------


def suite_cases() -> Iterator[Any]:
    for part in SUITE:
        for case in part["cases"]:
            yield pytest.param(part["zone"], case, id=case["name"])


@pytest.mark.parametrize(("zone", "case"), list(suite_cases()))
async def test_the_official_suite(zone: Mapping[str, list[list[Any]]], case: Case) -> None:
    records = {escaped(name): records_of(rows) for name, rows in zone.items()}
    found = await check(
        records, case["host"], case["mailfrom"], case["helo"], dict(faults_of(zone))
    )
    assert found.result in case["results"], (found, case)


def escaped(name: str) -> str:
    """A name of the suite in master-file form, in lower case."""
    return name.lower().replace(" ", r"\032")


def records_of(rows: list[list[Any]]) -> Records:
    records: dict[str, list[str]] = {}
    for kind, value in (row for row in rows if row != ["TIMEOUT"]):
        match kind:
            case "TXT":
                text = " ".join(map(quoted, value or [""]))
            case "A" | "AAAA":
                text = value
            case _:
                text = f"{value.rstrip('.')}."
        records.setdefault(kind, []).append(text)
    return records


TYPES = ("A", "AAAA", "MX", "PTR", "TXT")


def quoted(text: str) -> str:
    """One string of a TXT record in master-file form; the suite's characters are octets."""
    octets = text.encode("latin-1")
    pieces = [octets[i : i + 255] for i in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{octet:03}" for octet in piece) + '"' for piece in pieces)


def faults_of(zone: Mapping[str, list[list[Any]]]) -> Iterator[tuple[str, Fault]]:
    """The suite's time-outs, as the same temporary error without the wait."""
    for name, rows in zone.items():
        if ["TIMEOUT"] in rows:
            present = {row[0] for row in rows}
            yield from ((f"{escaped(name)} {t}", Fault.SERVFAIL) for t in TYPES if t not in present)


# -- what the suite leaves open ----------------------------------------------------------

US, OTHER = "192.0.2.10", "198.51.100.7"


def spf(record: str) -> Records:
    return {"TXT": [f'"{record}"']}


ZONE: Zone = {
    "yes.test": spf(f"v=spf1 ip4:{US} -all"),
    "helo.test": spf(f"v=spf1 ip4:{US} -all"),
    "near.test": {"A": ["192.0.2.200"]},
    "bogus.test": spf("v=spf1 bogus -all"),
    "why.test": spf("v=spf1 a:near.test include:yes.test -all"),
    "void2.test": spf("v=spf1 a:no1.test a:no2.test -all"),
    "void3.test": spf("v=spf1 a:no1.test a:no2.test a:no3.test -all"),
    "time.test": spf("v=spf1 exists:%{t}.test -all"),
}


@pytest.mark.parametrize(
    ("ip", "sender", "result"),
    [
        (f"::ffff:{US}", "probe@yes.test", SpfResult.PASS),
        # section 2.4: the HELO name stands in for the null sender's domain
        (US, "", SpfResult.PASS),
        (OTHER, "", SpfResult.FAIL),
        (US, "probe@localhost", SpfResult.NONE),
        # section 4.6.4: two names may have no records
        (US, "probe@void2.test", SpfResult.FAIL),
        (US, "probe@void3.test", SpfResult.PERMERROR),
        # section 7.2: %{t} is allowed in explanations only
        (US, "probe@time.test", SpfResult.PERMERROR),
    ],
)
async def test_result(ip: str, sender: str, result: SpfResult) -> None:
    found = await check(ZONE, ip, sender)
    assert found.result is result, found


async def test_the_explanation_names_the_term() -> None:
    found = await check(ZONE, US, "probe@why.test")
    assert found == SpfCheck(SpfResult.PASS, "include:yes.test of why.test", 2)
    found = await check(ZONE, US, "probe@bogus.test")
    assert found.explanation == "'bogus' is no SPF term"


@pytest.mark.parametrize(
    "term",
    [
        "include:a." + "a" * 50_000,
        "include:a." + "-a" * 25_000 + "-",
        "a:a" + "/a" * 25_000,
        "x=" + "%{i}" * 12_500,
        "include:" + "%{i}." * 10_000 + "test",
        "exists:%{d" + "9" * 20_000 + "}.test",
    ],
    ids=["letters", "hyphens", "slashes", "modifier", "macros", "digits"],
)
async def test_a_long_record_of_a_stranger_takes_little_time(term: str) -> None:
    zone = {"hostile.test": {"TXT": [quoted(f"v=spf1 {term} -all")]}}
    began = time.thread_time()
    found = await check(zone, US, "probe@hostile.test")
    assert time.thread_time() - began < 1.0
    assert len(found.explanation) <= MAX_EXPLANATION


async def test_a_host_name_is_refused_as_address() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        await check(ZONE, "host.test", "probe@yes.test")
