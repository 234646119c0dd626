"""Facts about an address that its mail hosts show, singly and in a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import Checks, Reason, Verdict, Verification
from tests.engine.asking import verify_list
from tests.engine.combined import NO_SUCH_USER, QUICK
from tests.engine.test_probe import CONFIG, A, B, only, probe_setup, rcpt, zone_of
from tests.fakes.dns import Zone
from tests.fakes.smtp import Script


async def both_ways(
    script: Script, zone: Zone, address: str, checks: Checks = Checks()
) -> tuple[Verification, Verification]:
    async with probe_setup({A: script}, zone, CONFIG) as setup:
        singly = await setup.verify(address, checks)
        (listed,) = await verify_list(setup.engine, [address], checks)
    return singly, listed


def domain_at(domain: str, host: str) -> Zone:
    return {domain: {"MX": [f"10 {host}."]}, host: {"A": [A]}}


@pytest.mark.parametrize(
    "host", ["mail.mailinator.com", "smtp.yopmail.com", "mail.guerrillamail.com", "mail.tm"]
)
async def test_a_fresh_domain_at_a_throw_away_service_is_disposable(host: str) -> None:
    for verification in await both_ways(Script(), domain_at("fresh.test", host), "ann@fresh.test"):
        assert verification.evidence.disposable
        assert verification.reason is Reason.DISPOSABLE


async def test_so_it_is_where_the_service_is_not_asked() -> None:
    zone = domain_at("fresh.test", "mail.mailinator.com")
    checks = Checks(smtp=False, catch_all=False)
    for verification in await both_ways(Script(), zone, "ann@fresh.test", checks):
        assert verification.evidence.disposable


async def test_so_it_is_if_any_of_its_hosts_is_the_services() -> None:
    zone = {
        "fresh.test": {"MX": ["10 mx.fresh.test.", "20 smtp.yopmail.com."]},
        "mx.fresh.test": {"A": [A]},
        "smtp.yopmail.com": {"A": [B]},
    }
    for verification in await both_ways(rcpt(*only("ann")), zone, "ann@fresh.test"):
        assert verification.evidence.disposable


async def test_an_ordinary_domain_is_not_disposable() -> None:
    for verification in await both_ways(rcpt(*only("ann")), zone_of(A), "ann@a.test"):
        assert not verification.evidence.disposable


LIBERO = domain_at("liberoo.it", "mx.liberoo.it")
"""One letter away from libero.it."""


@pytest.mark.parametrize(
    ("script", "is_typo"),
    [
        (rcpt(*only("luca.rossi")), False),
        (rcpt(("^luca", "552 5.2.2 Mailbox full"), (".*", NO_SUCH_USER)), False),
        # domains that are registered for the typos of others accept every name
        (rcpt((".*", "250 Ok")), True),
        (rcpt((".*", NO_SUCH_USER)), True),
        (rcpt(("^luca", "250 Ok"), (".*", "450 4.2.0 Greylisted")), True),
    ],
)
async def test_a_domain_that_has_the_mailbox_is_no_typo(script: Script, is_typo: bool) -> None:
    async with probe_setup({A: script}, LIBERO, QUICK) as setup:
        singly = await setup.verify("luca.rossi@liberoo.it")
        (listed,) = await verify_list(setup.engine, ["luca.rossi@liberoo.it"])
    for verification in (singly, listed):
        assert (verification.evidence.did_you_mean == "luca.rossi@libero.it") is is_typo
        if verification.verdict is Verdict.DELIVERABLE and not is_typo:
            clean = replace(verification.evidence, spf=None, dmarc=None)
            assert clean.did_you_mean is None
            assert verification.score >= 95


@pytest.mark.parametrize("address", ["a..b@docomo.ne.jp", "abc.@docomo.ne.jp"])
async def test_old_mailboxes_of_a_japanese_carrier_are_asked_for_in_quotes(address: str) -> None:
    local = address.partition("@")[0]
    script = rcpt((f'^"{local}"@docomo.ne.jp$', "250 Ok"), (".*", NO_SUCH_USER))
    zone = domain_at("docomo.ne.jp", "mfsmax.docomo.ne.jp")
    for verification in await both_ways(script, zone, address):
        assert verification.verdict is Verdict.DELIVERABLE
        assert verification.address.raw == address
