"""Verdicts: the tables are complete, and the rules apply in their order."""

from dataclasses import replace

import pytest

from engine.address.syntax import parse_address
from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict
from engine.score import BANDS, START_POINTS, score
from engine.verdict import VERDICT_BY_DNS, VERDICT_BY_MEANING, VERDICT_RULES, judge

ADDRESS = parse_address("alice@example.com")
ALL = Checks()


def session(meaning: Meaning, stage: Stage = Stage.RCPT) -> Evidence:
    return Evidence(dns=Dns.MX, smtp=Smtp(meaning, stage))


def test_every_dns_outcome_has_a_row_that_agrees_with_can_receive() -> None:
    assert set(VERDICT_BY_DNS) == set(Dns)
    for dns, row in VERDICT_BY_DNS.items():
        if dns.can_receive is False:
            assert row == (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN)
        elif dns.can_receive:
            assert row is None


def test_every_meaning_has_a_row_that_agrees_with_accepted() -> None:
    assert set(VERDICT_BY_MEANING) == set(Meaning)
    for meaning, (verdict, _) in VERDICT_BY_MEANING.items():
        accepted = Smtp(meaning, Stage.RCPT).accepted
        assert (verdict is Verdict.DELIVERABLE) == (accepted is True)
        assert verdict is not Verdict.UNDELIVERABLE or accepted is not True


def test_a_refusal_of_us_says_nothing_about_the_mailbox() -> None:
    about_us = {
        Meaning.IP_BLOCKED, Meaning.RDNS_REQUIRED, Meaning.SENDER_AUTH_FAILED,
        Meaning.SENDER_REJECTED, Meaning.HELO_REJECTED, Meaning.AUTH_REQUIRED,
        Meaning.TLS_REQUIRED, Meaning.POLICY,
    }  # fmt: skip
    for meaning in about_us:
        assert VERDICT_BY_MEANING[meaning] == (Verdict.UNKNOWN, Reason.BLOCKED)


@pytest.mark.parametrize("meaning", list(Meaning))
def test_a_session_without_further_evidence_gets_the_verdict_of_its_row(meaning: Meaning) -> None:
    assert judge(ADDRESS, session(meaning), ALL) == VERDICT_BY_MEANING[meaning]


ACCEPTED = session(Meaning.ACCEPTED)
NOT_FOUND = session(Meaning.MAILBOX_NOT_FOUND)
TEMPORARY = session(Meaning.TEMPORARY)
UNRECOGNISED = session(Meaning.REJECTED_UNRECOGNISED)
DOMAIN_ONLY = Evidence(dns=Dns.MX)
NO_SMTP = Checks(smtp=False)
NONE = Checks(dns=False, smtp=False)

CASES = [
    # name, address, evidence, checks, verdict, reason
    ("bad syntax", parse_address("a..b@x.org"), Evidence(), ALL, "undeliverable", "invalid_email"),
    ("null MX", ADDRESS, Evidence(dns=Dns.NULL_MX), ALL, "undeliverable", "invalid_domain"),
    ("domain missing", ADDRESS, Evidence(dns=Dns.NXDOMAIN), ALL, "undeliverable", "invalid_domain"),
    ("name server fails", ADDRESS, Evidence(dns=Dns.SERVFAIL), ALL, "unknown", "dns_error"),
    ("name server silent", ADDRESS, Evidence(dns=Dns.TIMEOUT), ALL, "unknown", "dns_error"),
    ("accepted", ADDRESS, ACCEPTED, ALL, "deliverable", "accepted_email"),
    ("role", ADDRESS, replace(ACCEPTED, role=True), ALL, "deliverable", "accepted_email"),
    ("control refused", ADDRESS, replace(ACCEPTED, catch_all=False), ALL, "deliverable",
     "accepted_email"),
    ("control accepted", ADDRESS, replace(ACCEPTED, catch_all=True), ALL, "risky", "catch_all"),
    ("refused in a catch-all domain", ADDRESS, replace(NOT_FOUND, catch_all=True), ALL,
     "undeliverable", "rejected_email"),
    ("unrecognised refusal, control accepted", ADDRESS, replace(UNRECOGNISED, catch_all=True), ALL,
     "undeliverable", "rejected_email"),
    ("unrecognised refusal, control refused", ADDRESS, replace(UNRECOGNISED, catch_all=False), ALL,
     "unknown", "blocked"),
    ("disposable accepted", ADDRESS, replace(ACCEPTED, disposable=True), ALL, "risky",
     "disposable"),
    ("disposable catch-all", ADDRESS, replace(ACCEPTED, disposable=True, catch_all=True), ALL,
     "risky", "disposable"),
    ("disposable refused", ADDRESS, replace(NOT_FOUND, disposable=True), ALL, "undeliverable",
     "rejected_email"),
    ("disposable, temporary refusal", ADDRESS, replace(TEMPORARY, disposable=True), ALL, "unknown",
     "unavailable_smtp"),
    ("disposable, SMTP check off", ADDRESS, replace(DOMAIN_ONLY, disposable=True), NO_SMTP, "risky",
     "disposable"),
    ("disposable, domain missing", ADDRESS, Evidence(dns=Dns.NXDOMAIN, disposable=True), ALL,
     "undeliverable", "invalid_domain"),
    ("spam trap", ADDRESS, replace(ACCEPTED, spamtrap=True), ALL, "risky", "low_quality"),
    ("SMTP check off", ADDRESS, DOMAIN_ONLY, NO_SMTP, "unknown", "not_checked"),
    ("all checks off", ADDRESS, Evidence(), NONE, "unknown", "not_checked"),
    ("SMTP check off, domain missing", ADDRESS, Evidence(dns=Dns.NXDOMAIN), NO_SMTP,
     "undeliverable", "invalid_domain"),
    ("SMTP check on, no session", ADDRESS, DOMAIN_ONLY, ALL, "unknown", "unexpected_error"),
    ("no connection", ADDRESS, session(Meaning.TIMED_OUT, Stage.CONNECT), ALL,
     "unknown", "no_connect"),
    ("no banner", ADDRESS, session(Meaning.TIMED_OUT, Stage.BANNER), ALL, "unknown",
     "timeout"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "evidence", "checks", "verdict", "reason"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_verdict_and_reason(
    address: Address, evidence: Evidence, checks: Checks, verdict: str, reason: str
) -> None:
    assert judge(address, evidence, checks) == (verdict, reason)


def test_every_verdict_with_its_reason_has_a_starting_point() -> None:
    rows = {row for row in VERDICT_BY_DNS.values() if row} | set(VERDICT_BY_MEANING.values())
    rows |= {rule.becomes for rule in VERDICT_RULES}
    rows |= {
        (Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
        (Verdict.UNKNOWN, Reason.NOT_CHECKED),
        (Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR),
    }
    assert rows == set(START_POINTS)
    for (verdict, reason), start in START_POINTS.items():
        lowest, highest = BANDS[verdict]
        assert lowest <= start <= highest
        assert score(verdict, reason, Evidence()) == start
