"""All scenarios of the loopback mail testbed, verified singly at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engine.model import Checks, Verification
from engine.probe import ProbeEngine
from tests.engine.asking import verify
from tests.mail_testbed import CONFIG, SCENARIOS

pytestmark = pytest.mark.testbed

# Where the engine's reason is one of the others that the scenario calls defensible.
DEFENSIBLE_REASONS = {
    "closes-at-once": "unavailable_smtp: many servers hang up on senders that they block",
    "code-252": "unavailable_smtp: accepted_email would promise what the server did not",
}


async def test_every_scenario_gets_its_verdict_and_reason() -> None:
    assert len(SCENARIOS) > 100
    engine = ProbeEngine.open(CONFIG)
    try:
        results = await asyncio.gather(*(verify(engine, row["address"]) for row in SCENARIOS))
    finally:
        await engine.aclose()
    assert mismatches(results) == []


def mismatches(results: Sequence[Verification]) -> list[str]:
    """The scenarios with another verdict or reason than theirs; `results` in their order."""
    return [
        f"{row['id']}: {result.verdict} {result.reason}, not {row['verdict']} {row['reason']}:"
        f" {result.evidence.smtp}"
        for row, result in zip(SCENARIOS, results, strict=True)
        if not _is_right(row, result)
    ]


def _is_right(row: dict[str, Any], result: Verification) -> bool:
    reasons = {row["reason"]}
    if row["id"] in DEFENSIBLE_REASONS:
        reasons |= set(row.get("also_reason", []))
    return result.verdict == row["verdict"] and result.reason in reasons


async def test_traits_of_scenarios() -> None:
    scenarios = [row for row in SCENARIOS if row.get("traits")]
    engine = ProbeEngine.open(CONFIG)
    try:
        checks = Checks(policies=True)
        results = await asyncio.gather(
            *(verify(engine, row["address"], checks) for row in scenarios)
        )
    finally:
        await engine.aclose()
    wrong = [
        f"{row['id']}: {trait} is {_trait(result, trait)}, not {value}"
        for row, result in zip(scenarios, results, strict=True)
        for trait, value in row["traits"].items()
        if trait != "idn" and _trait(result, trait) != (bool(value) if trait == "dmarc" else value)
    ]
    assert not wrong


def _trait(result: Verification, trait: str) -> object:
    return getattr(result.evidence, trait)
