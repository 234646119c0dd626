"""Copies of verdicts for other processes: complete, and without the address."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.address.syntax import parse_address
from engine.model import (
    Checks,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from gateway.verdicts.copies import FORM, decode_copy, encode_copy

EXPIRES_AT = 1_800_000_000.0


def refused(email: str, text: str, **changes: str) -> Verification:
    """An address that a mail server refuses with `text`."""
    address = parse_address(email)
    return Verification(
        address=address,
        verdict=Verdict.UNDELIVERABLE,
        reason=Reason.REJECTED_EMAIL,
        score=0,
        evidence=Evidence(
            dns=Dns.MX,
            mx=(MxHost("mx.example.net", 10),),
            smtp=Smtp(
                meaning=Meaning.MAILBOX_NOT_FOUND,
                stage=Stage.RCPT,
                connected=True,
                host="mx.example.net",
                ip="192.0.2.1",
                code=550,
                enhanced="5.1.1",
                text=text,
            ),
            did_you_mean=changes.get("did_you_mean"),
        ),
        checks=Checks(policies=True),
        verified_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("email", "text"),
    [
        ("mary.poppins@example.net", "5.1.1 <mary.poppins@example.net>: no such user"),
        ("mary.poppins@example.net", "5.1.1 unknown user: mary.poppins"),
        ("Mary.Poppins@Example.NET", "5.1.1 <Mary.Poppins@example.net> unknown, Mary.Poppins"),
        ("jürgen@example.net", "5.1.1 <jürgen@example.net> unknown"),
        ("ab@example.net", "5.1.1 <ab@example.net> cab absent"),
    ],
)
def test_a_copy_holds_no_address_and_the_reader_puts_it_back(email: str, text: str) -> None:
    verification = refused(email, text, did_you_mean=email.replace("example", "sample"))
    data = encode_copy(verification, EXPIRES_AT)
    address = verification.address
    for word in (
        address.raw,
        address.normalized,
        *([address.local] if len(address.local) > 2 else []),
    ):
        assert word.lower().encode() not in data.lower()
    copied = decode_copy(data, address)
    assert copied is not None
    assert copied[1] == EXPIRES_AT
    assert copied[0].cached
    assert copied[0].evidence.smtp is not None
    assert copied[0].evidence.smtp.text == text.replace(address.raw, address.normalized)
    texts = replace(copied[0].evidence.smtp, text=verification.evidence.smtp.text)  # type: ignore[union-attr]
    assert texts == verification.evidence.smtp
    assert copied[0].checks == verification.checks


def test_other_spellings_of_the_address_are_taken_out_too() -> None:
    verification = refused("mary@example.net", "<MARY@EXAMPLE.NET>: unknown; Mary")
    data = encode_copy(verification, EXPIRES_AT)
    assert b"mary" not in data.lower()
    copied = decode_copy(data, verification.address)
    assert copied is not None
    assert copied[0].evidence.smtp is not None
    assert copied[0].evidence.smtp.text == "<mary@example.net>: unknown; mary"


def test_a_guess_at_the_person_is_left_to_the_reader() -> None:
    verification = refused("mary@example.net", "no")
    evidence = replace(verification.evidence, person=Person("Mary", None))
    assert b"Mary" not in encode_copy(replace(verification, evidence=evidence), EXPIRES_AT)
    vendors = replace(verification, evidence=evidence, source="vendor")
    copied = decode_copy(encode_copy(vendors, EXPIRES_AT), verification.address)
    assert copied is not None
    assert copied[0].evidence.person == Person("Mary", None)


def test_a_copy_in_another_form_is_none() -> None:
    address = parse_address("mary@example.net")
    data = encode_copy(refused("mary@example.net", "no"), EXPIRES_AT)
    assert decode_copy(data, address) is not None
    assert decode_copy(b"2" + data[1:], address) is None
    assert decode_copy(b"", address) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_a_copy_or_none(data: bytes) -> None:
    assert decode_copy(FORM + data, parse_address("mary@example.net")) is None
