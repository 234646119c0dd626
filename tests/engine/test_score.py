"""Scores: bands, starting points, and each weight by itself."""

from dataclasses import replace
from itertools import product

import pytest

from engine.model import Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict
from engine.score import BANDS, UNDELIVERABLE_WEIGHTS, WEIGHTS, score

GOOD = Evidence(
    dns=Dns.MX, smtp=Smtp(Meaning.ACCEPTED, Stage.RCPT), catch_all=False, spf=True, dmarc=True
)
ACCEPTED = (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL)
EMPTY = Evidence()


@pytest.mark.parametrize(
    ("verdict", "reason", "evidence", "expected"),
    [
        (*ACCEPTED, GOOD, 100),
        (*ACCEPTED, replace(GOOD, role=True), 92),
        (*ACCEPTED, replace(GOOD, no_reply=True), 88),
        (*ACCEPTED, replace(GOOD, free=True), 98),
        (*ACCEPTED, replace(GOOD, did_you_mean="a@gmail.com"), 88),
        (*ACCEPTED, replace(GOOD, catch_all=None), 95),
        (*ACCEPTED, replace(GOOD, dns=Dns.IMPLICIT_MX), 97),
        (*ACCEPTED, replace(GOOD, spf=False, dmarc=False), 100),  # not looked up for everybody
        (*ACCEPTED, replace(GOOD, spf=None, dmarc=None), 100),
        (*ACCEPTED, replace(GOOD, smtp=Smtp(Meaning.MAILBOX_RATE_LIMITED, Stage.RCPT)), 95),
        (*ACCEPTED, replace(GOOD, role=True, no_reply=True, did_you_mean="x"), 80),
        (Verdict.RISKY, Reason.CATCH_ALL, replace(GOOD, catch_all=True), 70),
        (Verdict.RISKY, Reason.CATCH_ALL, replace(GOOD, catch_all=True, role=True), 62),
        (Verdict.RISKY, Reason.DISPOSABLE, replace(GOOD, disposable=True), 40),
        (Verdict.RISKY, Reason.MAILBOX_FULL, replace(GOOD, free=True), 53),
        (Verdict.UNKNOWN, Reason.NOT_CHECKED, Evidence(dns=Dns.MX), 60),
        (Verdict.UNKNOWN, Reason.DNS_ERROR, Evidence(dns=Dns.SERVFAIL), 20),
        (
            Verdict.UNKNOWN,
            Reason.UNAVAILABLE_SMTP,
            Evidence(smtp=Smtp(Meaning.CANNOT_VERIFY, Stage.RCPT)),
            60,
        ),
        (Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, EMPTY, 0),
        (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, Evidence(dns=Dns.NXDOMAIN), 0),
        (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, Evidence(dns=Dns.UNRESOLVABLE), 10),
        (
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            Evidence(smtp=Smtp(Meaning.MAILBOX_NOT_FOUND, Stage.RCPT), role=True),
            0,
        ),
        (
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            Evidence(smtp=Smtp(Meaning.DOMAIN_NOT_SERVED, Stage.RCPT)),
            15,
        ),
        (
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            Evidence(smtp=Smtp(Meaning.SMTPUTF8_UNSUPPORTED, Stage.RCPT)),
            20,
        ),
    ],
)
def test_score(verdict: Verdict, reason: Reason, evidence: Evidence, expected: int) -> None:
    assert score(verdict, reason, evidence) == expected


WORST = Evidence(
    disposable=True, free=True, role=True, no_reply=True, did_you_mean="x", spf=False,
    dmarc=False, dns=Dns.IMPLICIT_MX,
)  # fmt: skip


@pytest.mark.parametrize(("verdict", "reason"), list(product(Verdict, Reason)))
def test_no_evidence_moves_a_score_out_of_its_band(verdict: Verdict, reason: Reason) -> None:
    lowest, highest = BANDS[verdict]
    for evidence in (EMPTY, GOOD, WORST):
        points = score(verdict, reason, evidence)
        assert isinstance(points, int)
        assert lowest <= points <= highest


def test_only_deliverable_addresses_score_80_or_more() -> None:
    assert all(high < 80 for verdict, (_, high) in BANDS.items() if verdict != Verdict.DELIVERABLE)


def test_every_weight_has_points_a_reason_and_a_name_of_its_own() -> None:
    weights = (*WEIGHTS, *UNDELIVERABLE_WEIGHTS)
    for weight in weights:
        assert weight.points != 0
        assert weight.why.endswith(".")
    assert len({weight.name for weight in weights}) == len(weights)
