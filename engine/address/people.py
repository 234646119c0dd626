"""Who a local part is named after: first and last name, gender, and how far to trust them.

A local part is read in every way that people make one (`engine.address.readings`): `first.last`,
`firstlast`, `flast`, `last.first`, with initials, particles, digits and slips of the pen. The
share of an answer among all readings, naming nobody among them, is put through the curve that was
measured for its kind: that is its accuracy.

Measured by `tools/measure_people.py`. Four in five names of its labelled local parts come from
lists that the lexicon was not made from, drawn evenly, so that one in three is in no lexicon; the
fifth is drawn from the US census and births by frequency, tail included. They are rendered in
the usual ways, 27 countries, three in a hundred with a slip, and one local part in seven names
nobody. The curves were fitted to half of the names; `tests/engine/address/test_people.py` reads
others.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from engine.address.lexicon import Lexicon, fold_name, load_lexicon
from engine.address.lists import is_no_reply, is_role
from engine.address.readings import PARTICLES, NameReading, ReadingKind, name_readings, no_name_bits
from engine.model import Gender, Person

MAX_CHARACTERS = 64
MAX_WORDS = 5
MAX_WORD_LETTERS = 30
MIN_ACCURACY = 0.2
"""Below this, nothing is said."""
MAX_ACCURACY = 0.99
SINGLE_NAME_FACTOR = 0.5
"""What a first or a last name alone is worth: half an answer."""


ACCURACY_CURVES: dict[ReadingKind, tuple[float, float]] = {
    ReadingKind.APART: (1.56, 0.36),  # 3669 rows, 0.98
    ReadingKind.TOGETHER: (-0.31, 0.37),  # 2514 rows, 0.79
    ReadingKind.FIRST_KNOWN: (1.86, 0.17),  # 2604 rows, 0.85
    ReadingKind.LAST_KNOWN: (1.39, 0.25),  # 1616 rows, 0.83
    ReadingKind.FIRST_CUT_OFF: (-0.02, 0.27),  # 2355 rows, 0.46
    ReadingKind.LAST_CUT_OFF: (-0.26, 0.22),  # 1000 rows, 0.64
    ReadingKind.CORRECTED: (-1.04, 0.21),  # 94 rows, 0.60
    ReadingKind.FIRST_ONLY: (0.58, 0.34),  # 1497 rows, 0.70
    ReadingKind.LAST_ONLY: (0.12, 0.52),  # 2768 rows, 0.75
}
"""Of each kind: offset and slope on the log-odds of its share, as fitted."""


NOISE_WORDS = frozenset(
    {
        "dr", "drs", "email", "esq", "gmail", "hello", "hi", "home", "iam", "im", "its", "itsme",
        "jr", "mail", "me", "mr", "mrs", "ms", "my", "official", "prof", "real", "sr", "the",
        "work",
    }
)  # fmt: skip
"""Words beside names that say nothing of them."""

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_PARTS = re.compile("([ -])")
_CAMEL_CASE = re.compile(r"(?<=[a-zß-ÿ])(?<!\bMc)(?<!\bMac)(?=[A-ZÀ-Þ])")


class NameCandidate(NamedTuple):
    """The answer that promises most, before it is known whether that is enough."""

    accuracy: float
    kind: ReadingKind
    share: float
    first: str | None
    last: str | None


def guess_person(local: str) -> Person | None:
    """Whom the local part is named after; None if it names nobody, or nothing can be said.

    The accuracy is the chance that first and last name are both right; a first or last name
    alone counts for half, so that it never exceeds 0.5.
    """
    return _person_from_words(tuple(split_words(local)))


@lru_cache(2048)
def _person_from_words(words: tuple[LocalPartWord, ...]) -> Person | None:
    # kept, since the same words come again with other digits or at another domain
    offer = best_candidate(words)
    if offer is None or offer.accuracy < MIN_ACCURACY:
        return None
    lex = load_lexicon()
    typed = {word.key: word.typed for word in words if word.typed.lower() != word.key}
    first, last = offer.first, offer.last
    return Person(
        first=_spell(first, typed, lex.given.spellings) if first else None,
        last=_spell(last, typed, lex.surname.spellings) if last else None,
        gender=_gender_of(first, lex) if first else None,
        accuracy=offer.accuracy,
    )


def _gender_of(first: str, lex: Lexicon) -> Gender | None:
    return lex.gender.get(first) or lex.gender.get(first.partition("-")[0])


class LocalPartWord(NamedTuple):
    """A run of letters: its key, and the form in which it was typed."""

    key: str
    typed: str


def split_words(local: str) -> list[LocalPartWord]:
    """The words that may be names; none if the local part is a role's, or too strange."""
    if len(local) > 4 * MAX_CHARACTERS:
        return []
    user = (local.partition("+")[0] or local).strip('"')
    if len(user) > MAX_CHARACTERS or is_role(user) or is_no_reply(user):
        return []
    text = unicodedata.normalize("NFC", user)
    if not text.isupper():
        text = _CAMEL_CASE.sub(".", text)
    words: list[LocalPartWord] = []
    gaps: list[str] = []
    end = 0
    for match in _WORDS.finditer(text):
        key = fold_name(match[0])
        if not (key.isascii() and 0 < len(key) <= MAX_WORD_LETTERS):
            return []
        gaps.append(text[end : match.start()])
        words.append(LocalPartWord(key, match[0]))
        end = match.end()
    words = _join_hyphenated(words, gaps)
    telling = [word for word in words if word.key not in NOISE_WORDS]
    if any(len(word.key) > 1 for word in telling):
        words = telling
    return words if len(words) <= MAX_WORDS and any(len(w.key) > 1 for w in words) else []


def _join_hyphenated(words: list[LocalPartWord], gaps: list[str]) -> list[LocalPartWord]:
    """A hyphen joins two words where something else separates others: `mary-jane.watson`."""
    if "-" not in gaps[1:] or set(gaps[1:]) == {"-"}:
        return words
    joined: list[LocalPartWord] = []
    for word, gap in zip(words, gaps, strict=True):
        if gap == "-" and joined and len(joined[-1].key) > 1 < len(word.key):
            before = joined.pop()
            word = LocalPartWord(f"{before.key}-{word.key}", f"{before.typed}-{word.typed}")
        joined.append(word)
    return joined


FullName = tuple[str | None, str | None]


def best_candidate(words: Sequence[LocalPartWord]) -> NameCandidate | None:
    """Weighs all readings of the words; the names are keys of the lexicon."""
    if not words:
        return None
    lex = load_lexicon()
    keys = [word.key for word in words]
    shares: dict[FullName, float] = defaultdict(float)
    best: dict[FullName, NameReading] = {}
    for reading in name_readings(keys, lex):
        answer = reading.first, reading.last
        shares[answer] += 2.0**-reading.bits
        if answer not in best or reading.bits < best[answer].bits:
            best[answer] = reading
    # Where answers share a half, that half is surer than any of them.
    offered: dict[tuple[ReadingKind, FullName], float] = defaultdict(float)
    for (first, last), share in shares.items():
        if first:
            offered[ReadingKind.FIRST_ONLY, (first, None)] += share
        if last:
            offered[ReadingKind.LAST_ONLY, (None, last)] += share
        if first and last:
            offered[best[first, last].kind, (first, last)] += share
    total = sum(shares.values()) + 2.0 ** -no_name_bits(keys, lex)
    offers = (
        NameCandidate(_accuracy(kind, share / total), kind, share / total, *answer)
        for (kind, answer), share in offered.items()
    )
    return max(offers, key=lambda offer: offer[:1], default=None)


def _accuracy(kind: ReadingKind, share: float) -> float:
    offset, slope = ACCURACY_CURVES[kind]
    right = 1 / (1 + math.exp(-offset - slope * log_odds(share)))
    right = min(right, MAX_ACCURACY)
    return round(
        right
        * (SINGLE_NAME_FACTOR if kind in (ReadingKind.FIRST_ONLY, ReadingKind.LAST_ONLY) else 1.0),
        2,
    )


def log_odds(share: float) -> float:
    """Of a share between 0 and 1: its odds against the rest, in nats, at most 27 either way."""
    share = min(max(share, 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))


def _spell(name: str, typed: dict[str, str], certain: dict[str, str]) -> str:
    """A name as people write it: capitals, marks as typed or where certain, particles small."""
    parts = _PARTS.split(name)
    shown = [
        part
        if part in PARTICLES and len(parts) > 1
        else _capitalize(typed.get(part) or certain.get(part, part))
        for part in parts
    ]
    return "".join(shown).replace("mc ", "Mc").replace("mac ", "Mac")


def _capitalize(name: str) -> str:
    if name != name.lower():
        return name
    if name.startswith("mc") and len(name) > 4:
        return f"Mc{name[2:].title()}"
    return name.title()
