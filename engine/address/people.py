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

from engine.address.lexicon import Lexicon, fold, lexicon
from engine.address.lists import is_no_reply, is_role
from engine.address.readings import PARTICLES, Kind, Reading, nobody, readings
from engine.model import Gender, Person

MOST_CHARACTERS = 64
MOST_WORDS = 5
LONGEST_WORD = 30
LEAST_ACCURACY = 0.2
"""Below this, nothing is said."""
MOST_ACCURACY = 0.99
HALF = 0.5
"""What a first or a last name alone is worth: half an answer."""


CURVES: dict[Kind, tuple[float, float]] = {
    Kind.APART: (1.56, 0.36),  # 3669 rows, 0.98
    Kind.TOGETHER: (-0.31, 0.37),  # 2514 rows, 0.79
    Kind.FIRST_KNOWN: (1.86, 0.17),  # 2604 rows, 0.85
    Kind.LAST_KNOWN: (1.39, 0.25),  # 1616 rows, 0.83
    Kind.FIRST_CUT_OFF: (-0.02, 0.27),  # 2355 rows, 0.46
    Kind.LAST_CUT_OFF: (-0.26, 0.22),  # 1000 rows, 0.64
    Kind.MENDED: (-1.04, 0.21),  # 94 rows, 0.60
    Kind.FIRST_ONLY: (0.58, 0.34),  # 1497 rows, 0.70
    Kind.LAST_ONLY: (0.12, 0.52),  # 2768 rows, 0.75
}
"""Of each kind: offset and slope on the log-odds of its share, as fitted."""


NOISE = frozenset(
    {
        "dr", "drs", "email", "esq", "gmail", "hello", "hi", "home", "iam", "im", "its", "itsme",
        "jr", "mail", "me", "mr", "mrs", "ms", "my", "official", "prof", "real", "sr", "the",
        "work",
    }
)  # fmt: skip
"""Words beside names that say nothing of them."""

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_PARTS = re.compile("([ -])")
_HUMP = re.compile(r"(?<=[a-zß-ÿ])(?<!\bMc)(?<!\bMac)(?=[A-ZÀ-Þ])")


class Offer(NamedTuple):
    """The answer that promises most, before it is known whether that is enough."""

    accuracy: float
    kind: Kind
    share: float
    first: str | None
    last: str | None


def guess(local: str) -> Person | None:
    """Whom the local part is named after; None if it names nobody, or nothing can be said.

    The accuracy is the chance that first and last name are both right; a first or last name
    alone counts for half, so that it never exceeds 0.5.
    """
    return _person(tuple(words_of(local)))


@lru_cache(2048)
def _person(words: tuple[Word, ...]) -> Person | None:
    # kept, since the same words come again with other digits or at another domain
    offer = best_offer(words)
    if offer is None or offer.accuracy < LEAST_ACCURACY:
        return None
    lex = lexicon()
    typed = {word.key: word.typed for word in words if word.typed.lower() != word.key}
    first, last = offer.first, offer.last
    return Person(
        first=_written(first, typed, lex.given.written) if first else None,
        last=_written(last, typed, lex.surname.written) if last else None,
        gender=_gender(first, lex) if first else None,
        accuracy=offer.accuracy,
    )


def _gender(first: str, lex: Lexicon) -> Gender | None:
    return lex.gender.get(first) or lex.gender.get(first.partition("-")[0])


class Word(NamedTuple):
    """A run of letters: its key, and the form in which it was typed."""

    key: str
    typed: str


def words_of(local: str) -> list[Word]:
    """The words that may be names; none if the local part is a role's, or too strange."""
    if len(local) > 4 * MOST_CHARACTERS:
        return []
    user = (local.partition("+")[0] or local).strip('"')
    if len(user) > MOST_CHARACTERS or is_role(user) or is_no_reply(user):
        return []
    text = unicodedata.normalize("NFC", user)
    if not text.isupper():
        text = _HUMP.sub(".", text)
    words: list[Word] = []
    gaps: list[str] = []
    end = 0
    for match in _WORDS.finditer(text):
        key = fold(match[0])
        if not (key.isascii() and 0 < len(key) <= LONGEST_WORD):
            return []
        gaps.append(text[end : match.start()])
        words.append(Word(key, match[0]))
        end = match.end()
    words = _hyphenated(words, gaps)
    telling = [word for word in words if word.key not in NOISE]
    if any(len(word.key) > 1 for word in telling):
        words = telling
    return words if len(words) <= MOST_WORDS and any(len(w.key) > 1 for w in words) else []


def _hyphenated(words: list[Word], gaps: list[str]) -> list[Word]:
    """A hyphen joins two words where something else separates others: `mary-jane.watson`."""
    if "-" not in gaps[1:] or set(gaps[1:]) == {"-"}:
        return words
    joined: list[Word] = []
    for word, gap in zip(words, gaps, strict=True):
        if gap == "-" and joined and len(joined[-1].key) > 1 < len(word.key):
            before = joined.pop()
            word = Word(f"{before.key}-{word.key}", f"{before.typed}-{word.typed}")
        joined.append(word)
    return joined


Answer = tuple[str | None, str | None]


def best_offer(words: Sequence[Word]) -> Offer | None:
    """Weighs all readings of the words; the names are keys of the lexicon."""
    if not words:
        return None
    lex = lexicon()
    keys = [word.key for word in words]
    shares: dict[Answer, float] = defaultdict(float)
    best: dict[Answer, Reading] = {}
    for reading in readings(keys, lex):
        answer = reading.first, reading.last
        shares[answer] += 2.0**-reading.bits
        if answer not in best or reading.bits < best[answer].bits:
            best[answer] = reading
    # Where answers share a half, that half is surer than any of them.
    offered: dict[tuple[Kind, Answer], float] = defaultdict(float)
    for (first, last), share in shares.items():
        if first:
            offered[Kind.FIRST_ONLY, (first, None)] += share
        if last:
            offered[Kind.LAST_ONLY, (None, last)] += share
        if first and last:
            offered[best[first, last].kind, (first, last)] += share
    total = sum(shares.values()) + 2.0 ** -nobody(keys, lex)
    offers = (
        Offer(_accuracy(kind, share / total), kind, share / total, *answer)
        for (kind, answer), share in offered.items()
    )
    return max(offers, key=lambda offer: offer[:1], default=None)


def _accuracy(kind: Kind, share: float) -> float:
    offset, slope = CURVES[kind]
    right = 1 / (1 + math.exp(-offset - slope * log_odds(share)))
    right = min(right, MOST_ACCURACY)
    return round(right * (HALF if kind in (Kind.FIRST_ONLY, Kind.LAST_ONLY) else 1.0), 2)


def log_odds(share: float) -> float:
    """Of a share between 0 and 1: its odds against the rest, in nats, at most 27 either way."""
    share = min(max(share, 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))


def _written(name: str, typed: dict[str, str], certain: dict[str, str]) -> str:
    """A name as people write it: capitals, marks as typed or where certain, particles small."""
    parts = _PARTS.split(name)
    shown = [
        part
        if part in PARTICLES and len(parts) > 1
        else _capital(typed.get(part) or certain.get(part, part))
        for part in parts
    ]
    return "".join(shown).replace("mc ", "Mc").replace("mac ", "Mac")


def _capital(name: str) -> str:
    if name != name.lower():
        return name
    if name.startswith("mc") and len(name) > 4:
        return f"Mc{name[2:].title()}"
    return name.title()
