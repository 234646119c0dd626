"""Where verifications are made: from evidence, from a verdict, and for want of either. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from engine.model import Address, Attempt, Checks, Evidence, Meaning, Reason, Verdict, Verification
from engine.score import score
from engine.verdict import is_temporary, judge


def verification_from_evidence(
    address: Address,
    evidence: Evidence,
    checks: Checks,
    *,
    verified_at: datetime,
    duration_s: float = 0.0,
    control_deferred: bool = False,
) -> Verification:
    """The local engine's result: the evidence, judged and scored.

    `control_deferred`: the host refused the control address for now, so that it is not known yet
    whether the domain accepts every name.
    """
    if evidence.did_you_mean is not None and _has_mailbox(evidence):
        evidence = replace(evidence, did_you_mean=None)
    verdict, reason = judge(address, evidence, checks)
    return verification_from_verdict(
        address,
        verdict,
        reason,
        evidence,
        checks,
        verified_at=verified_at,
        duration_s=duration_s,
        temporary=control_deferred or is_temporary(evidence),
    )


def _has_mailbox(evidence: Evidence) -> bool:
    """Whether the domain takes mail for this name and not for every name, so that it is no typo.

    Domains that are registered for the typos of others accept every name.
    """
    smtp = evidence.smtp
    if smtp is None or evidence.catch_all is True:
        return False
    if smtp.meaning is Meaning.ACCEPTED:
        return evidence.catch_all is False
    return smtp.meaning in (Meaning.MAILBOX_FULL, Meaning.MAILBOX_RATE_LIMITED)


def verification_from_verdict(
    address: Address,
    verdict: Verdict,
    reason: Reason,
    evidence: Evidence,
    checks: Checks,
    *,
    verified_at: datetime,
    duration_s: float = 0.0,
    source: str = "local",
    source_score: int | None = None,
    attempts: tuple[Attempt, ...] = (),
    temporary: bool = False,
) -> Verification:
    """A result with a known verdict; `source_score` (0..100) takes the place of our own score."""
    points = score(verdict, reason, evidence) if source_score is None else source_score
    return Verification(
        address=address,
        verdict=verdict,
        reason=reason,
        score=points,
        evidence=evidence,
        checks=checks,
        verified_at=verified_at,
        duration_s=duration_s,
        source=source,
        attempts=attempts,
        temporary=temporary,
    )


def unknown_verification(
    address: Address,
    checks: Checks,
    *,
    verified_at: datetime,
    source: str,
    reason: Reason = Reason.UNEXPECTED_ERROR,
    attempts: tuple[Attempt, ...] = (),
) -> Verification:
    """The result for an address that no source had a result for."""
    return verification_from_verdict(
        address,
        Verdict.UNKNOWN,
        reason,
        Evidence(),
        checks,
        verified_at=verified_at,
        source=source,
        attempts=attempts,
    )
