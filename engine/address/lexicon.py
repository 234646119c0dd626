"""The lexicon of names: how rare each is, how it is spelled, and which words could be one.

It is read from `data/names.txt` at its first use. Each line of the file holds a group of words as
`role mark number words`:

- `given f 08 maria …`: given names of women (`m`: of men, `u`: of both) with 8 bits, which one
  person in 2**8 has;
- `surname - 09 …`: surnames;
- `written given 00 …`: spellings that are certain and differ from title case;
- `word - 10 …`: words that are no names;
- `after given a …`: for each letter of `^a..z`, the tenths of bits of that letter after an `a` in
  given names; `^` stands for the start and the end of a name.

`tools/build_names.py` builds the file; `data/README.md` names its sources and their licences.
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
"""One name in sixteen is not in the lexicon; the bits of its letters are added."""
DOUBLED_BITS, SWAPPED_BITS, TYPO_BITS = 8.0, 10.0, 20.0
"""The bits of a doubled letter, of two letters swapped, and of any other typo. As measured, people
seldom mistype their own address, and nine in ten words that differ from a name in one letter are
names as well, unless that letter is a doubled one."""
MIN_CORRECTED_LETTERS = 6
MIN_CORRECTED_BITS = UNKNOWN_BITS + DOUBLED_BITS + 12
TWO_TYPOS_FROM_LETTERS = 9
"""The shortest name in which two typos are corrected."""

_GENDERS = {"f": Gender.FEMALE, "m": Gender.MALE}
_LETTERS = "^abcdefghijklmnopqrstuvwxyz"
_VOWELS = frozenset("aeiouy")
_FOLDED = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
     "œ": "oe", "ə": "e", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)  # fmt: skip


@dataclass(slots=True)
class NameTable:
    """The given names, or the surnames."""

    bits: dict[str, int] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    letter_bits: dict[str, float] = field(default_factory=dict)
    """The bits of a letter after another one, by the pair of letters."""
    by_initial_and_length: dict[tuple[str, int], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Names by first letter and length; filled at its first use."""

    def unknown_bits(self, key: str) -> float | None:
        """The bits of a name that is not in the lexicon; None if the word cannot be a name."""
        if len(key) < 3 or not _VOWELS.intersection(key) or not (key.isascii() and key.isalpha()):
            return None
        bits = self.letter_bits
        return UNKNOWN_BITS + sum([bits[a + b] for a, b in pairwise(f"^{key}^")])

    def correct_typo(self, key: str) -> tuple[str, float] | None:
        """The intended name, and its bits with those of the typos.

        None if no name is close, or the word as it stands is a likely name itself.
        """
        unknown_bits = self.unknown_bits(key)
        if len(key) < MIN_CORRECTED_LETTERS or (unknown_bits or math.inf) < MIN_CORRECTED_BITS:
            return None
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        max_typos = 1 if len(key) < TWO_TYPOS_FROM_LETTERS else 2
        matches = [
            match
            for length in range(len(key) - max_typos, len(key) + max_typos + 1)
            for match in extract(
                key,
                self._candidates(key[0], length),
                scorer=OSA.distance,
                processor=None,
                score_cutoff=max_typos,
                limit=4,
            )
        ]
        candidates = [
            (self.bits[name] + _typo_bits(key, name, int(distance)), name)
            for name, distance, _ in matches
        ]
        if not candidates:
            return None
        bits, name = min(candidates)
        return name, bits

    def _candidates(self, letter: str, length: int) -> list[str]:
        if not self.by_initial_and_length:
            for name in self.bits:
                self.by_initial_and_length[name[0], len(name)].append(name)
        return self.by_initial_and_length.get((letter, length), [])


def _typo_bits(typed: str, name: str, distance: int) -> float:
    collapsed, collapsed_name = collapse_doubles(typed), collapse_doubles(name)
    doubled = max(len(typed) - len(collapsed) - len(name) + len(collapsed_name), 0)
    if collapsed == collapsed_name:
        return UNKNOWN_BITS + DOUBLED_BITS * distance
    doubled = min(doubled, distance - 1)
    other_typos = distance - doubled
    swapped = distance == 1 and len(typed) == len(name) and sorted(typed) == sorted(name)
    typo_bits = SWAPPED_BITS if swapped else TYPO_BITS
    return UNKNOWN_BITS + DOUBLED_BITS * doubled + typo_bits * other_typos


def collapse_doubles(key: str) -> str:
    """The letters with each run of equal ones reduced to one."""
    return "".join(b for a, b in pairwise(f"^{key}") if a != b)


@dataclass(slots=True)
class Lexicon:
    given: NameTable = field(default_factory=NameTable)
    surname: NameTable = field(default_factory=NameTable)
    gender: dict[str, Gender] = field(default_factory=dict)
    words: frozenset[str] = frozenset()


@cache
def load_lexicon() -> Lexicon:
    """The lexicon of `data/names.txt`, read once."""
    return parse_lexicon((Path(__file__).parent / "data" / "names.txt").read_text(encoding="utf-8"))


def parse_lexicon(text: str) -> Lexicon:
    """Parse a file of the form described above."""
    lexicon = Lexicon()
    tables = {"given": lexicon.given, "surname": lexicon.surname}
    for line in text.splitlines():
        head, mark, number, *words = line.split(" ")
        if head == "written":
            tables[mark].spellings.update(_parse_spelling(word) for word in words)
        elif head == "word":
            lexicon.words = frozenset(words)
        elif head == "after":
            letter_bits = tables[mark].letter_bits
            for letter, tenths in zip(_LETTERS, words, strict=True):
                letter_bits[number + letter] = int(tenths) / 10
        else:
            tables[head].bits.update(dict.fromkeys(words, int(number)))
            if mark in _GENDERS:
                lexicon.gender.update(dict.fromkeys(words, _GENDERS[mark]))
    return lexicon


def _parse_spelling(word: str) -> tuple[str, str]:
    key, _, written = word.rpartition("=")
    written = written.replace("_", " ")
    return key or fold_name(written), written


def fold_name(name: str) -> str:
    """The key of a name: its letters in lower case and ASCII. Letters of other scripts stay."""
    if name.isascii() and name.isalpha():
        return name.lower()
    text = unicodedata.normalize("NFD", name.lower().translate(_FOLDED))
    return "".join(c for c in text if c.isalpha())
