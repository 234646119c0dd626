"""What several verdicts on one address come to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from engine.model import Reason, Verdict, Verification
from engine.score import score
from gateway.upstreams.routing.strategies import most_informative


def agreed_verification(
    verifications: Sequence[Verification], required: int
) -> Verification | None:
    """The first verification with a verdict that `required` of them have; unknown has no vote."""
    votes = Counter(v.verdict for v in verifications if v.verdict is not Verdict.UNKNOWN)
    for verdict, count in votes.most_common(1):
        if count >= required:
            return next(v for v in verifications if v.verdict is verdict)
    return None


def undecided_verification(verifications: Sequence[Verification]) -> Verification:
    """The verification if too few agree: risky if verdicts contradict each other, else unknown."""
    best = most_informative(verifications)
    verdicts = {v.verdict for v in verifications}
    if len(verdicts - {Verdict.UNKNOWN}) > 1:
        verdict, reason = Verdict.RISKY, Reason.LOW_QUALITY
    else:
        unknown = next((v for v in verifications if v.verdict is Verdict.UNKNOWN), None)
        verdict = Verdict.UNKNOWN
        reason = unknown.reason if unknown else Reason.UNEXPECTED_ERROR
    points = score(verdict, reason, best.evidence)
    return replace(best, verdict=verdict, reason=reason, score=points)
