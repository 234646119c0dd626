"""The loopback mail testbed's scenarios, and thousands of its addresses, as lists."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from engine.model import Reason, Verdict
from engine.probe import ProbeEngine
from tests.engine.asking import verify, verify_list
from tests.engine.test_testbed import _is_right
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
    answers = await verify_list(engine, texts)
    later = [i for i, answer in enumerate(answers) if answer.reason is Reason.GREYLISTED]
    if later:
        await asyncio.sleep(GREYLISTED_FOR_S)  # the server's clock, not ours
        again = await verify_list(engine, [texts[i] for i in later])
        for i, answer in zip(later, again, strict=True):
            answers[i] = answer
    wrong = [
        f"{row['id']}: {answer.verdict} {answer.reason}, not {row['verdict']} {row['reason']}: "
        f"{answer.evidence.smtp}"
        for row, answer in zip(SCENARIOS, answers, strict=True)
        if not _is_right(row, answer)
    ]
    assert not wrong


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
async def test_long_lists(
    engine: ProbeEngine,
    domain: str,
    known: Sequence[str],
    unknown: Sequence[str],
    if_known: tuple[Verdict, Reason],
    if_unknown: tuple[Verdict, Reason],
) -> None:
    names = [*known, *unknown]
    random.Random(1).shuffle(names)
    answers = await verify_list(engine, [f"{name}@{domain}" for name in names])
    expected = dict.fromkeys(known, if_known) | dict.fromkeys(unknown, if_unknown)
    wrong = [
        (name, answer.verdict, answer.reason, answer.evidence.smtp)
        for name, answer in zip(names, answers, strict=True)
        if (answer.verdict, answer.reason) != expected[name]
    ]
    assert not wrong
    singles = await asyncio.gather(
        *(verify(engine, f"{name}@{domain}") for name in (*known[:2], *unknown[:2]))
    )
    assert [(single.verdict, single.reason) for single in singles] == [
        expected[name] for name in (*known[:2], *unknown[:2])
    ]
