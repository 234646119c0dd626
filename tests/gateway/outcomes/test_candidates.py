"""Replies that led to wrong verdicts, without anything of an address in them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.address.syntax import parse_address
from engine.model import Checks, Evidence, Meaning, Reason, Smtp, Stage, Verdict, Verification
from gateway.outcomes.answers import SourceAnswers
from gateway.outcomes.candidates import candidates_as_dict, read_candidates
from gateway.outcomes.recorder import AnswerRecorder
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.reply_texts import MAX_CHARACTERS, reply_text
from gateway.outcomes.statistics import Share
from gateway.outcomes.terms import MailOutcome, Outcome
from gateway.store import Store, open_store

NOW = 1_780_000_000.0
RECIPIENT = "ada.lovelace@firma.example"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "5.1.1 <ada.lovelace@firma.example>: Recipient address rejected: User unknown",
            "5.1.1 < >: recipient address rejected: user unknown",
        ),
        ("No such user: Ada.Lovelace", "no such user:"),
        ("relay for bob@other.example denied", "relay for (address) denied"),
        (
            "try 5.1.1 https://support.google.com/mail/?p=NoSuchUser 5b1f17b1804b1-432aa1-gsmtp",
            "try 5.1.1 (link) (id)",
        ),
        (
            "5.7.606 Access denied, banned sending IP [192.0.2.44] AS(1440)"
            " [AM7EUR03FT012.prod.protection.outlook.com 2026-11-30T12:00:00.123Z 08DBF1]",
            "5.7.606 access denied, banned sending ip [(ip)] as(1440) [(host) (id) (id)]",
        ),
        ("blocked 2001:db8::1 by zen.spamhaus.org", "blocked (ip) by (host)"),
        (
            "4.2.2 quota 102400 exceeded, try in 300 seconds",
            "4.2.2 quota (id) exceeded, try in 300 seconds",
        ),
        ("user unknown\r\n\x1b[31m", "user unknown [31m"),
    ],
)
def test_what_is_an_addresss_own_is_taken_out(text: str, shown: str) -> None:
    assert reply_text(text, RECIPIENT) == shown
    assert reply_text(shown, RECIPIENT) == shown


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_address_is_left(before: str, after: str) -> None:
    found = reply_text(f"{before} <{RECIPIENT}> bob@other.example {after}", RECIPIENT)
    assert "lovelace" not in found
    assert not re.search(r"\w@\w+\.\w", found)
    assert len(found) <= MAX_CHARACTERS


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


def verification(name: str, verdict: Verdict, code: int, text: str) -> Verification:
    address = parse_address(f"{name}@firma.example")
    enhanced = "5.1.1" if code == 550 else None
    smtp = Smtp(Meaning.MAILBOX_NOT_FOUND, Stage.RCPT, code=code, enhanced=enhanced, text=text)
    return Verification(
        address=address,
        verdict=verdict,
        reason=Reason.REJECTED_EMAIL,
        score=0,
        evidence=Evidence(smtp=smtp),
        checks=Checks(),
        verified_at=datetime.fromtimestamp(NOW, UTC),
    )


async def test_candidates(store: Store) -> None:
    answers = SourceAnswers(store, b"secret")
    records = OutcomeRecords(store, answers)
    recorder = AnswerRecorder(answers, records, keep_s=9.0, clock=lambda: NOW)
    for n in range(40):
        name = f"person{n:02}"
        text = f"5.1.1 <{name}@firma.example>: gone away, ticket {n}{n}{n}{n}{n}"
        recorder.record(verification(name, Verdict.UNDELIVERABLE, 550, text))
    recorder.record(verification("open", Verdict.UNKNOWN, 451, "4.7.1 come back"))
    recorder.record(verification("well", Verdict.DELIVERABLE, 250, "well@firma.example ok"))
    await recorder.write()
    bounce = "no such user well here, in Reply to x7f9a81b22"
    await records.add(
        [
            *(
                MailOutcome(
                    parse_address(f"person{n:02}@firma.example"),
                    Outcome.DELIVERED if n < 30 else Outcome.HARD_BOUNCE,
                    NOW + 1,
                )
                for n in range(40)
            ),
            MailOutcome(parse_address("open@firma.example"), Outcome.HARD_BOUNCE, NOW + 1),
            MailOutcome(
                parse_address("well@firma.example"), Outcome.HARD_BOUNCE, NOW + 1, "550", bounce
            ),
        ],
        "api",
    )
    found = await read_candidates(records, 10)
    first, second = found.replies
    assert first.reply == "550 5.1.1 < >: gone away, ticket (id)"
    assert (first.wrong, first.bounced) == (Share(30, 40), Share(10, 40))
    assert (second.reply, second.verdict) == ("451 4.7.1 come back", Verdict.UNKNOWN)
    assert (second.wrong, second.bounced) == (Share(1, 1), Share(1, 1))
    (later,) = found.bounces
    assert later.reply == "550 no such user here, in reply to (id)"
    assert (later.meaning, later.count) == ("mailbox_not_found", 1)
    shown = str(candidates_as_dict(found))
    assert "person" not in shown
    assert "firma" not in shown
