"""The person whom a local part is named after: first and last name, gender, and the accuracy.

`engine.address.readings` reads a local part in all the usual ways of forming one: `first.last`,
`firstlast`, `flast`, `last.first`, with initials, particles, digits and typos. Each reading has a
likelihood. The share of a pair of names in the likelihood of all readings, the reading as no name
included, becomes its accuracy by a curve that was fitted for its kind.

`tools/measure_people.py` fits the curves to labelled local parts. Four in five of their names come
from lists that the lexicon was not built from, each name with the same chance, so that one name in
three is not in the lexicon; the fifth is drawn by frequency from the US census and births, rare
names included. The local parts have the usual forms of 27 countries, 3 % of them with a typo, and
one in seven names no person. Half of the names served to fit the curves;
`tests/engine/address/test_people.py` checks the accuracy on the other half.
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
from engine.address.lists import ROLE_NAMES, is_no_reply, is_role, words_of
from engine.address.readings import PARTICLES, NameReading, ReadingKind, name_readings, no_name_bits
from engine.model import Gender, Person

MAX_CHARACTERS = 64
MAX_WORDS = 5
MAX_WORD_LETTERS = 30
MIN_ACCURACY = 0.2
"""A guess of a lower accuracy is not returned."""
MAX_ACCURACY = 0.99
SINGLE_NAME_FACTOR = 0.5
"""The accuracy of a first or a last name alone counts for half."""

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
"""By kind: the offset and the slope that turn the log-odds of a share into those of the accuracy.

The comments give the number of rows fitted to, and the fraction of them that was right.
"""

NOISE_WORDS = frozenset(
    {
        "dr", "drs", "email", "esq", "gmail", "hello", "hi", "home", "iam", "im", "its", "itsme",
        "jr", "mail", "me", "mr", "mrs", "ms", "my", "official", "prof", "real", "sr", "the",
        "work",
    }
)  # fmt: skip
"""Words that stand beside names without being part of them."""

TITLES = words_of(
    """
    captain doctor madam mister miss pastor professor rabbi reverend sir
    doktor fam familie firma frau fraeulein fraulein herr herrn ing kanzlei mag
    docteur famille madame mademoiselle maitre mlle mme monsieur
    dona dra familia ingeniero lic licenciado senor senora senorita sra srta
    doutor doutora eng engenheiro senhor senhora
    avv avvocato dott dottore dottoressa famiglia geom sig signor signora signorina
    dhr heer meneer mevr mevrouw mejuffrouw
    inz mgr pan pani panstwo
    judr mudr phdr pana
    fru froken herra rouva hra rva
    bay bayan sayin
    gospodin gospozha
    shri smt kumari
    advokat anwalt anwaeltin anwaltskanzlei apotheke architekt architekturbuero arztpraxis dipl
    hausarzt ingenieur notar notariat pfarramt pfarrer pfarrerin rechtsanwalt rechtsanwaeltin
    steuerberater steuerberaterin tierarzt tierarztpraxis zahnarzt zahnarztpraxis
    avocat avocate cabinet notaire pharmacie
    abogada abogado arquitecto profesor profesora advogada advogado
    architetto ingegnere maestra maestro ssa
    """
)
"""Titles, then professions, by language, without those that are common names as well. Before a name
they are not part of it; as the last word `herr` may be a surname."""

_SHORT_TITLES = frozenset({"dr", "drs", "mr", "mrs", "ms", "prof"})

PLACEHOLDERS = words_of(
    """
    anonymous anybody anyone baby babyboy babygirl customer default dummy everybody everyone example
    fake firstname guest infant lastname name nobody nomail noname none notnamed null placeholder
    sample somebody someone temp test tester testuser unknown unnamed user username
    """
)
"""What stands in the place of a name where nobody knows it; birth registers have some of them."""

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_DIGITS = re.compile(r"\d+")
_PARTS = re.compile("([ -])")
_CAMEL_CASE = re.compile(r"(?<=[a-zß-ÿ])(?<!\bMc)(?<!\bMac)(?=[A-ZÀ-Þ])")


class NameCandidate(NamedTuple):
    """A first name, a last name or both, with its accuracy before the threshold is applied."""

    accuracy: float
    kind: ReadingKind
    share: float
    first: str | None
    last: str | None


def guess_person(local: str) -> Person | None:
    """The person whom the local part is named after; None if it names none, or is too unclear.

    The accuracy is the chance that first and last name are both right. That of a first or a
    last name alone is halved, so that it never exceeds 0.5.
    """
    if len(local) > 4 * MAX_CHARACTERS:
        return None
    user = (local.partition("+")[0] or local).strip('"')
    if len(user) > MAX_CHARACTERS or is_role(user) or is_no_reply(user):
        return None
    return _person_from_text(_DIGITS.sub("0", user))


@lru_cache(2048)
def _person_from_text(text: str) -> Person | None:
    # Cached because the same words return with other digits, which only separate words, or at
    # another domain.
    words = split_words(text)
    best = best_candidate(words)
    if best is None or best.accuracy < MIN_ACCURACY:
        return None
    lex = load_lexicon()
    typed = {word.key: word.typed for word in words if word.typed.lower() != word.key}
    first, last = best.first, best.last
    return Person(
        first=_spell(first, typed, lex.given.spellings) if first else None,
        last=_spell(last, typed, lex.surname.spellings) if last else None,
        gender=_gender_of(first, lex) if first else None,
        accuracy=best.accuracy,
    )


def _gender_of(first: str, lex: Lexicon) -> Gender | None:
    return lex.gender.get(first) or lex.gender.get(first.partition("-")[0])


class LocalPartWord(NamedTuple):
    """A run of letters: its key in the lexicon, and the letters as typed."""

    key: str
    typed: str
    titled: bool = False
    """Whether it stands alone after a title, as a last name does."""


def split_words(text: str) -> list[LocalPartWord]:
    """The words of a local part that may be names.

    None for words that are not in Latin script, and for more than `MAX_WORDS` of them.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not (text.islower() or text.isupper()):
        text = _CAMEL_CASE.sub(".", text)
    words = _words_in(text)
    last = words[-1:]
    names = [
        word
        for word in words
        if word.key not in NOISE_WORDS and (word.key not in TITLES or word in last)
    ]
    if len(names) == 1 and any(w.key in TITLES | _SHORT_TITLES for w in words if w not in names):
        names = [names[0]._replace(titled=True)]
    if not [word for word in names if word.key not in PLACEHOLDERS]:
        return []
    if [word for word in names if len(word.key) > 1]:
        words = names
    return words if len(words) <= MAX_WORDS and any(len(w.key) > 1 for w in words) else []


def _words_in(text: str) -> list[LocalPartWord]:
    """All words of a text; none if one of them is too long or not in Latin script."""
    if "-" in text:  # what is between the words matters then
        matches = list(_WORDS.finditer(text))
        ends = [0, *(match.end() for match in matches)]
        gaps = [text[end : match.start()] for end, match in zip(ends, matches, strict=False)]
        words = [LocalPartWord(fold_name(match[0]), match[0]) for match in matches]
    else:
        gaps = []
        words = [LocalPartWord(fold_name(typed), typed) for typed in _WORDS.findall(text)]
    for word in words:
        if not (word.key.isascii() and 0 < len(word.key) <= MAX_WORD_LETTERS):
            return []
    return _join_hyphenated(words, gaps) if gaps else words


def _join_hyphenated(words: list[LocalPartWord], gaps: list[str]) -> list[LocalPartWord]:
    """Words with hyphenated ones as one word, where something else separates the others, as in
    `mary-jane.watson`."""
    if "-" not in gaps[1:] or set(gaps[1:]) == {"-"}:
        return words
    joined: list[LocalPartWord] = []
    for word, gap in zip(words, gaps, strict=True):
        if gap == "-" and joined and len(joined[-1].key) > 1 < len(word.key):
            left = joined.pop()
            word = LocalPartWord(f"{left.key}-{word.key}", f"{left.typed}-{word.typed}")
        joined.append(word)
    return joined


FullName = tuple[str | None, str | None]


def best_candidate(words: Sequence[LocalPartWord]) -> NameCandidate | None:
    """The candidate with the highest accuracy among all readings of the words.

    Its names are keys of the lexicon.
    """
    if not words:
        return None
    lex = load_lexicon()
    keys = [word.key for word in words]
    likelihoods: dict[FullName, float] = defaultdict(float)
    likeliest: dict[FullName, NameReading] = {}
    total = 2.0 ** -no_name_bits(keys, lex)
    for reading in name_readings(keys, lex):
        suits_title = reading.last is not None or not words[0].titled
        if not (
            suits_title and _may_be_first(reading.first, lex) and _may_be_last(reading.last, lex)
        ):
            total += 2.0**-reading.bits
            continue
        name = reading.first, reading.last
        likelihoods[name] += 2.0**-reading.bits
        if name not in likeliest or reading.bits < likeliest[name].bits:
            likeliest[name] = reading
    # Full names with the same first or last name add up: that part is then the surest candidate.
    by_candidate: dict[tuple[ReadingKind, FullName], float] = defaultdict(float)
    for (first, last), likelihood in likelihoods.items():
        if first:
            by_candidate[ReadingKind.FIRST_ONLY, (first, None)] += likelihood
        if last:
            by_candidate[ReadingKind.LAST_ONLY, (None, last)] += likelihood
        if first and last:
            by_candidate[likeliest[first, last].kind, (first, last)] += likelihood
    total += sum(likelihoods.values())
    candidates = (
        NameCandidate(_accuracy(kind, likelihood / total), kind, likelihood / total, *name)
        for (kind, name), likelihood in by_candidate.items()
    )
    return max(candidates, key=lambda candidate: candidate.accuracy, default=None)


_NO_NAMES = TITLES | PLACEHOLDERS | ROLE_NAMES


def _may_be_first(name: str | None, lex: Lexicon) -> bool:
    """Whether `name` is no title, no placeholder and no function; but Dev is a name as well."""
    words = name.split("-") if name else ()
    return not any(
        word in _NO_NAMES and not (word in ROLE_NAMES and word in lex.given.bits) for word in words
    )


def _may_be_last(name: str | None, lex: Lexicon) -> bool:
    """The same for a last name; but Herr, Guest and Sales are names as well."""
    words = name.split("-") if name else ()
    return not any(word in _NO_NAMES and word not in lex.surname.bits for word in words)


def _accuracy(kind: ReadingKind, share: float) -> float:
    offset, slope = ACCURACY_CURVES[kind]
    accuracy = min(1 / (1 + math.exp(-offset - slope * log_odds(share))), MAX_ACCURACY)
    if kind in (ReadingKind.FIRST_ONLY, ReadingKind.LAST_ONLY):
        accuracy *= SINGLE_NAME_FACTOR
    return round(accuracy, 2)


def log_odds(share: float) -> float:
    """The log-odds (natural logarithm) of a share of 0..1, limited to -27.6..27.6."""
    share = min(max(share, 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))


def _spell(name: str, typed: dict[str, str], known: dict[str, str]) -> str:
    """A name as people write it.

    Capitals begin it, particles stay in lower case, and diacritics are as typed or as `known`
    spells the name.
    """
    parts = _PARTS.split(name)
    shown = [
        part
        if part in PARTICLES and len(parts) > 1
        else _capitalize(typed.get(part) or known.get(part, part))
        for part in parts
    ]
    return "".join(shown).replace("mc ", "Mc").replace("mac ", "Mac")


def _capitalize(name: str) -> str:
    if name != name.lower():
        return name
    if name.startswith("mc") and len(name) > 4:
        return f"Mc{name[2:].title()}"
    return name.title()
