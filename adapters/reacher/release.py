"""Where release 0.11.7 differs from its documentation, for clients that rely on the release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from engine.model import Evidence, Reason, Verdict, Verification

View: TypeAlias = Callable[[Verification], Verification]
"""The verification as the server describes it."""

CSV_FAILURE = "accepts_email should be a boolean"
"""What `/v1/bulk/{id}/results?format=csv` fails with: it looks for a member that does not exist."""


def as_documented(v: Verification) -> Verification:
    return v


def without_disposable(v: Verification) -> Verification:
    """A disposable address as a malformed one: the release's check of the syntax refuses it."""
    if not v.evidence.disposable and v.reason is not Reason.DISPOSABLE:
        return v
    return replace(
        v,
        address=replace(v.address, error="It is an address of a disposable domain."),
        verdict=Verdict.UNDELIVERABLE,
        reason=Reason.INVALID_EMAIL,
        evidence=Evidence(),
    )
