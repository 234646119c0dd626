"""The lexicon of names: how rare each is, how it is written, and what looks like one.

It is read from `data/names.txt` when first asked for: one group of words a line, as `role mark
number words`. `given f 08 maria …` are women's names of 8 bits (one person in 2 to the 8 has
one), `m` men's, `u` either's; `surname - 09 …` surnames; `written given 00 …` spellings that are
certain and not plain title case; `word - 10 …` words that name nobody; `after given a …` tenths of
bits of each letter `^a..z` after `a` in given names, `^` being the start and the end.
`tools/build_names.py` makes the file; `data/README.md` names its sources and their licences.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from engine.model import Gender

UNKNOWN_BITS = 4.0
"""One name in sixteen is in no lexicon; its letters cost extra."""
DOUBLED_BITS, SWAPPED_BITS, TYPO_BITS = 8.0, 10.0, 20.0
"""A letter doubled, two swapped, any other slip. Measured: people seldom mistype their own address,
and nine of ten names that are one letter off a known one are names as well, unless the letter is
a doubled one."""
MIN_CORRECTED_LETTERS = 6
MIN_CORRECTED_BITS = UNKNOWN_BITS + DOUBLED_BITS + 12
TWO_TYPOS_FROM_LETTERS = 9
"""Letters from which two slips are looked for."""

_GENDERS = {"f": Gender.FEMALE, "m": Gender.MALE}
_LETTERS = "^abcdefghijklmnopqrstuvwxyz"
_VOWELS = frozenset("aeiouy")
_FOLDED = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
     "œ": "oe", "ə": "e", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)  # fmt: skip


@dataclass(slots=True)
class NameTable:
    """The names of one role."""

    bits: dict[str, int] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    letter_bits: dict[str, float] = field(default_factory=dict)
    """Bits of a letter after another, by the pair of them."""
    by_initial_and_length: dict[tuple[str, int], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Longer names by first letter and length; filled when first needed."""

    def unknown_bits(self, key: str) -> float | None:
        """What a name costs that is not in the lexicon; None if it cannot be one."""
        if len(key) < 3 or not _VOWELS.intersection(key):
            return None
        after = self.letter_bits
        return UNKNOWN_BITS + sum([after[a + b] for a, b in pairwise(f"^{key}^")])

    def correct_typo(self, key: str) -> tuple[str, float] | None:
        """The name that was probably meant, and its cost with that of the slips.

        None too where the letters as they stand are the likelier name.
        """
        as_it_stands = self.unknown_bits(key)
        if len(key) < MIN_CORRECTED_LETTERS or (as_it_stands or math.inf) < MIN_CORRECTED_BITS:
            return None
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        slips = 1 if len(key) < TWO_TYPOS_FROM_LETTERS else 2
        near = [
            found
            for length in range(len(key) - slips, len(key) + slips + 1)
            for found in extract(
                key,
                self._candidates(key[0], length),
                scorer=OSA.distance,
                processor=None,
                score_cutoff=slips,
                limit=4,
            )
        ]
        costs = [
            (self.bits[name] + _typo_bits(key, name, int(distance)), name)
            for name, distance, _ in near
        ]
        if not costs:
            return None
        bits, name = min(costs)
        return name, bits

    def _candidates(self, letter: str, length: int) -> list[str]:
        if not self.by_initial_and_length:
            for name in self.bits:
                self.by_initial_and_length[name[0], len(name)].append(name)
        return self.by_initial_and_length.get((letter, length), [])


def _typo_bits(typed: str, name: str, distance: int) -> float:
    once, name_once = collapse_doubles(typed), collapse_doubles(name)
    doubled = max(len(typed) - len(once) - len(name) + len(name_once), 0)
    if once == name_once:
        return UNKNOWN_BITS + DOUBLED_BITS * distance
    doubled = min(doubled, distance - 1)
    rest = distance - doubled
    swapped = distance == 1 and len(typed) == len(name) and sorted(typed) == sorted(name)
    slip = SWAPPED_BITS if swapped else TYPO_BITS
    return UNKNOWN_BITS + DOUBLED_BITS * doubled + slip * rest


def collapse_doubles(key: str) -> str:
    return "".join(b for a, b in pairwise(f"^{key}") if a != b)


@dataclass(slots=True)
class Lexicon:
    given: NameTable = field(default_factory=NameTable)
    surname: NameTable = field(default_factory=NameTable)
    gender: dict[str, Gender] = field(default_factory=dict)
    words: frozenset[str] = frozenset()


@cache
def load_lexicon() -> Lexicon:
    """The lexicon of the product, read once."""
    return parse_lexicon((Path(__file__).parent / "data" / "names.txt").read_text(encoding="utf-8"))


def parse_lexicon(text: str) -> Lexicon:
    """A lexicon from the lines of such a file."""
    made = Lexicon()
    roles = {"given": made.given, "surname": made.surname}
    for line in text.splitlines():
        head, mark, number, *words = line.split(" ")
        if head == "written":
            roles[mark].spellings.update(_parse_spelling(word) for word in words)
        elif head == "word":
            made.words = frozenset(words)
        elif head == "after":
            after = roles[mark].letter_bits
            for letter, tenths in zip(_LETTERS, words, strict=True):
                after[number + letter] = int(tenths) / 10
        else:
            roles[head].bits.update(dict.fromkeys(words, int(number)))
            if mark in _GENDERS:
                made.gender.update(dict.fromkeys(words, _GENDERS[mark]))
    return made


def _parse_spelling(word: str) -> tuple[str, str]:
    key, _, written = word.rpartition("=")
    written = written.replace("_", " ")
    return key or fold_name(written), written


def fold_name(name: str) -> str:
    """The ASCII letters of a name in Latin script; other letters stay."""
    if name.isascii() and name.isalpha():
        return name.lower()
    text = unicodedata.normalize("NFD", name.lower().translate(_FOLDED))
    return "".join(c for c in text if c.isalpha())
