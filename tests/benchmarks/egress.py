"""Lists through two proxies and from two addresses, compared with the direct way in one run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import uvloop

from engine.address.syntax import parse_address
from engine.probe import ProbeEngine
from engine.smtp.terms import EgressConfig, Identity, SocksProxy
from tests.benchmarks.probing import say, there_is_a_testbed
from tests.benchmarks.servers import ours, running
from tests.mail_testbed import CONFIG

COUNT = 20_000
SOURCES = ("127.0.1.1", "127.0.1.2")
ME = Identity(CONFIG.helo, CONFIG.mail_from)


def egress(rounds: int, _: float) -> None:
    """The proxies share the processor with all else, each in a process of its own."""
    if not there_is_a_testbed("egress"):
        return
    with running(*ours("socks")) as one, running(*ours("socks")) as other:
        ways: dict[str, tuple[EgressConfig, ...]] = {
            "direct": (),
            "two addresses": tuple(EgressConfig(ME, ip, ip) for ip in SOURCES),
            "two proxies": tuple(
                EgressConfig(ME, f"p{port}", proxy=SocksProxy("127.0.0.1", port))
                for port in (one.port, other.port)
            ),
        }
        for domains in (1, 400, 4_000):
            best = dict.fromkeys(ways, 0.0)
            for _round in range(rounds):
                for name, egresses in ways.items():
                    best[name] = max(best[name], uvloop.run(_addresses_per_s(domains, egresses)))
            shown = ", ".join(
                f"{name} {per_s:,.0f}/s ({per_s / best['direct']:.2f})"
                for name, per_s in best.items()
            )
            say(f"{COUNT:,} addresses, {domains:,} domains: {shown}")


async def _addresses_per_s(domains: int, egresses: Iterable[EgressConfig]) -> float:
    engine = ProbeEngine.open(replace(CONFIG, egresses=tuple(egresses)))
    texts = (f"user{n}@d{n * domains // COUNT}.sink.test" for n in range(COUNT))
    began = time.perf_counter()
    try:
        answered = 0
        async for _ in engine.verify_many(map(parse_address, texts)):
            answered += 1
        assert answered == COUNT
        return COUNT / (time.perf_counter() - began)
    finally:
        await engine.aclose()
