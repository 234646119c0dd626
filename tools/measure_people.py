"""Generate labelled local parts, and fit the curves of accuracy of `engine.address.people` to them.

    /tmp/names/bin/pip install rapidfuzz mimesis==22.2.0   # beside what build_names.py needs
    cd tools
    PYTHONPATH=..:. /tmp/names/bin/python measure_people.py rows ../tests/engine/data/people.tsv
    PYTHONPATH=..:. /tmp/names/bin/python measure_people.py fit
    PYTHONPATH=..:. /tmp/names/bin/python measure_people.py report

`rows` writes the labelled local parts of the tests, `fit` prints the curves, and `report` the
accuracy over other names than those of the fit.

Four in five names come from the lists of mimesis, which the lexicon was not built from, each with
the same chance; the others come from the US births and census, drawn by frequency, rare names
included. The hash of a name assigns it to the fit or to the test, so that none is in both. `FORMS`
lists the forms of local parts with their frequencies; one row in seven names no person.
"""

# ruff: noqa: S311, T201 - seeded draws, and figures on standard output

from __future__ import annotations

import json
import math
import random
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import build_names

from engine.address import people, readings
from engine.address.lexicon import fold_name, load_lexicon
from engine.model import Person

LANGUAGES = [
    "en", "en-gb", "en-au", "en-ca", "de", "de-at", "de-ch", "fr", "es", "es-mx", "it", "pt",
    "pt-br", "nl", "pl", "cs", "sv", "da", "no", "fi", "hu", "tr", "hr", "ru", "uk", "el",
]  # fmt: skip
BY_FREQUENCY = 0.2
NO_PERSON = 1 / 7
MISTYPED = 0.03

FORMS: list[tuple[str, float]] = [
    ("{first}.{last}", 25), ("{first}{last}", 13), ("{first}{last}{n}", 11),
    ("{first}_{last}", 4), ("{first}-{last}", 2), ("{first}.{last}{n}", 5),
    ("{first}{n}{last}", 1), ("{first}.{i}.{last}", 2), ("{first}{i}{last}", 1),
    ("{last}.{first}", 4), ("{last}{first}", 3), ("{last}_{first}", 1),
    ("{f}{last}", 7), ("{f}.{last}", 5), ("{f}{last}{n}", 3), ("{last}{f}", 2),
    ("{first}{l}", 2), ("{first}.{l}", 1), ("{first}", 3), ("{first}{n}", 2), ("{last}", 2),
    ("{First}{Last}", 1),
]  # fmt: skip

BRANDS = ["acme", "nova", "delta", "vertex", "blue", "green", "smart", "fast", "city", "tech"]
TRADES = ["shop", "design", "media", "tech", "studio", "gmbh", "garage", "hotel", "team", "lab"]
ROLES = ["info", "sales", "support", "office", "kontakt", "orders", "team", "billing", "service"]


class Row(NamedTuple):
    """A local part and its owner.

    A name is given by all its keys (`muller|mueller`); it is empty where the local part names no
    person.
    """

    local: str
    first: str
    last: str
    gender: str
    language: str
    form: str


class Source(NamedTuple):
    """A source of full names: first name, last name and gender, drawn at random."""

    language: str
    draw: Callable[[random.Random], tuple[str, str, str]]


def in_test(name: str) -> bool:
    return zlib.crc32(fold_name(name).encode()) % 2 == 1


def sources(test: bool) -> list[Source]:
    return [
        *(from_mimesis(language, test) for language in LANGUAGES),
        by_frequency(test),
    ]


def from_mimesis(language: str, test: bool) -> Source:
    file = resources.files("mimesis").joinpath("datasets", language, "person.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    pools: dict[str, tuple[list[str], list[str]]] = {}
    for gender in ("male", "female"):
        family = data["surnames"]
        family = family[gender] if isinstance(family, dict) else family
        pools[gender] = (
            [name for name in data["names"][gender] if in_test(name) == test],
            [name for name in family if in_test(name) == test],
        )

    def draw(rng: random.Random) -> tuple[str, str, str]:
        gender = rng.choice(["male", "female"])
        given, family = pools[gender]
        return rng.choice(given), rng.choice(family), gender

    return Source(language, draw)


class _Collected(build_names.Names):
    """Keeps the counts that `build_names.Names` would have turned into weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[tuple[dict[str, float], str]] = []

    def add(
        self, names: Mapping[str, float], share: float, gender: str = "", cased: bool = True
    ) -> None:
        self.lists.append((dict(names), gender))


def by_frequency(test: bool) -> Source:
    births, census, unused = _Collected(), _Collected(), _Collected()
    build_names.read_births(births)
    build_names.read_census(census, unused)

    def pool(counts: dict[str, float]) -> tuple[list[str], list[float]]:
        names = [name for name in counts if in_test(name) == test]
        return names, list(accumulate(counts[name] for name in names))

    given = {gender: pool(counts) for counts, gender in births.lists}
    family = pool(census.lists[0][0])

    def draw(rng: random.Random) -> tuple[str, str, str]:
        gender = rng.choice("fm")
        first = rng.choices(given[gender][0], cum_weights=given[gender][1])[0]
        last = rng.choices(family[0], cum_weights=family[1])[0]
        return first.title(), last.title(), "female" if gender == "f" else "male"

    return Source("us", draw)


def rows(count: int, test: bool, seed: int) -> Iterator[Row]:
    rng = random.Random(seed)
    all_sources = sources(test)
    forms, weights = zip(*FORMS, strict=True)
    while count:
        if rng.random() < NO_PERSON:
            yield Row(no_person(rng), "", "", "", "", "nobody")
            count -= 1
            continue
        source = all_sources[-1] if rng.random() < BY_FREQUENCY else rng.choice(all_sources[:-1])
        first, last, gender = source.draw(rng)
        first_key, last_key = latin(first, rng), latin(last, rng)
        if min(len(first_key), len(last_key)) < 2:
            continue
        form = rng.choices(forms, weights)[0]
        yield Row(
            render(form, first_key, last_key, rng),
            "|".join(build_names.spellings(first)),
            "|".join(build_names.spellings(last)),
            gender,
            source.language,
            form,
        )
        count -= 1


def latin(name: str, rng: random.Random) -> str:
    ways = build_names.spellings(name)
    return rng.choices(list(ways), list(ways.values()))[0] if ways else ""


def render(form: str, first: str, last: str, rng: random.Random) -> str:
    if rng.random() < MISTYPED:
        last = mistyped(last, rng)
    elif rng.random() < MISTYPED / 2:
        first = mistyped(first, rng)
    number = rng.choice([rng.randint(1, 99), rng.randint(1950, 2010), rng.randint(100, 9999)])
    return form.format(
        first=first, last=last, f=first[0], l=last[0], n=number, First=first.title(),
        Last=last.title(), i=rng.choice("abcdefghijklmnoprstvw"),
    )  # fmt: skip


def mistyped(name: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(name))
    return rng.choice(
        [
            name[:at] + name[at - 1] + name[at:],
            name[:at] + name[at - 1] + name[at:],
            name[:at] + name[at + 1 :],
            name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :],
            name[:at] + rng.choice("aeioulnrst") + name[at + 1 :],
        ]
    )


def no_person(rng: random.Random) -> str:
    words = _words()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    ways: list[Callable[[], str]] = [
        lambda: "".join(rng.choices(letters, k=rng.randint(4, 12))),
        lambda: "".join(rng.choices(letters[:26], k=rng.randint(3, 9))),
        lambda: rng.choice(words) + rng.choice(words),
        lambda: f"{rng.choice(words)}{rng.randint(1, 999)}",
        lambda: f"{rng.choice(words)}.{rng.choice(words)}",
        lambda: f"{rng.choice(BRANDS)}{rng.choice(TRADES)}",
        lambda: f"{rng.choice(words)}_{rng.choice(TRADES)}",
        lambda: f"{rng.choice(ROLES)}.{rng.choice(words)}",
    ]
    return rng.choice(ways)()


@cache
def _words() -> list[str]:
    found: set[str] = set()
    for language in ("en", "de", "fr", "es", "it"):
        file = resources.files("mimesis").joinpath("datasets", language, "text.json")
        data = json.loads(file.read_text(encoding="utf-8"))
        words = data["words"]
        for word in words if isinstance(words, list) else words["normal"]:
            key = fold_name(word)
            if key.isascii() and 3 <= len(key) <= 9:
                found.add(key)
    return sorted(found)


def credit(row: Row, person: Person | None) -> float:
    """1 if both names are right, 0.5 for one right name alone, 0 if any name is wrong."""
    if person is None:
        return 0.0
    named = [(person.first, row.first), (person.last, row.last)]
    right = [fold_name(guess) in true.split("|") for guess, true in named if guess is not None]
    return len(right) / 2 if all(right) else 0.0


def reliability(
    guesses: Sequence[tuple[float, float]], width: float = 0.1
) -> list[tuple[float, float, int]]:
    """The mean accuracy, the mean credit and the number of guesses, by bins of accuracy."""
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for accuracy, earned in guesses:
        bins[min(int(accuracy / width), int(1 / width) - 1)].append((accuracy, earned))
    return [
        (
            sum(accuracy for accuracy, _ in pairs) / len(pairs),
            sum(earned for _, earned in pairs) / len(pairs),
            len(pairs),
        )
        for _, pairs in sorted(bins.items())
    ]


def fit(labelled: list[Row]) -> None:
    """Print the offset and the slope of a logistic curve for each kind."""
    people.ACCURACY_CURVES.update(dict.fromkeys(readings.ReadingKind, (0.0, 1.0)))
    for _ in range(3):  # The curves decide which candidate is best, so the fit is repeated.
        points: dict[readings.ReadingKind, list[tuple[float, float]]] = defaultdict(list)
        for row in labelled:
            best = people.best_candidate(people.split_words(row.local))
            if best is not None:
                earned = credit(row, Person(best.first, best.last))
                is_full_name = best.first and best.last
                right = earned if is_full_name else 2 * earned
                points[best.kind].append((people.log_odds(best.share), right))
        people.ACCURACY_CURVES.update({kind: logistic(pairs) for kind, pairs in points.items()})
    for kind in readings.ReadingKind:
        a, b = people.ACCURACY_CURVES[kind]
        rate = sum(y for _, y in points[kind]) / max(len(points[kind]), 1)
        comment = f"{len(points[kind])} rows, {rate:.2f}"
        print(f"    ReadingKind.{kind.name}: ({a:.2f}, {b:.2f}),  # {comment}")


def report(labelled: list[Row]) -> None:
    """Print how often guesses are right, and how well their accuracy is calibrated."""
    guesses: list[tuple[float, float]] = []
    by_form: dict[str, list[float]] = defaultdict(list)
    brier = 0.0
    genders: list[bool] = []
    for row in labelled:
        person = people.guess_person(row.local)
        earned = credit(row, person)
        by_form[row.form].append(earned)
        if person is not None:
            guesses.append((person.accuracy, earned))
            brier += (person.accuracy - earned) ** 2
        else:
            brier += earned**2
        if person is not None and person.gender is not None and row.gender:
            genders.append(person.gender == row.gender)
    for accuracy, earned, count in reliability(guesses):
        print(f"accuracy {accuracy:.2f}  right {earned:.2f}  {count}")
    for form, credits in sorted(by_form.items()):
        print(f"{form:22} {sum(credits) / len(credits):.2f}  {len(credits)}")
    persons = [row for row in labelled if row.first]
    total = sum(earned for credits in by_form.values() for earned in credits)
    print(
        f"guessed {len(guesses) / len(labelled):.3f}  credit {total / len(persons):.4f}", end="  "
    )
    print(f"square error {brier / len(labelled):.4f}")
    print(f"gender given {len(genders) / len(persons):.3f}", end="  ")
    print(f"right {sum(genders) / len(genders):.3f}")
    lex = load_lexicon()
    for role, names, at in (("first", lex.given.bits, 1), ("last", lex.surname.bits, 2)):
        known = sum(any(key in names for key in row[at].split("|")) for row in persons)
        print(f"{role} names in the lexicon {known / len(persons):.3f}")


def logistic(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Offset and slope by Newton's method, regularised towards 0 and 0.5."""
    a, b, weight = 0.0, 0.5, 1.0
    for _ in range(30):
        ga, gb, haa, hab, hbb = -weight * a, -weight * (b - 0.5), weight, 0.0, weight
        for x, y in pairs:
            p = 1 / (1 + math.exp(-a - b * x))
            w = p * (1 - p)
            ga, gb = ga + y - p, gb + (y - p) * x
            haa, hab, hbb = haa + w, hab + w * x, hbb + w * x * x
        det = haa * hbb - hab * hab
        a += max(min((hbb * ga - hab * gb) / det, 1.0), -1.0)
        b += max(min((haa * gb - hab * ga) / det, 0.5), -0.5)
    return a, b


def main(command: str, target: str = "") -> None:
    if command == "rows":
        lines = ["\t".join(row) for row in sorted(rows(3000, test=True, seed=2))]
        Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif command == "fit":
        fit(list(rows(24_000, test=False, seed=1)))
    else:
        report(list(rows(6000, test=True, seed=3)))


if __name__ == "__main__":
    main(*sys.argv[1:])
