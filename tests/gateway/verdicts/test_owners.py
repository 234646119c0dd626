"""Names in answers from lists: guessed when shown, never over what a source said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.address.syntax import parse_address
from engine.model import Checks, Evidence, Person, Reason, Verdict, Verification
from gateway.verdicts.owners import with_guessed_person

BARE = Verification(
    address=parse_address("john.smith@a.test"),
    verdict=Verdict.DELIVERABLE,
    reason=Reason.ACCEPTED_EMAIL,
    score=100,
    evidence=Evidence(),
    checks=Checks(),
    verified_at=datetime(2026, 1, 2, tzinfo=UTC),
)
ELSE = Person(first="Somebody", last="Else")


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (BARE, "John Smith"),
        (replace(BARE, evidence=Evidence(person=ELSE)), "Somebody Else"),
        (replace(BARE, source="vendor"), None),
        (replace(BARE, address=parse_address("john.smith@")), None),
        (replace(BARE, address=parse_address("x9@a.test")), None),
    ],
)
def test_names_are_guessed_for_our_own_answers(answer: Verification, name: str | None) -> None:
    person = with_guessed_person(answer).evidence.person
    assert (person and person.full) == name
