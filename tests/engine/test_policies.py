"""SPF and DMARC are looked up for replies that show them alone; no verdict or score needs them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.model import Checks
from engine.probe import ProbeEngine
from tests.engine.asking import verify, verify_list
from tests.engine.test_probe import CONFIG, NOW, A, only, rcpt, zone_of
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import fake_smtp


@pytest.mark.parametrize("policies", [True, False])
@pytest.mark.parametrize("in_list", [True, False])
async def test_they_are_looked_up_if_they_are_wanted(policies: bool, in_list: bool) -> None:
    checks = Checks(policies=policies)
    async with fake_dns(zone_of(A)) as dns, fake_smtp({A: rcpt(*only("user"))}) as smtp:
        config = replace(CONFIG, dns_servers=(dns.address,), smtp_port=smtp.port)
        engine = ProbeEngine.open(config, rng=random.Random(1), now=lambda: NOW)
        try:
            if in_list:
                (found,) = await verify_list(engine, ["user@a.test"], checks)
            else:
                found = await verify(engine, "user@a.test", checks)
        finally:
            await engine.aclose()
    texts = [name for name, kind, _ in dns.queries if kind == "TXT"]
    assert texts == (["a.test", "_dmarc.a.test"] if policies else [])
    assert (found.evidence.spf, found.evidence.dmarc) == (
        (True, False) if policies else (None,) * 2
    )
    assert found.score == 100


def test_a_verification_with_them_covers_one_without() -> None:
    assert Checks(policies=True).covers(Checks())
    assert not Checks().covers(Checks(policies=True))
