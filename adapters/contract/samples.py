"""Samples: the results that the sandbox gives instead of verifying an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from adapters.contract.problems import ProblemKind
from engine.model import Address, Meaning, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """A result of the sandbox, without the facts that follow from the address."""

    verdict: Verdict
    reason: Reason
    meaning: Meaning | None = None
    """Of the reply in the simulated SMTP dialogue; None if there was no dialogue."""
    evidence_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields of the evidence that replace those from the address and the simulated dialogue."""
    domain_exists: bool = True
    score: int | None = None
    """None for the score that follows from the evidence."""


ChooseSample: TypeAlias = Callable[[Address], Sample | ProblemKind | None]
"""The result, or the error, that a vendor documents for a test address; None for any other. Pure.
Its argument is well formed."""
