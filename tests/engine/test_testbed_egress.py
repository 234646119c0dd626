"""The mail testbed by several ways out: addresses of this machine, and SOCKS5 proxies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from engine.model import Reason, Verdict
from engine.probe import ProbeEngine
from engine.smtp.terms import EgressConfig, EgressStrategy, Identity, SocksProxy
from tests.engine.asking import verify, verify_list
from tests.engine.test_testbed import mismatches
from tests.fakes.socks import Socks, socks_server
from tests.mail_testbed import CONFIG, SCENARIOS

pytestmark = pytest.mark.testbed

ME = Identity(CONFIG.helo, CONFIG.mail_from)
LISTED = EgressConfig(ME, "listed")
"""From 127.0.0.1, which is on the testbed's block list."""
CLEAN = EgressConfig(ME, "clean", source_address="127.0.1.7")


def through(socks: Socks, name: str) -> EgressConfig:
    proxy = SocksProxy("127.0.0.1", socks.port, socks.user, socks.password)
    return EgressConfig(ME, name, proxy=proxy)


@asynccontextmanager
async def engine_with(
    *egresses: EgressConfig, strategy: EgressStrategy = EgressStrategy.WEIGHTED
) -> AsyncIterator[ProbeEngine]:
    engine = ProbeEngine.open(replace(CONFIG, egresses=egresses, egress_strategy=strategy))
    try:
        yield engine
    finally:
        await engine.aclose()


async def test_a_block_list_of_one_address_is_passed_by_another() -> None:
    addresses = ["user@rbl-rcpt.test", "user@rbl-connect.test"]
    async with engine_with(LISTED) as engine:
        refused = [await verify(engine, address) for address in addresses]
    async with engine_with(LISTED, CLEAN, strategy=EgressStrategy.FAILOVER) as engine:
        single = [await verify(engine, address) for address in addresses]
        listed = await verify_list(engine, addresses)
    assert {v.reason for v in refused} == {Reason.BLOCKED}
    assert {v.verdict for v in (*single, *listed)} == {Verdict.DELIVERABLE}
    assert {v.evidence.smtp.egress for v in (*single, *listed) if v.evidence.smtp} == {"clean"}


async def test_every_scenario_has_the_same_result_through_a_proxy() -> None:
    async with (
        socks_server(Socks("ann", "pw")) as socks,
        engine_with(through(socks, "proxy")) as engine,
    ):
        results = await asyncio.gather(*(verify(engine, row["address"]) for row in SCENARIOS))
    assert mismatches(results) == []
    assert socks.names == []


async def test_a_proxy_dies_in_the_middle_of_thousands() -> None:
    domains = 100
    addresses = [f"user{n}@d{n * domains // 6_000}.sink.test" for n in range(6_000)]
    async with (
        socks_server(Socks(source="127.0.1.1", dies_after=30)) as dying,
        socks_server(Socks(source="127.0.1.2")) as good,
        engine_with(through(dying, "dying"), through(good, "good")) as engine,
    ):
        results = await verify_list(engine, addresses)  # fails if one has two results or none
        faults = {egress.name: egress.health.faults for egress in engine.egresses}
    assert Counter(v.reason for v in results) == {Reason.CATCH_ALL: 6_000}
    ways = Counter(v.evidence.smtp.egress for v in results if v.evidence.smtp)
    assert set(ways) == {"dying", "good"}
    assert faults["dying"] > 0
    assert faults["good"] == 0
