"""What one SMTP reply means: stage before code, enhanced code before text.

`engine.smtp.reply_rules` is the table; this file prepares a reply for it and reads out what else
the text tells: how long to wait, and which block list refused us. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from engine.model import Meaning, Stage
from engine.smtp.reply_rules import BLOCK_LISTS, RULES, Rule

MAX_TEXT = 2_000
"""Characters of a reply that are looked at: enough for the longest known, and a bound."""
MAX_RETRY_AFTER_S = 86_400


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says."""

    meaning: Meaning
    rule: str
    """Name of the row of `engine.smtp.reply_rules.RULES` that decided."""
    enhanced: str | None = None
    block_list: str | None = None
    retry_after_s: int | None = None
    inactive: bool = False
    """The mailbox is full or refused, and out of use as well."""


def read(stage: Stage, code: int, text: str) -> Reading:
    """`classify` for a reply whose enhanced code still stands in its text."""
    return classify(stage, code, enhanced_code(code, text), text)


def prepare() -> None:
    """Compile the table now rather than in the middle of the first conversation (40 ms)."""
    _compiled()


def classify(stage: Stage, code: int, enhanced: str | None, text: str) -> Reading:
    """What a reply to `stage` says of us, the domain or the mailbox.

    `text` is the server's own, lines joined by blanks or line ends. Total: every reply has a
    reading. A 5xx that none of the rows knows is `REJECTED_UNRECOGNISED`, which
    `engine.smtp.catch_all` settles by comparing the reply to a random address.
    """
    folded = fold(text, enhanced)
    rule = _first_fit(stage, str(code), enhanced or "", folded)
    about_us = rule.meaning in _ABOUT_US
    waits = 400 <= code < 500 or rule.meaning in _WAITS
    return Reading(
        rule.meaning,
        rule.name,
        enhanced=enhanced,
        block_list=_block_list(folded) if about_us else None,
        retry_after_s=retry_after_s(folded) if waits else None,
        inactive=rule.inactive,
    )


_ABOUT_US = frozenset({Meaning.IP_BLOCKED})
_WAITS = frozenset({Meaning.THROTTLED, Meaning.GREYLISTED, Meaning.MAILBOX_RATE_LIMITED})

# At the start, as RFC 2034 has it, or in brackets as qmail writes it; Cisco puts a # before it.
_ENHANCED = re.compile(r"\s*#?([245]\.\d{1,3}\.\d{1,3})(?![.\d])")
_ENHANCED_BRACKETED = re.compile(r"\(#?([245]\.\d{1,3}\.\d{1,3})\b[^)]{0,20}\)")


def enhanced_code(code: int, text: str) -> str | None:
    """The RFC 3463 code in a reply's text, if there is one of the same class as `code`."""
    found = _ENHANCED.match(text) or _ENHANCED_BRACKETED.search(text[:MAX_TEXT])
    if found is None or found[1][0] != str(code)[0]:
        return None
    return found[1]


# But no IP address: "<192.0.2.1> is blocked".
_ADDRESS = re.compile(
    r"<(?![\d.]{7,15}>)[^<>\s]*>|[^\s<>()\[\]:;,\"'@]{1,80}@\w[\w-]*(?:\.\w[\w-]*)*"
)
_LINE_CODE = re.compile(r"(?:^|(?<=[\r\n]))[45]\d\d[ -]")
_BLANKS = re.compile(r"\s+")
# So that "IP address … not found" is not taken for an address of a mailbox.
_IP_ADDRESS = re.compile(r"\bip[ -]address(?:es)?\b")
# What decomposition leaves: letters with a stroke, the dotless i, and three kinds of quote.
_LETTERS = str.maketrans(
    "\N{LATIN SMALL LETTER L WITH STROKE}\N{LATIN SMALL LETTER O WITH STROKE}"
    "\N{LATIN SMALL LETTER D WITH STROKE}\N{LATIN SMALL LETTER DOTLESS I}"
    "\N{RIGHT SINGLE QUOTATION MARK}\N{GRAVE ACCENT}\N{ACUTE ACCENT}",
    "lodi'''",
)


def fold(text: str, enhanced: str | None = None) -> str:
    """Text as the word families want it: lower case, no accents, addresses or repeated codes."""
    text = _LINE_CODE.sub("", text[:MAX_TEXT])
    # Sendmail's dots would make one word of an address and what precedes it.
    text = _ADDRESS.sub("", text.replace("...", " ")).lower().replace("_", " ")
    if enhanced:
        text = text.replace(enhanced, " ")
    # The page that explains: "messages" of errors are none of ours.
    text = text.replace("error-messages", "").replace("error-codes", "")
    if not text.isascii():
        text = _ACCENTED.sub(_plain, text.translate(_LETTERS))
    text = _IP_ADDRESS.sub("ip-addr", text)
    return _BLANKS.sub(" ", text).strip()


# Latin letters only: elsewhere the marks make other letters, as in Cyrillic and Japanese.
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")


def _plain(letter: re.Match[str]) -> str:
    return unicodedata.normalize("NFD", letter[0])[0]


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    code: re.Pattern[str]
    enhanced: re.Pattern[str] | None
    words: re.Pattern[str] | None
    unless: re.Pattern[str] | None

    def fits(self, stage: Stage, code: str, enhanced: str, folded: str) -> bool:
        return (
            stage in self.rule.stages
            and self.code.fullmatch(code) is not None
            and (self.enhanced is None or self.enhanced.fullmatch(enhanced) is not None)
            and (self.words is None or self.words.search(folded) is not None)
            and (self.unless is None or self.unless.search(folded) is None)
        )


def _compile(rule: Rule) -> _Compiled:
    return _Compiled(
        rule,
        re.compile(rule.code),
        re.compile(rule.enhanced) if rule.enhanced else None,
        re.compile(rule.words) if rule.words else None,
        re.compile(rule.unless) if rule.unless else None,
    )


@cache
def _compiled() -> tuple[_Compiled, ...]:
    # Not on import: compiling the table takes as long as importing half of the engine.
    return tuple(_compile(rule) for rule in RULES)


_GARBAGE = Rule("no-code", Meaning.NOT_SMTP, "RFC 5321 section 4.2.1")


@lru_cache(maxsize=4096)
def _first_fit(stage: Stage, code: str, enhanced: str, folded: str) -> Rule:
    # Folding takes the addresses out, so a server's replies to many mailboxes are few texts.
    for candidate in _compiled():
        if candidate.fits(stage, code, enhanced, folded):
            return candidate.rule
    return _GARBAGE


_LISTS = tuple((name, re.compile(pattern)) for name, pattern in BLOCK_LISTS)
# Not "from", and no "domain": those are followed by a name of ours.
_LISTED_AT = re.compile(
    r"\b(?:(?:using|by|in|on|at|see|list|via) (?:the |a |our |rbl |dnsbl |list )*"
    r"|listed (?:on|at|in|by) https?://(?:www\.)?)((?:[a-z0-9-]+\.)+[a-z]{2,})"
)


def _block_list(folded: str) -> str | None:
    for name, pattern in _LISTS:
        if pattern.search(folded):
            return name
    found = _LISTED_AT.search(folded)
    return found[1] if found else None


_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d):(\d\d)\b")
_AND = re.compile(r"(?:\(\w\))?,?(?: and| und| et)? ?")
_SPAN = re.compile(
    r"\b(\d{1,5}) ?-?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|"
    r"secondes?|sekunden?|minuten?|stunden?|heures?|segundos?|minutos?|horas?|ore|secondi|minuti)\b"
)
_BARE = re.compile(r"\bretry[ -=](?:in |after )?(\d{1,5})\b")


def retry_after_s(folded: str) -> int | None:
    """How many seconds a temporary refusal asks us to wait; None if it names no time."""
    clock = _CLOCK.search(folded)
    if clock:
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    elif span := _SPAN.search(folded):
        seconds = int(span[1]) * _UNITS_S[span[2][0]]
        joint = _AND.match(folded, span.end())
        rest = _SPAN.match(folded, joint.end()) if joint else None
        if rest and _UNITS_S[rest[2][0]] < _UNITS_S[span[2][0]]:
            seconds += int(rest[1]) * _UNITS_S[rest[2][0]]
    elif bare := _BARE.search(folded):
        seconds = int(bare[1])
    else:
        return None
    return min(seconds, MAX_RETRY_AFTER_S)
