"""The table of what each meaning implies, and the sets that are read off it."""

from __future__ import annotations

import pytest

from engine.bulk.transaction import DECISIVE_IF_FIRST
from engine.model import Meaning
from engine.smtp import meanings
from engine.smtp.meanings import MEANING_PRECEDENCE, MEANING_TRAITS, REFUSAL_WEIGHTS, About

MAILBOX = {
    Meaning.ACCEPTED,
    Meaning.CANNOT_VERIFY,
    Meaning.MAILBOX_DISABLED,
    Meaning.MAILBOX_FULL,
    Meaning.MAILBOX_MOVED,
    Meaning.MAILBOX_NOT_FOUND,
    Meaning.MAILBOX_RATE_LIMITED,
}
US = {
    Meaning.AUTH_REQUIRED,
    Meaning.HELO_REJECTED,
    Meaning.IP_BLOCKED,
    Meaning.POLICY,
    Meaning.RDNS_REQUIRED,
    Meaning.SENDER_AUTH_FAILED,
    Meaning.SENDER_REJECTED,
    Meaning.TLS_REQUIRED,
}
NO_REPLY = {Meaning.TIMED_OUT, Meaning.DROPPED, Meaning.NOT_SMTP}


def test_every_meaning_has_a_row() -> None:
    assert set(MEANING_TRAITS) == set(Meaning)


@pytest.mark.parametrize(
    ("derived", "expected"),
    [
        (meanings.ABOUT_MAILBOX, MAILBOX),
        (meanings.ABOUT_US, US),
        (meanings.DECISIVE, MAILBOX | {Meaning.REJECTED_UNRECOGNISED}),
        (DECISIVE_IF_FIRST, MAILBOX | {Meaning.REJECTED_UNRECOGNISED, Meaning.GREYLISTED}),
        (
            meanings.MAY_STATE_DELAY,
            {Meaning.THROTTLED, Meaning.GREYLISTED, Meaning.MAILBOX_RATE_LIMITED},
        ),
        (
            meanings.REFUSES_NAME,
            {
                Meaning.MAILBOX_NOT_FOUND,
                Meaning.MAILBOX_DISABLED,
                Meaning.MAILBOX_MOVED,
                Meaning.REJECTED_UNRECOGNISED,
                Meaning.POLICY,
            },
        ),
        (meanings.NAMES_BLOCK_LIST, {Meaning.IP_BLOCKED}),
        (meanings.WITHOUT_REPLY, NO_REPLY),
        (meanings.NO_CONTACT, NO_REPLY | {Meaning.UNREACHABLE, Meaning.NOT_ALLOWED}),
    ],
)
def test_a_set_is_read_off_the_table(derived: frozenset[Meaning], expected: set[Meaning]) -> None:
    assert derived == expected


def test_refusals_of_us_have_a_weight() -> None:
    """Throttling is counted with them, although it is not about us."""
    assert set(REFUSAL_WEIGHTS) == US | {Meaning.THROTTLED}
    assert {meaning: weight for meaning, weight in REFUSAL_WEIGHTS.items() if weight != 1} == {
        Meaning.POLICY: 0.25,
        Meaning.AUTH_REQUIRED: 0,
        Meaning.TLS_REQUIRED: 0,
        Meaning.THROTTLED: 0,
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Meaning.MAILBOX_NOT_FOUND, Meaning.GREYLISTED),
        (Meaning.GREYLISTED, Meaning.IP_BLOCKED),
        (Meaning.UNVERIFIED, Meaning.POLICY),
        (Meaning.IP_BLOCKED, Meaning.THROTTLED),
        (Meaning.TEMPORARY, Meaning.TIMED_OUT),
        (Meaning.DROPPED, Meaning.UNREACHABLE),
        (Meaning.UNREACHABLE, Meaning.NOT_ALLOWED),
        (Meaning.NOT_ALLOWED, Meaning.DOMAIN_NOT_SERVED),
    ],
)
def test_what_is_nearer_to_the_mailbox_takes_precedence(first: Meaning, second: Meaning) -> None:
    assert MEANING_PRECEDENCE.index(first) < MEANING_PRECEDENCE.index(second)


def test_what_condemns_the_domain_comes_last() -> None:
    last_two = MEANING_PRECEDENCE[-2:]
    assert set(last_two) == {m for m, row in MEANING_TRAITS.items() if row.about is About.DOMAIN}
