"""Every scenario of the loopback mail testbed, through the engine, all at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.model import Verification
from engine.probe import ProbeEngine
from tests.engine.asking import verify
from tests.mail_testbed import CONFIG, SCENARIOS

pytestmark = pytest.mark.testbed

# Where the engine's answer is another of those that the scenario calls defensible.
DEFENSIBLE_REASONS = {
    "closes-at-once": "unavailable_smtp: many servers hang up on senders that they block",
    "code-252": "unavailable_smtp: accepted_email would promise what the server did not",
}


async def test_every_scenario_gets_its_verdict_and_reason() -> None:
    assert len(SCENARIOS) > 100
    engine = ProbeEngine.open(CONFIG)
    try:
        answers = await asyncio.gather(*(verify(engine, row["address"]) for row in SCENARIOS))
    finally:
        await engine.aclose()
    wrong = [
        f"{row['id']}: {answer.verdict} {answer.reason}, not {row['verdict']} {row['reason']}: "
        f"{answer.evidence.smtp}"
        for row, answer in zip(SCENARIOS, answers, strict=True)
        if not _is_right(row, answer)
    ]
    assert not wrong


def _is_right(row: dict[str, Any], answer: Verification) -> bool:
    reasons = {row["reason"]}
    if row["id"] in DEFENSIBLE_REASONS:
        reasons |= set(row.get("also_reason", []))
    return answer.verdict == row["verdict"] and answer.reason in reasons


async def test_traits_are_found() -> None:
    scenarios = [row for row in SCENARIOS if row.get("traits")]
    engine = ProbeEngine.open(CONFIG)
    try:
        answers = await asyncio.gather(*(verify(engine, row["address"]) for row in scenarios))
    finally:
        await engine.aclose()
    wrong = [
        f"{row['id']}: {trait} is {_trait(answer, trait)}, not {value}"
        for row, answer in zip(scenarios, answers, strict=True)
        for trait, value in row["traits"].items()
        if trait != "idn" and _trait(answer, trait) != (bool(value) if trait == "dmarc" else value)
    ]
    assert not wrong


def _trait(answer: Verification, trait: str) -> object:
    return getattr(answer.evidence, trait)
