"""Verifications agree with the verdicts and scores of the tables, from every source."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.address.syntax import parse_address
from engine.model import Attempt, Checks, Dns, Evidence, Reason, Verdict
from engine.score import score
from engine.verdict import judge
from engine.verification import (
    unknown_verification,
    verification_from_evidence,
    verification_from_verdict,
)

ADDRESS = parse_address("ada@Example.com")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "evidence", [Evidence(), Evidence(dns=Dns.NXDOMAIN), Evidence(dns=Dns.MX, disposable=True)]
)
def test_evidence_is_judged_and_scored(evidence: Evidence) -> None:
    made = verification_from_evidence(ADDRESS, evidence, Checks(), verified_at=NOW, duration_s=0.5)
    verdict, reason = judge(ADDRESS, evidence, Checks())
    assert (made.verdict, made.reason) == (verdict, reason)
    assert made.score == score(verdict, reason, evidence)
    assert (made.verified_at, made.duration_s, made.source) == (NOW, 0.5, "local")


@pytest.mark.parametrize(("source_score", "expected"), [(None, 100), (7, 7)])
def test_the_score_of_a_source_takes_the_place_of_ours(
    source_score: int | None, expected: int
) -> None:
    made = verification_from_verdict(
        ADDRESS,
        Verdict.DELIVERABLE,
        Reason.ACCEPTED_EMAIL,
        Evidence(catch_all=False),
        Checks(),
        verified_at=NOW,
        source="v0",
        source_score=source_score,
    )
    assert (made.score, made.source) == (expected, "v0")


def test_an_unknown_verdict_without_evidence_scores_by_its_reason() -> None:
    unexpected = unknown_verification(ADDRESS, Checks(), verified_at=NOW, source="none")
    late = unknown_verification(
        ADDRESS, Checks(), verified_at=NOW, source="none", reason=Reason.TIMEOUT
    )
    assert unexpected.verdict is late.verdict is Verdict.UNKNOWN
    assert (unexpected.score, late.score) == (40, 35)


def test_an_equal_address_is_shown_as_its_client_wrote_it() -> None:
    made = unknown_verification(ADDRESS, Checks(), verified_at=NOW, source="none")
    other = parse_address("ada@EXAMPLE.com")
    made = replace(made, duration_s=0.5, cached=True, attempts=(Attempt("v0", "timed_out"),))
    assert made.for_address(other) == replace(made, address=other)
    assert made.for_address(parse_address("ada@Example.com")) is made
