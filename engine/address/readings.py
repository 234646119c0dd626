"""All ways to read the words of a local part as names, each with its likelihood.

A likelihood is stated in bits, -log2 of a probability, so that those of independent choices add
up: the bits of the form (`first.last`, `flast`, …) and of each name in it, which are in
`engine.address.lexicon`. Fewer bits are likelier. `engine.address.people` compares the readings.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from engine.address.lexicon import Lexicon


class ReadingKind(StrEnum):
    """Kinds of readings; each has its own curve of accuracy."""

    APART = "apart"  # two names in the lexicon, separated
    TOGETHER = "together"  # two names in the lexicon, run together
    FIRST_KNOWN = "first_known"  # separated, only the first name in the lexicon
    LAST_KNOWN = "last_known"  # separated, only the last name in the lexicon
    FIRST_CUT_OFF = "first_cut_off"  # run together, only the first name in the lexicon
    LAST_CUT_OFF = "last_cut_off"  # run together, only the last name in the lexicon
    CORRECTED = "corrected"  # the last name is in the lexicon after a typo is corrected
    FIRST_ONLY = "first_only"
    LAST_ONLY = "last_only"


class NameReading(NamedTuple):
    """One way to read a local part, with its likelihood in bits.

    Names are keys of the lexicon; names of several parts keep the space or hyphen between them.
    """

    bits: float
    first: str | None
    last: str | None
    kind: ReadingKind


# The bits of each form: how seldom people choose it.
FIRST_LAST, LAST_FIRST = 1.5, 4.0
JOINED = 1.0
INITIAL_LAST, LAST_INITIAL, FIRST_INITIAL = 6.5, 8.5, 9.0
TWO_INITIALS_LAST = 13.0
MIDDLE_INITIAL, MIDDLE_NAME = 6.5, 3.0
SECOND_SURNAME = 4.0
FIRST_ALONE, LAST_ALONE = 3.0, 4.5
COMPOUND = 3.0
OTHER_ROLE = 6.0
"""A given name used as a surname, or a surname as a given name."""
EXTRA_WORD = 8.0
NO_NAME = 2.0
NON_NAME_LETTER = 4.2
"""A letter of a word that is no name: a little less than log2(26)."""
NON_NAME_WORD = 11.0

PARTICLES: dict[str, float] = {
    "van": 6, "de": 6, "von": 7, "der": 7, "den": 7, "del": 6, "della": 6, "di": 7, "da": 7,
    "dos": 6, "das": 8, "do": 9, "du": 7, "la": 9, "le": 9, "el": 8, "al": 10, "bin": 8, "ibn": 7,
    "ben": 12, "ter": 8, "ten": 10, "st": 9, "mc": 6, "mac": 8, "zu": 9, "af": 9, "av": 9,
}  # fmt: skip
"""The additional bits of a surname that begins with the particle."""
_JOINED_PARTICLES = ("vander", "vanden", "vande", "van", "von", "dela", "de", "di", "mc")


def no_name_bits(keys: Sequence[str], lex: Lexicon) -> float:
    """The bits of the reading that the words name no person."""
    return NO_NAME + sum(_non_name_bits(key, lex) for key in keys)


def _non_name_bits(key: str, lex: Lexicon) -> float:
    """The bits of a word that is no name: a dictionary word, two of them, or random letters."""
    if key in lex.words:
        return NON_NAME_WORD
    letters = NON_NAME_LETTER * len(key)
    for cut in range(3, len(key) - 2):
        if key[:cut] in lex.words and key[cut:] in lex.words:
            return min(letters, 2 * NON_NAME_WORD)
    return letters


def name_readings(keys: Sequence[str], lex: Lexicon) -> Iterator[NameReading]:
    """All readings of words that were separated; the same reading may be yielded twice."""
    yield from _read_words(keys, lex)
    merged, bits = _with_particles(keys)
    if bits:
        yield from _add_bits(bits, _read_words(merged, lex))


def _with_particles(keys: Sequence[str]) -> tuple[Sequence[str], float]:
    """The words with particles joined to the surname that follows, and the bits of that."""
    merged: list[str] = []
    bits = 0.0
    pending: list[str] = []
    for key in keys:
        if key in PARTICLES:
            pending.append(key)
            continue
        if pending and len(key) > 2:
            bits += PARTICLES[pending[0]] + 2.0 * (len(pending) - 1)
            key = " ".join([*pending, key])
            pending = []
        merged += [*pending, key]
        pending = []
    return [*merged, *pending], bits


def _read_words(keys: Sequence[str], lex: Lexicon) -> Iterator[NameReading]:
    """Readings of up to four words; more are no name."""
    match keys:
        case [word]:
            yield from _read_one_word(word, lex)
        case [a, b]:
            yield from _read_two_words(a, b, lex)
        case [a, b, c]:
            yield from _read_three_words(a, b, c, lex)
        case [a, b, c, d]:
            yield from _read_four_names(a, b, c, d, lex)


def _read_two_words(a: str, b: str, lex: Lexicon) -> Iterator[NameReading]:
    """Two names; unless the lexicon has both, also a name beside a word that is none."""
    pairs = list(_read_two_names(a, b, lex))
    yield from pairs
    if any(reading.kind is ReadingKind.APART for reading in pairs):
        return
    for name, no_name in ((a, b), (b, a)):
        if len(no_name) > 1:
            yield from _with_extra_word(_read_one_word(name, lex), no_name, lex)


def _read_three_words(a: str, b: str, c: str, lex: Lexicon) -> Iterator[NameReading]:
    """Two names with an initial, three names, or two names beside a word that is none."""
    if len(b) == 1:
        yield from _add_bits(MIDDLE_INITIAL, _read_two_names(a, c, lex))
    elif len(a) == 1:
        yield from _add_bits(INITIAL_LAST, _read_two_names(b, c, lex))
    else:
        yield from _read_three_names(a, b, c, lex)
        yield from _with_extra_word(_read_two_names(a, b, lex), c, lex)
        yield from _with_extra_word(_read_two_names(b, c, lex), a, lex)


def _read_four_names(a: str, b: str, c: str, d: str, lex: Lexicon) -> Iterator[NameReading]:
    """First name, middle name and two surnames."""
    middle, second = lex.given.bits.get(b), lex.surname.bits.get(d)
    if middle is None or second is None:
        return
    for reading in _add_bits(MIDDLE_NAME + SECOND_SURNAME + second, _read_two_names(a, c, lex)):
        if reading.last == c:
            yield reading._replace(last=f"{c} {d}")


def _add_bits(bits: float, readings: Iterable[NameReading]) -> Iterator[NameReading]:
    for reading in readings:
        yield reading._replace(bits=reading.bits + bits)


def _with_extra_word(
    readings: Iterable[NameReading], word: str, lex: Lexicon
) -> Iterator[NameReading]:
    return _add_bits(EXTRA_WORD + _non_name_bits(word, lex), readings)


def _read_three_names(a: str, b: str, c: str, lex: Lexicon) -> Iterator[NameReading]:
    middle, surname = lex.given.bits.get(b), lex.surname.bits
    if middle is not None:
        yield from _add_bits(MIDDLE_NAME + middle, _read_two_names(a, c, lex))
    first = lex.given.bits.get(a)
    if first is not None and b in surname and c in surname:
        bits = FIRST_LAST + SECOND_SURNAME + first + surname[b] + surname[c]
        yield NameReading(bits, a, f"{b} {c}", ReadingKind.APART)


def _read_two_names(a: str, b: str, lex: Lexicon) -> Iterator[NameReading]:
    """Readings of two separated words as first and last name, in either order."""
    if len(a) == 1 or len(b) == 1:
        yield from _read_initial_and_name(a, b, lex)
        return
    for first, last, form in ((a, b, FIRST_LAST), (b, a, LAST_FIRST)):
        given, surname = _given_bits(first, lex), _surname_bits(last, lex)
        if given is not None and surname is not None:
            yield NameReading(form + given + surname, first, last, ReadingKind.APART)
            continue
        if given is not None:
            unknown = _unknown_surname_bits(last, lex)
            if unknown is not None:
                yield NameReading(form + given + unknown, first, last, ReadingKind.FIRST_KNOWN)
            corrected = lex.surname.correct_typo(last)
            if corrected is not None:
                yield NameReading(
                    form + given + corrected[1], first, corrected[0], ReadingKind.CORRECTED
                )
        elif surname is not None:
            unknown = _unknown_given_bits(first, lex)
            if unknown is not None:
                yield NameReading(form + unknown + surname, first, last, ReadingKind.LAST_KNOWN)


def _read_initial_and_name(a: str, b: str, lex: Lexicon) -> Iterator[NameReading]:
    name, initial_first = (b, True) if len(a) == 1 else (a, False)
    surname, given = _surname_bits(name, lex), _given_bits(name, lex)
    if surname is not None:
        form = INITIAL_LAST if initial_first else LAST_INITIAL
        yield NameReading(form + surname, None, name, ReadingKind.LAST_ONLY)
    if given is not None and not initial_first:
        yield NameReading(FIRST_INITIAL + given, name, None, ReadingKind.FIRST_ONLY)


def _read_one_word(word: str, lex: Lexicon) -> Iterator[NameReading]:
    """Readings of one word: a name, or several run together."""
    whole_given, whole_surname = _given_bits(word, lex), _surname_bits(word, lex)
    if whole_given is not None:
        yield NameReading(FIRST_ALONE + whole_given, word, None, ReadingKind.FIRST_ONLY)
    if whole_surname is not None:
        yield NameReading(LAST_ALONE + whole_surname, None, word, ReadingKind.LAST_ONLY)
    if " " in word or "-" in word:
        return
    if whole_surname is None and (last := _joined_surname(word, lex)) is not None:
        yield NameReading(LAST_ALONE + JOINED + last[1], None, last[0], ReadingKind.LAST_ONLY)
    is_known = whole_given is not None or whole_surname is not None or word in lex.words
    if len(word) > 3 and not is_known:
        yield from _read_joined_initials(word, lex)
    for cut in range(2, len(word) - 1):
        yield from _read_joined_names(word[:cut], word[cut:], lex)
    yield from _read_joined_names_with_typo(word, lex)


def _read_joined_names(a: str, b: str, lex: Lexicon) -> Iterator[NameReading]:
    """Readings of a word as the two names `a` and `b`, perhaps with an initial between them."""
    given, surname = lex.given.bits, lex.surname.bits
    first, last = given.get(a), _joined_surname(b, lex)
    if first is not None and last is not None:
        yield NameReading(FIRST_LAST + JOINED + first + last[1], a, last[0], ReadingKind.TOGETHER)
    elif first is not None and len(a) > 2 and len(b) > 3:
        unknown = _unknown_surname_bits(b, lex)
        if unknown is not None:
            bits = FIRST_LAST + JOINED + first + unknown
            yield NameReading(bits, a, b, ReadingKind.FIRST_CUT_OFF)
    elif last is not None and len(a) > 3 and len(b) > 4:
        unknown = _unknown_given_bits(a, lex)
        if unknown is not None:
            bits = FIRST_LAST + JOINED + unknown + last[1]
            yield NameReading(bits, a, last[0], ReadingKind.LAST_CUT_OFF)
    if a in surname and b in given:
        bits = LAST_FIRST + JOINED + surname[a] + given[b]
        yield NameReading(bits, b, a, ReadingKind.TOGETHER)
    if first is not None and len(b) > 4 and (last := _joined_surname(b[1:], lex)) is not None:
        bits = FIRST_LAST + JOINED + MIDDLE_INITIAL + first + last[1]
        yield NameReading(bits, a, last[0], ReadingKind.TOGETHER)


def _read_joined_names_with_typo(word: str, lex: Lexicon) -> Iterator[NameReading]:
    """Readings as a given name and a surname with a typo.

    Only the two likeliest given names are tried, since correcting a typo takes a search.
    """
    given = lex.given.bits
    cuts = [
        cut
        for cut in range(3, len(word) - 3)
        if word[:cut] in given and _joined_surname(word[cut:], lex) is None
    ]
    for cut in sorted(cuts, key=lambda cut: (given[word[:cut]] - 4 * cut, cut))[:2]:
        corrected = lex.surname.correct_typo(word[cut:])
        if corrected is not None:
            bits = FIRST_LAST + JOINED + given[word[:cut]] + corrected[1]
            yield NameReading(bits, word[:cut], corrected[0], ReadingKind.CORRECTED)


def _read_joined_initials(word: str, lex: Lexicon) -> Iterator[NameReading]:
    given, surname = lex.given.bits, lex.surname.bits
    for last, form in (
        (word[1:], INITIAL_LAST),
        (word[2:], TWO_INITIALS_LAST),
        (word[:-1], LAST_INITIAL),
    ):
        if len(last) > 2 and last in surname:
            yield NameReading(form + JOINED + surname[last], None, last, ReadingKind.LAST_ONLY)
    if word[:-1] in given:
        bits = FIRST_INITIAL + JOINED + given[word[:-1]]
        yield NameReading(bits, word[:-1], None, ReadingKind.FIRST_ONLY)


def _joined_surname(key: str, lex: Lexicon) -> tuple[str, float] | None:
    """A surname within a word and its bits, also with a particle before it: `vandijk`."""
    bits = lex.surname.bits.get(key)
    if bits is not None:
        return key, bits
    if not key.startswith(_JOINED_PARTICLES):
        return None
    for particle in _JOINED_PARTICLES:
        surname = key[len(particle) :]
        if key.startswith(particle) and len(surname) > 3 and surname in lex.surname.bits:
            return f"{particle} {surname}", PARTICLES.get(particle, 8) + lex.surname.bits[surname]
    return None


def _given_bits(key: str, lex: Lexicon) -> float | None:
    known = lex.given.bits
    if key in known:
        return known[key]
    if "-" in key:
        parts = [known.get(part) for part in key.split("-")]
        return COMPOUND + sum(part for part in parts if part) if None not in parts else None
    for cut in range(3, len(key) - 2):
        if key[:cut] in known and key[cut:] in known:
            return COMPOUND + OTHER_ROLE + known[key[:cut]] + known[key[cut:]]
    return None


def _surname_bits(key: str, lex: Lexicon) -> float | None:
    known = lex.surname.bits
    if key in known:
        return known[key]
    if "-" in key:
        parts = [known.get(part) for part in key.split("-")]
        return COMPOUND + sum(part for part in parts if part) if None not in parts else None
    if " " in key:  # the bits of the particles are added elsewhere
        return known.get(key.rpartition(" ")[2])
    return None


def _unknown_surname_bits(key: str, lex: Lexicon) -> float | None:
    if key in lex.words or not key.isalpha():
        return None
    other = lex.given.bits.get(key)
    return other + OTHER_ROLE if other is not None else lex.surname.unknown_bits(key)


def _unknown_given_bits(key: str, lex: Lexicon) -> float | None:
    if key in lex.words or not key.isalpha():
        return None
    other = lex.surname.bits.get(key)
    return other + OTHER_ROLE if other is not None else lex.given.unknown_bits(key)
