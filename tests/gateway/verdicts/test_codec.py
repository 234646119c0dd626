"""What is kept of an answer is what was answered, but for its transcript."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.address import syntax
from engine.model import (
    Checks,
    Dns,
    Evidence,
    Gender,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Step,
    Verdict,
    Verification,
)
from gateway.batches.model import checks_from_text, checks_to_text, pack_positions, unpack_positions
from gateway.verdicts.codec import MAX_TEXT, decode_verification, encode_verification

FULL = Verification(
    address=syntax.parse_address("ada.lovelace+x@gmail.com"),
    verdict=Verdict.RISKY,
    reason=Reason.CATCH_ALL,
    score=60,
    evidence=Evidence(
        disposable=True,
        free=True,
        role=True,
        no_reply=True,
        did_you_mean="ada@gmail.com",
        dns=Dns.MX,
        mx=(MxHost("mx1.example.com", 5), MxHost("mx2.example.com", 10)),
        provider="google",
        spf=True,
        dmarc=False,
        smtp=Smtp(
            Meaning.ACCEPTED,
            Stage.RCPT,
            connected=True,
            host="mx1.example.com",
            ip="192.0.2.1",
            code=250,
            enhanced="2.1.5",
            text="ok",
            latency_ms=12,
            tls=True,
        ),
        catch_all=True,
        mailbox_full=False,
        mailbox_disabled=False,
        person=Person("Ada", "Lovelace", Gender.FEMALE, 0.9),
        avatar="https://example.com/a.png",
        spamtrap=False,
        raw_word="odd",
    ),
    checks=Checks(catch_all=False),
    verified_at=datetime(2026, 5, 15, 10, 30, 1, 234000, tzinfo=UTC),
    duration_s=1.234,
    source="vendor",
    cached=True,
)


@pytest.mark.parametrize(
    "verification",
    [
        FULL,
        replace(FULL, evidence=Evidence(), source="local", cached=False),
        replace(FULL, address=syntax.parse_address("not an address")),
        replace(FULL, address=syntax.parse_address("ada@BÜCHER.example")),
        replace(FULL, address=syntax.parse_address("Ada@EXAMPLE.com")),
    ],
)
def test_round_trip(verification: Verification) -> None:
    kept = encode_verification(verification)
    assert decode_verification(kept, verification.address.raw, verification.checks) == verification


@given(st.text(max_size=80))
def test_any_text_comes_back(text: str) -> None:
    verification = replace(FULL, address=syntax.parse_address(text))
    assert (
        decode_verification(
            encode_verification(verification), verification.address.raw, FULL.checks
        )
        == verification
    )


def test_neither_transcript_nor_long_words_are_kept() -> None:
    assert FULL.evidence.smtp is not None
    wordy = replace(
        FULL.evidence,
        smtp=replace(FULL.evidence.smtp, text="x" * 5_000),
        transcript=(Step(0, "dns", "MX"),),
    )
    found = decode_verification(
        encode_verification(replace(FULL, evidence=wordy)), FULL.address.raw, FULL.checks
    ).evidence
    assert found.transcript == ()
    assert found.smtp is not None
    assert found.smtp.text == "x" * MAX_TEXT


def test_what_a_hostile_domain_or_vendor_says_takes_little_room() -> None:
    assert FULL.evidence.smtp is not None
    long = "x" * 30_000
    hosts = tuple(MxHost(f"{number}.{'x' * 240}.test", number) for number in range(100))
    smtp = replace(
        FULL.evidence.smtp, host=hosts[0].host, text=long, enhanced=long, block_list=long
    )
    evidence = replace(
        FULL.evidence,
        did_you_mean=long,
        mx=hosts,
        provider=long,
        smtp=smtp,
        person=Person(long, long),
        avatar=f"https://example.com/{long}",
        raw_word=long,
    )
    row = encode_verification(replace(FULL, evidence=evidence))
    assert len(row) < 2_500
    found = decode_verification(row, FULL.address.raw, FULL.checks).evidence
    assert found.mx == hosts[:2]
    assert found.avatar is None
    assert found.raw_word == "x" * MAX_TEXT


def test_an_address_that_is_far_too_long_is_not_repeated() -> None:
    address = syntax.parse_address(f"{'x' * 40_000}@example.com")
    row = encode_verification(replace(FULL, address=address, evidence=Evidence()))
    assert len(row) < 200
    assert decode_verification(row, address.raw, FULL.checks).address == address


def test_positions_and_checks() -> None:
    assert unpack_positions(pack_positions([3, 0, 70_000])) == (3, 0, 70_000)
    assert unpack_positions(pack_positions([])) == ()
    for checks in (Checks(), Checks(smtp=False), Checks(dns=False, smtp=False, catch_all=False)):
        assert checks_from_text(checks_to_text(checks)) == checks
