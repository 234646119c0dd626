"""Every scenario of the loopback mail testbed, through the engine, all at once.

Needs the testbed up, and VERIPLEX_TESTBED to name its folder (the one of scenarios.json).
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.model import Verification
from engine.probe import ProbeConfig, ProbeEngine

pytestmark = pytest.mark.testbed

CONFIG = ProbeConfig(
    helo="probe.verifier.test",
    mail_from="probe@verifier.test",
    dns_servers=("127.0.0.53:53",),
    allow_private_networks=True,
)

# Where the engine's answer is another of those that the scenario calls defensible.
DEFENSIBLE_REASONS = {
    "closes-at-once": "unavailable_smtp: many servers hang up on senders that they block",
    "code-252": "unavailable_smtp: accepted_email would promise what the server did not",
}


def _scenarios() -> list[dict[str, Any]]:
    folder = os.environ.get("VERIPLEX_TESTBED")
    if not folder:
        return []
    rows: list[dict[str, Any]] = json.loads((Path(folder) / "scenarios.json").read_text("utf-8"))[
        "scenarios"
    ]
    return rows


async def test_every_scenario_gets_its_verdict_and_reason() -> None:
    scenarios = _scenarios()
    assert len(scenarios) > 100
    engine = ProbeEngine.open(CONFIG)
    try:
        answers = await asyncio.gather(*(engine.verify(row["address"]) for row in scenarios))
    finally:
        await engine.aclose()
    wrong = [
        f"{row['id']}: {answer.verdict} {answer.reason}, not {row['verdict']} {row['reason']}: "
        f"{answer.evidence.smtp}"
        for row, answer in zip(scenarios, answers, strict=True)
        if not _is_right(row, answer)
    ]
    assert not wrong


def _is_right(row: dict[str, Any], answer: Verification) -> bool:
    reasons = {row["reason"]}
    if row["id"] in DEFENSIBLE_REASONS:
        reasons |= set(row.get("also_reason", []))
    return answer.verdict == row["verdict"] and answer.reason in reasons


async def test_traits_are_found() -> None:
    scenarios = [row for row in _scenarios() if row.get("traits")]
    engine = ProbeEngine.open(CONFIG)
    try:
        answers = await asyncio.gather(*(engine.verify(row["address"]) for row in scenarios))
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
