"""Names in local parts: single cases, and the accuracy measured over labelled rows.

`../data/people.tsv` holds names that the curves of accuracy were not fitted to; see
`../data/README.md`. A name is given by its keys there: `muller|mueller` is one name.
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
    # local part, first name, last name, gender, least accuracy
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
    # a last name that is not in the lexicon
    ("thomas.zzyzek", "Thomas", "Zzyzek", MALE, 0.5),
    # a first or a last name alone
    ("j.smith42", None, "Smith", None, 0.4),
    ("jsmith", None, "Smith", None, 0.4),
    ("vanDerBerg", None, "van der Berg", None, 0.4),
    ("john", "John", None, MALE, 0.3),
    # neither titles nor functions are first names; some are names as well
    ("mme.dupont", None, "Dupont", None, 0.4),
    ("herr.schmidt", None, "Schmidt", None, 0.4),
    ("sra.lopez", None, "Lopez", None, 0.4),
    ("pan.kowalski", None, "Kowalski", None, 0.4),
    ("doktor.mueller", None, "Mueller", None, 0.4),
    ("signora-rossi", None, "Rossi", None, 0.4),
    ("mme.claire.dupont", "Claire", "Dupont", FEMALE, 0.9),
    ("frau.anna.schmidt", "Anna", "Schmidt", FEMALE, 0.9),
    ("sekretariat.anna.mueller", "Anna", "Mueller", FEMALE, 0.5),
    ("peter.herr", "Peter", "Herr", MALE, 0.8),
    ("john.sales", "John", "Sales", MALE, 0.8),
    ("dev.patel", "Dev", "Patel", MALE, 0.8),
    ("john.guest", "John", "Guest", MALE, 0.8),
    ("t.rust", None, "Rust", None, 0.3),
    ("p.romo", None, "Romo", None, 0.3),
    ("McDonald", None, "McDonald", None, 0.3),
]


@pytest.mark.parametrize(("local", "first", "last", "gender", "least"), KNOWN)
def test_a_person_is_recognised(
    local: str, first: str | None, last: str | None, gender: Gender | None, least: float
) -> None:
    person = guess_person(local)
    assert person is not None
    assert (person.first, person.last, person.gender) == (first, last, gender)
    assert least <= person.accuracy <= MAX_ACCURACY
    if first is None or last is None:
        assert person.accuracy <= SINGLE_NAME_FACTOR


NO_PERSON = [
    "info", "support", "no-reply", "sales+x", "xk29qz", "quantum.rjvishwa", "a", "a.b.c", "1234",
    "0ab3f9c2d1", "sunshine", "blackpanther", "darkknight", "mail", "", "+", '"', "\x00",
    "unknown", "unknown.user", "nobody.unknown", "baby", "null", "guest", "grey08", "frau",
    "madame", "info2", "sales2", "info.berlin", "unknown1234",
    "иван.петров", "ab" * 40, "a." * 30 + "b",
]  # fmt: skip


@pytest.mark.parametrize("local", NO_PERSON)
def test_a_local_part_without_a_name_gives_no_person(local: str) -> None:
    assert guess_person(local) is None


@pytest.mark.parametrize(
    "local",
    ["sekretariat.mueller", "praxis.mueller", "sekretariat-mueller", "mueller.praxis", "fr.dupont",
     "kanzlei.mueller", "info.mueller", "vertrieb.schmidt", "mlle.martin", "mevrouw.jansen",
     "office.smith", "john.unknown", "unknown.smith", "madame.martin", "redaktion_meier",
     "dr.martin", "mrs.martin", "martin.mrs", "rechtsanwalt.meier", "dipl.ing.meier",
     "zahnarztpraxis.weber", "dott.ssa.rossi", "pfarrer.huber", "abogado.garcia"],
)  # fmt: skip
def test_functions_titles_and_placeholders_are_no_first_names(local: str) -> None:
    person = guess_person(local)
    if person is not None:
        assert person.first in (None, "John")
        assert person.last != "Unknown"


class Row(NamedTuple):
    local: str
    first: str
    last: str
    gender: str
    language: str
    form: str


@cache
def labelled() -> list[tuple[Row, Person | None, float]]:
    """Each row with its guess and the credit for it."""
    path = Path(__file__).parents[1] / "data" / "people.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [Row(*fields) for fields in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return [
        (row, person, credit(row, person)) for row in rows for person in [guess_person(row.local)]
    ]


def credit(row: Row, person: Person | None) -> float:
    """1 if both names are right, 0.5 for one right name alone, 0 if any name is wrong."""
    if person is None:
        return 0.0
    named = [(person.first, row.first), (person.last, row.last)]
    right = [fold_name(guess) in true.split("|") for guess, true in named if guess is not None]
    return len(right) / 2 if all(right) else 0.0


def test_the_accuracy_is_the_fraction_of_right_guesses(
    record_property: Callable[[str, object], None],
) -> None:
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for _, person, earned in labelled():
        if person is not None:
            bins[min(int(person.accuracy * 10), 9)].append((person.accuracy, earned))
    for _, pairs in sorted(bins.items()):
        stated = sum(accuracy for accuracy, _ in pairs) / len(pairs)
        measured = sum(earned for _, earned in pairs) / len(pairs)
        record_property(f"stated {stated:.2f}", f"measured {measured:.2f} of {len(pairs)}")
        # Three standard errors, and 0.04 for the error of a curve with two parameters.
        assert abs(stated - measured) <= 0.04 + 3 * (stated * (1 - stated) / len(pairs)) ** 0.5
    near_0_8 = [e for _, p, e in labelled() if p is not None and 0.75 <= p.accuracy < 0.85]
    assert len(near_0_8) > 100
    assert 0.74 <= sum(near_0_8) / len(near_0_8) <= 0.88


def test_the_share_of_right_guesses_does_not_fall(
    record_property: Callable[[str, object], None],
) -> None:
    persons = [row for row, _, _ in labelled() if row.first]
    guesses = [(person, earned) for _, person, earned in labelled() if person is not None]
    credit_per_person = sum(earned for _, _, earned in labelled()) / len(persons)
    full_names = [earned for person, earned in guesses if person.first and person.last]
    genders = [
        person.gender == row.gender
        for row, person, _ in labelled()
        if person is not None and person.gender is not None and row.gender
    ]
    record_property("credit per person", round(credit_per_person, 3))
    record_property("full names right", round(sum(full_names) / len(full_names), 3))
    record_property("genders right", round(sum(genders) / len(genders), 3))
    assert credit_per_person >= 0.57
    assert sum(full_names) / len(full_names) >= 0.83
    assert sum(genders) / len(genders) >= 0.92


def test_many_labelled_names_are_not_in_the_lexicon() -> None:
    lex = load_lexicon()
    rows = [row for row, _, _ in labelled() if row.first]
    for names, keys in (
        (lex.given.bits, [row.first for row in rows]),
        (lex.surname.bits, [row.last for row in rows]),
    ):
        in_lexicon = sum(any(key in names for key in all_keys.split("|")) for all_keys in keys)
        assert 0.4 < in_lexicon / len(rows) < 0.75


def test_few_local_parts_without_a_name_give_a_person() -> None:
    guesses = [person for row, person, _ in labelled() if not row.first]
    assert len(guesses) > 300
    persons = [person for person in guesses if person is not None]
    assert len(persons) / len(guesses) < 0.3
    assert sum(person.accuracy > 0.7 for person in persons) / len(guesses) < 0.05


def test_every_kind_has_a_curve_that_rises() -> None:
    assert set(ACCURACY_CURVES) == set(ReadingKind)
    assert all(slope > 0 for _, slope in ACCURACY_CURVES.values())


def test_the_lexicon_loads_fast_and_completely() -> None:
    load_lexicon.cache_clear()
    started = time.process_time()
    lex = load_lexicon()
    assert time.process_time() - started < 0.25  # it takes 0.03 s
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
def test_any_text_can_be_read(local: str) -> None:
    person = guess_person(local)
    assert person == guess_person(local)
    if person is not None:
        assert person.full
        assert person.full.isprintable()
        assert MIN_ACCURACY <= person.accuracy <= MAX_ACCURACY


@pytest.mark.parametrize("local", ["mary-ann.o.brien", "mary-ann_x_smith", "smith-jones.a.mary"])
def test_a_double_name_may_stand_beside_an_initial(local: str) -> None:
    assert guess_person(local) is not None


@pytest.mark.parametrize("local", ["a" * 1_000_000, "a." * 500_000, "annasmith" * 7, "\ud800" * 99])
def test_no_text_takes_long(local: str) -> None:
    guess_person("john")
    started = time.process_time()
    guess_person(local)
    assert time.process_time() - started < 0.2
