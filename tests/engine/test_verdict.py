"""Verdicts: every DNS answer and every SMTP meaning has a row, and the rules in their order."""

from dataclasses import replace

import pytest

from engine.address.syntax import parse_address
from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict
from engine.score import BANDS, START_POINTS, score
from engine.verdict import VERDICT_BY_DNS, VERDICT_BY_MEANING, VERDICT_RULES, judge

ADDRESS = parse_address("alice@example.com")
FULL = Checks()


def conversation(meaning: Meaning, stage: Stage = Stage.RCPT) -> Evidence:
    return Evidence(dns=Dns.MX, smtp=Smtp(meaning, stage))


def test_every_dns_answer_has_a_row_that_agrees_with_the_vocabulary() -> None:
    assert set(VERDICT_BY_DNS) == set(Dns)
    for dns, row in VERDICT_BY_DNS.items():
        if dns.can_receive is False:
            assert row == (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN)
        elif dns.can_receive:
            assert row is None


def test_every_meaning_has_a_row_that_agrees_with_the_vocabulary() -> None:
    assert set(VERDICT_BY_MEANING) == set(Meaning)
    for meaning, (verdict, _) in VERDICT_BY_MEANING.items():
        accepted = Smtp(meaning, Stage.RCPT).accepted
        assert (verdict is Verdict.DELIVERABLE) == (accepted is True)
        assert verdict is not Verdict.UNDELIVERABLE or accepted is not True


def test_no_refusal_of_us_speaks_of_the_mailbox() -> None:
    about_us = {
        Meaning.IP_BLOCKED, Meaning.RDNS_REQUIRED, Meaning.SENDER_AUTH_FAILED,
        Meaning.SENDER_REJECTED, Meaning.HELO_REJECTED, Meaning.AUTH_REQUIRED,
        Meaning.TLS_REQUIRED, Meaning.POLICY,
    }  # fmt: skip
    for meaning in about_us:
        assert VERDICT_BY_MEANING[meaning] == (Verdict.UNKNOWN, Reason.BLOCKED)


@pytest.mark.parametrize("meaning", list(Meaning))
def test_a_bare_conversation_is_judged_by_its_row(meaning: Meaning) -> None:
    assert judge(ADDRESS, conversation(meaning), FULL) == VERDICT_BY_MEANING[meaning]


ACCEPTED = conversation(Meaning.ACCEPTED)
NOT_FOUND = conversation(Meaning.MAILBOX_NOT_FOUND)
LATER = conversation(Meaning.TEMPORARY)
BARE_NO = conversation(Meaning.REJECTED_UNRECOGNISED)
DOMAIN_ONLY = Evidence(dns=Dns.MX)
NO_SMTP = Checks(smtp=False)
NOTHING = Checks(dns=False, smtp=False)

CASES = [
    # what, address, evidence, checks, verdict, reason
    ("bad syntax", parse_address("a..b@x.org"), Evidence(), FULL, "undeliverable", "invalid_email"),
    ("null MX", ADDRESS, Evidence(dns=Dns.NULL_MX), FULL, "undeliverable", "invalid_domain"),
    ("no domain", ADDRESS, Evidence(dns=Dns.NXDOMAIN), FULL, "undeliverable", "invalid_domain"),
    ("name server fails", ADDRESS, Evidence(dns=Dns.SERVFAIL), FULL, "unknown", "dns_error"),
    ("name server silent", ADDRESS, Evidence(dns=Dns.TIMEOUT), FULL, "unknown", "dns_error"),
    ("accepted", ADDRESS, ACCEPTED, FULL, "deliverable", "accepted_email"),
    ("role", ADDRESS, replace(ACCEPTED, role=True), FULL, "deliverable", "accepted_email"),
    ("control refused", ADDRESS, replace(ACCEPTED, catch_all=False), FULL, "deliverable",
     "accepted_email"),
    ("control accepted", ADDRESS, replace(ACCEPTED, catch_all=True), FULL, "risky", "catch_all"),
    ("refused in a catch-all domain", ADDRESS, replace(NOT_FOUND, catch_all=True), FULL,
     "undeliverable", "rejected_email"),
    ("bare refusal, control accepted", ADDRESS, replace(BARE_NO, catch_all=True), FULL,
     "undeliverable", "rejected_email"),
    ("both refused", ADDRESS, replace(BARE_NO, catch_all=False), FULL, "unknown", "blocked"),
    ("disposable accepted", ADDRESS, replace(ACCEPTED, disposable=True), FULL, "risky",
     "disposable"),
    ("disposable catch-all", ADDRESS, replace(ACCEPTED, disposable=True, catch_all=True), FULL,
     "risky", "disposable"),
    ("disposable refused", ADDRESS, replace(NOT_FOUND, disposable=True), FULL, "undeliverable",
     "rejected_email"),
    ("disposable later", ADDRESS, replace(LATER, disposable=True), FULL, "unknown",
     "unavailable_smtp"),
    ("disposable, no SMTP", ADDRESS, replace(DOMAIN_ONLY, disposable=True), NO_SMTP, "risky",
     "disposable"),
    ("disposable, domain gone", ADDRESS, Evidence(dns=Dns.NXDOMAIN, disposable=True), FULL,
     "undeliverable", "invalid_domain"),
    ("spam trap", ADDRESS, replace(ACCEPTED, spamtrap=True), FULL, "risky", "low_quality"),
    ("no SMTP asked for", ADDRESS, DOMAIN_ONLY, NO_SMTP, "unknown", "not_checked"),
    ("nothing asked for", ADDRESS, Evidence(), NOTHING, "unknown", "not_checked"),
    ("no SMTP, domain gone", ADDRESS, Evidence(dns=Dns.NXDOMAIN), NO_SMTP, "undeliverable",
     "invalid_domain"),
    ("SMTP asked for, never done", ADDRESS, DOMAIN_ONLY, FULL, "unknown", "unexpected_error"),
    ("no answer to a dial", ADDRESS, conversation(Meaning.TIMED_OUT, Stage.CONNECT), FULL,
     "unknown", "no_connect"),
    ("no banner", ADDRESS, conversation(Meaning.TIMED_OUT, Stage.BANNER), FULL, "unknown",
     "timeout"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "evidence", "checks", "verdict", "reason"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_judgement(
    address: Address, evidence: Evidence, checks: Checks, verdict: str, reason: str
) -> None:
    assert judge(address, evidence, checks) == (verdict, reason)


def test_every_judgement_has_a_place_on_the_score() -> None:
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
