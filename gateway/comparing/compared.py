"""A source and what it answered, as the figures are made of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import Verdict
from gateway.outcomes.answers import SourceAnswer

DECIDED = frozenset({Verdict.DELIVERABLE, Verdict.UNDELIVERABLE})
"""The verdicts that say whether mail arrives."""


@dataclass(frozen=True, slots=True)
class ComparedSource:
    """One source and its answers, by the number of the question."""

    name: str
    answers: Mapping[int, SourceAnswer]
    faults: Mapping[int, str]
    kept: int
    """Answers that were known before, and cost nothing in this run."""
    price: int
    """Of one answer, in millionths of the currency."""
    free_verdicts: frozenset[Verdict]
    """Verdicts that it does not charge for."""
    stopped_by: str = ""


def price_of(source: ComparedSource, verdict: Verdict) -> int:
    """What an answer costs, in millionths of the currency."""
    return 0 if verdict in source.free_verdicts else source.price
