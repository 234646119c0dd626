"""Names from local parts: the known cases, and the accuracy measured over labelled rows.

`data/people.tsv` holds names that the curves of accuracy were not fitted to; see
`data/README.md`. Names there are keys: `muller|mueller` is one name.
"""

import csv
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.address.lexicon import collapse_doubles, fold_name, load_lexicon
from engine.address.people import (
    ACCURACY_CURVES,
    MAX_ACCURACY,
    MIN_ACCURACY,
    SINGLE_NAME_FACTOR,
    guess_person,
)
from engine.address.readings import ReadingKind
from engine.model import Gender, Person

FEMALE, MALE = Gender.FEMALE, Gender.MALE

KNOWN = [
    # local part, first, last, gender, accuracy at least
    ("rajatvishwakarma3656", "Rajat", "Vishwakarma", MALE, 0.75),
    ("rajat696viswwakarrma", "Rajat", "Vishwakarma", MALE, 0.5),
    ("johndoe", "John", "Doe", MALE, 0.5),
    ("johndoe+test", "John", "Doe", MALE, 0.5),
    ("john.smith", "John", "Smith", MALE, 0.9),
    ("JOHN_SMITH", "John", "Smith", MALE, 0.9),
    ("JohnSmith", "John", "Smith", MALE, 0.9),
    ("smith.john", "John", "Smith", MALE, 0.9),
    ("john.q.smith", "John", "Smith", MALE, 0.9),
    ("dr.john.smith", "John", "Smith", MALE, 0.9),
    ("emma.watson99", "Emma", "Watson", FEMALE, 0.9),
    ("mary-jane.watson", "Mary-Jane", "Watson", FEMALE, 0.9),
    ("hans-peter.schmidt", "Hans-Peter", "Schmidt", MALE, 0.9),
    ("maria.de.souza", "Maria", "de Souza", FEMALE, 0.9),
    ("janvandijk", "Jan", "van Dijk", MALE, 0.8),
    ("jose.garcia.lopez", "Jose", "Garcia Lopez", MALE, 0.9),
    ("jörg.müller", "Jörg", "Müller", MALE, 0.9),
    ("ivan.petrov", "Ivan", "Petrov", MALE, 0.9),
    ("dmitrykuznetsov", "Dmitry", "Kuznetsov", MALE, 0.9),
    ("nguyen.van.anh", "Anh", "Nguyen", None, 0.7),
    ("patrick.o'connor", "Patrick", "O'Connor", MALE, 0.9),
    ("ronald.mcdonald", "Ronald", "McDonald", MALE, 0.9),
    # in no lexicon
    ("thomas.zzyzek", "Thomas", "Zzyzek", MALE, 0.5),
    # only a half can be said
    ("j.smith42", None, "Smith", None, 0.4),
    ("jsmith", None, "Smith", None, 0.4),
    ("vanDerBerg", None, "van der Berg", None, 0.4),
    ("john", "John", None, MALE, 0.3),
    ("McDonald", None, "McDonald", None, 0.3),
]


@pytest.mark.parametrize(("local", "first", "last", "gender", "least"), KNOWN)
def test_known(
    local: str, first: str | None, last: str | None, gender: Gender | None, least: float
) -> None:
    person = guess_person(local)
    assert person is not None
    assert (person.first, person.last, person.gender) == (first, last, gender)
    assert least <= person.accuracy <= MAX_ACCURACY
    if first is None or last is None:
        assert person.accuracy <= SINGLE_NAME_FACTOR


NOBODY = [
    "info", "support", "no-reply", "sales+x", "xk29qz", "quantum.rjvishwa", "a", "a.b.c", "1234",
    "0ab3f9c2d1", "sunshine", "blackpanther", "darkknight", "mail", "", "+", '"', "\x00",
    "иван.петров", "ab" * 40, "a." * 30 + "b",
]  # fmt: skip


@pytest.mark.parametrize("local", NOBODY)
def test_nothing_is_invented(local: str) -> None:
    assert guess_person(local) is None


class Row(NamedTuple):
    local: str
    first: str
    last: str
    gender: str
    language: str
    form: str


@cache
def labelled() -> list[tuple[Row, Person | None, float]]:
    """Each row with its guess, and the credit that the guess earns."""
    path = Path(__file__).parents[1] / "data" / "people.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [Row(*fields) for fields in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return [
        (row, person, credit(row, person)) for row in rows for person in [guess_person(row.local)]
    ]


def credit(row: Row, person: Person | None) -> float:
    """1 for both names right, a half for one given alone and right, 0 for any that is wrong."""
    if person is None:
        return 0.0
    named = [(person.first, row.first), (person.last, row.last)]
    right = [fold_name(said) in true.split("|") for said, true in named if said is not None]
    return len(right) / 2 if all(right) else 0.0


def test_accuracy_is_what_it_says(record_property: Callable[[str, object], None]) -> None:
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for _, person, earned in labelled():
        if person is not None:
            bins[min(int(person.accuracy * 10), 9)].append((person.accuracy, earned))
    for _, pairs in sorted(bins.items()):
        said = sum(accuracy for accuracy, _ in pairs) / len(pairs)
        was = sum(earned for _, earned in pairs) / len(pairs)
        record_property(f"said {said:.2f}", f"was {was:.2f} of {len(pairs)}")
        # Three standard errors, and what curves of two parameters cannot follow.
        assert abs(said - was) <= 0.04 + 3 * (said * (1 - said) / len(pairs)) ** 0.5
    around = [e for _, p, e in labelled() if p is not None and 0.75 <= p.accuracy < 0.85]
    assert len(around) > 100
    assert 0.74 <= sum(around) / len(around) <= 0.88


def test_measured_accuracy(record_property: Callable[[str, object], None]) -> None:
    persons = [row for row, _, _ in labelled() if row.first]
    answers = [(person, earned) for _, person, earned in labelled() if person is not None]
    earned_of_all = sum(earned for _, _, earned in labelled()) / len(persons)
    whole = [earned for person, earned in answers if person.first and person.last]
    genders = [
        person.gender == row.gender
        for row, person, _ in labelled()
        if person is not None and person.gender is not None and row.gender
    ]
    record_property("credit per person", round(earned_of_all, 3))
    record_property("whole names right", round(sum(whole) / len(whole), 3))
    record_property("genders right", round(sum(genders) / len(genders), 3))
    assert earned_of_all >= 0.57
    assert sum(whole) / len(whole) >= 0.83
    assert sum(genders) / len(genders) >= 0.92


def test_the_labelled_names_are_not_all_known() -> None:
    lex = load_lexicon()
    rows = [row for row, _, _ in labelled() if row.first]
    for names, keys in (
        (lex.given.bits, [row.first for row in rows]),
        (lex.surname.bits, [row.last for row in rows]),
    ):
        known = sum(any(key in names for key in all_keys.split("|")) for all_keys in keys)
        assert 0.4 < known / len(rows) < 0.75


def test_of_those_who_are_nobody_few_get_a_name() -> None:
    nobody = [person for row, person, _ in labelled() if not row.first]
    assert len(nobody) > 300
    named = [person for person in nobody if person is not None]
    assert len(named) / len(nobody) < 0.3
    assert sum(person.accuracy > 0.7 for person in named) / len(nobody) < 0.05


def test_every_kind_has_a_curve_that_rises() -> None:
    assert set(ACCURACY_CURVES) == set(ReadingKind)
    assert all(slope > 0 for _, slope in ACCURACY_CURVES.values())


def test_the_lexicon_loads_fast_and_whole() -> None:
    load_lexicon.cache_clear()
    began = time.perf_counter()
    lex = load_lexicon()
    assert time.perf_counter() - began < 0.25  # 0.03 s on an idle core
    assert len(lex.given.bits) > 10_000
    assert len(lex.surname.bits) > 30_000
    assert lex.given.bits["maria"] < lex.given.bits["rajat"]
    assert lex.gender["maria"] is FEMALE
    assert "alex" not in lex.gender
    assert collapse_doubles("viswwakarrma") == "viswakarma"


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="abcdefghijlmnorstuvz.-_'0J", max_size=64),
        st.sampled_from(["anna", "smith", "van", "de", "o'neil", "x", "99", "-", "."]).flatmap(
            lambda part: st.lists(st.just(part), max_size=8).map("".join)
        ),
    )
)
def test_every_text_has_an_answer(local: str) -> None:
    person = guess_person(local)
    assert person == guess_person(local)
    if person is not None:
        assert person.full
        assert person.full.isprintable()
        assert MIN_ACCURACY <= person.accuracy <= MAX_ACCURACY


@pytest.mark.parametrize("local", ["a" * 1_000_000, "a." * 500_000, "annasmith" * 7, "\ud800" * 99])
def test_no_text_takes_long(local: str) -> None:
    guess_person("john")
    began = time.perf_counter()
    guess_person(local)
    assert time.perf_counter() - began < 0.2
