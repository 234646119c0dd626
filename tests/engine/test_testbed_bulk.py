"""The scenarios of the loopback mail testbed, and thousands of its addresses, as batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from engine.model import Reason, Verdict
from engine.probe import ProbeEngine
from tests.engine.asking import verify, verify_list
from tests.engine.test_testbed import mismatches
from tests.mail_testbed import CONFIG, SCENARIOS

pytestmark = pytest.mark.testbed

GREYLISTED_FOR_S = 3.5

REJECTED = (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL)
ACCEPTED = (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL)
CATCH_ALL = (Verdict.RISKY, Reason.CATCH_ALL)


@pytest.fixture
async def engine() -> AsyncIterator[ProbeEngine]:
    engine = ProbeEngine.open(CONFIG)
    try:
        yield engine
    finally:
        await engine.aclose()


async def test_every_scenario_gets_its_verdict_and_reason(engine: ProbeEngine) -> None:
    assert len(SCENARIOS) > 100
    texts = [row["address"] for row in SCENARIOS]
    results = await verify_list(engine, texts)
    later = [i for i, result in enumerate(results) if result.reason is Reason.GREYLISTED]
    if later:
        await asyncio.sleep(GREYLISTED_FOR_S)  # the server's clock, not ours
        again = await verify_list(engine, [texts[i] for i in later])
        for i, result in zip(later, again, strict=True):
            results[i] = result
    assert mismatches(results) == []


KNOWN = [f"u{number:03}" for number in range(500)]
UNKNOWN = [f"nobody{number}" for number in range(250)]
FEW = [f"user{number:02}" for number in range(1, 20)]


@pytest.mark.parametrize(
    ("domain", "known", "unknown", "if_known", "if_unknown"),
    [
        ("bulk-postfix.test", KNOWN, UNKNOWN, ACCEPTED, REJECTED),
        ("bulk-exim.test", KNOWN, UNKNOWN, ACCEPTED, REJECTED),
        ("bulk-opensmtpd.test", KNOWN, UNKNOWN, ACCEPTED, REJECTED),
        ("catchall.test", KNOWN, UNKNOWN, CATCH_ALL, CATCH_ALL),
        ("catchall-exim.test", KNOWN, UNKNOWN, CATCH_ALL, CATCH_ALL),
        ("picky.test", FEW, UNKNOWN[:10], ACCEPTED, REJECTED),
        ("connlimit.test", FEW, UNKNOWN[:40], ACCEPTED, REJECTED),
        ("dropper.test", ["user"], UNKNOWN[:40], ACCEPTED, REJECTED),
    ],
)
async def test_long_batches(
    engine: ProbeEngine,
    domain: str,
    known: Sequence[str],
    unknown: Sequence[str],
    if_known: tuple[Verdict, Reason],
    if_unknown: tuple[Verdict, Reason],
) -> None:
    names = [*known, *unknown]
    random.Random(1).shuffle(names)
    results = await verify_list(engine, [f"{name}@{domain}" for name in names])
    expected = dict.fromkeys(known, if_known) | dict.fromkeys(unknown, if_unknown)
    wrong = [
        (name, result.verdict, result.reason, result.evidence.smtp)
        for name, result in zip(names, results, strict=True)
        if (result.verdict, result.reason) != expected[name]
    ]
    assert not wrong
    singles = await asyncio.gather(
        *(verify(engine, f"{name}@{domain}") for name in (*known[:2], *unknown[:2]))
    )
    assert [(single.verdict, single.reason) for single in singles] == [
        expected[name] for name in (*known[:2], *unknown[:2])
    ]
