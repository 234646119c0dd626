"""What one SMTP reply means: stage before code, enhanced code before text. Pure.

`engine.smtp.reply_rules` is the table. This module prepares a reply for it, and extracts the
delay that the text asks for and the block list that it names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from engine.model import Meaning, Stage
from engine.smtp.echo import without_recipient
from engine.smtp.meanings import ABOUT_MAILBOX, MAY_STATE_DELAY, NAMES_BLOCK_LIST
from engine.smtp.reply_rules import BLOCK_LIST_PATTERNS, REPLY_RULES, ReplyRule
from engine.smtp.reply_words import MAILBOX_WORDS
from engine.smtp.terms import MAX_REPLY_CHARACTERS, ReplyClassification

MAX_RETRY_AFTER_S = 86_400


def classify_reply(stage: Stage, code: int, text: str) -> ReplyClassification:
    """As `classify_parts`, for a reply whose enhanced code still stands in its text."""
    return classify_parts(stage, code, enhanced_code(code, text), text)


def compile_rules() -> None:
    """Compile the table now (40 ms) rather than during the first conversation."""
    _compiled_rules()


def classify_parts(stage: Stage, code: int, enhanced: str | None, text: str) -> ReplyClassification:
    """What a reply at `stage` says about us, the domain or the mailbox.

    `text` is the server's own, its lines joined by blanks or line ends. Every reply gets a
    classification: a 5xx that no row recognises is `REJECTED_UNRECOGNISED`, which
    `engine.smtp.catch_all` decides by comparison with the control's reply.
    """
    folded = fold_text(text, enhanced)
    rule = _first_match(stage, str(code), enhanced or "", folded)
    may_name_list = rule.meaning in NAMES_BLOCK_LIST
    may_state_delay = 400 <= code < 500 or rule.meaning in MAY_STATE_DELAY
    return ReplyClassification(
        rule.meaning,
        rule.name,
        enhanced=enhanced,
        block_list=_named_block_list(folded) if may_name_list else None,
        retry_after_s=parse_retry_after_s(folded) if may_state_delay else None,
        inactive=rule.mailbox_inactive,
    )


def classify_rcpt(code: int, text: str, recipient: str) -> ReplyClassification:
    """As `classify_reply` for a reply to RCPT of `recipient`, whose echo does not count."""
    if code < 400:
        return _classify_rcpt_text(code, None, text.replace(recipient, ""))
    enhanced = enhanced_code(code, text)
    stripped = without_recipient(text, recipient)
    found = _classify_rcpt_text(code, enhanced, stripped.text)
    if stripped.further:
        # "Unknown local part dmarc in <dmarc@…>", but also "<relay@…>: Relay access denied".
        further = _classify_rcpt_text(code, enhanced, stripped.further)
        return further if further.meaning in ABOUT_MAILBOX else found
    if stripped.is_certain or found.meaning is not Meaning.REJECTED_UNRECOGNISED:
        return found
    # The word may be the server's own, as in "mailbox full" to the address full@.
    whole = _classify_rcpt_text(code, enhanced, text)
    is_own = whole.meaning in ABOUT_MAILBOX and _MAILBOX_WORD.search(stripped.text) is not None
    return whole if is_own else found


_MAILBOX_WORD = re.compile(MAILBOX_WORDS)


@lru_cache(maxsize=4096)
def _classify_rcpt_text(code: int, enhanced: str | None, text: str) -> ReplyClassification:
    # A server's replies to many recipients are few different texts.
    return classify_parts(Stage.RCPT, code, enhanced or enhanced_code(code, text), text)


# RFC 2034 puts it at the start, qmail in brackets; Cisco writes a # before it.
_ENHANCED = re.compile(r"\s{0,16}#?([245]\.\d{1,3}\.\d{1,3})(?![.\d])")
_ENHANCED_BRACKETED = re.compile(r"\(#?([245]\.\d{1,3}\.\d{1,3})\b[^)]{0,20}\)")


def enhanced_code(code: int, text: str) -> str | None:
    """The RFC 3463 code in a reply's text, if it has one of the same class as `code`."""
    found = _ENHANCED.match(text) or _ENHANCED_BRACKETED.search(text[:MAX_REPLY_CHARACTERS])
    if found is None or found[1][0] != str(code)[0]:
        return None
    return found[1]


# An address, in angle brackets or bare, but no IP address as in "<192.0.2.1> is blocked".
_ADDRESS = re.compile(
    r"<(?![\d.]{7,15}>)[^<>\s]*>|[^\s<>()\[\]:;,\"'@]{1,80}@\w[\w-]*(?:\.\w[\w-]*)*"
)
_LINE_CODE = re.compile(r"(?:^|(?<=[\r\n]))[45]\d\d[ -]")
_BLANKS = re.compile(r"\s+")
# Joined, lest "IP address … not found" be read as a mailbox's address.
_IP_ADDRESS = re.compile(r"\bip[ -]address(?:es)?\b")
# Not changed by decomposition: letters with a stroke, the dotless i, and three kinds of quote.
_LETTER_FOLDING = str.maketrans(
    "\N{LATIN SMALL LETTER L WITH STROKE}\N{LATIN SMALL LETTER O WITH STROKE}"
    "\N{LATIN SMALL LETTER D WITH STROKE}\N{LATIN SMALL LETTER DOTLESS I}"
    "\N{RIGHT SINGLE QUOTATION MARK}\N{GRAVE ACCENT}\N{ACUTE ACCENT}",
    "lodi'''",
)


def fold_text(text: str, enhanced: str | None = None) -> str:
    """Text as the rules match it: lower case, without accents, addresses and repeated codes."""
    text = _LINE_CODE.sub("", text[:MAX_REPLY_CHARACTERS])
    # Sendmail writes "<address>... User unknown": the dots would become part of a word.
    text = _ADDRESS.sub("", text.replace("...", " ")).lower().replace("_", " ")
    if enhanced:
        text = text.replace(enhanced, " ")
    # Part of links to explanations; "message" has a meaning of its own in the rules.
    text = text.replace("error-messages", "").replace("error-codes", "")
    if not text.isascii():
        text = _ACCENTED.sub(_without_accent, text.translate(_LETTER_FOLDING))
    text = _IP_ADDRESS.sub("ip-addr", text)
    return _BLANKS.sub(" ", text).strip()


# Latin letters only: in Cyrillic and Japanese a mark makes another letter.
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")


def _without_accent(letter: re.Match[str]) -> str:
    return unicodedata.normalize("NFD", letter[0])[0]


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    rule: ReplyRule
    code: re.Pattern[str]
    enhanced: re.Pattern[str] | None
    words: re.Pattern[str] | None
    unless: re.Pattern[str] | None

    def matches(self, stage: Stage, code: str, enhanced: str, folded: str) -> bool:
        return (
            stage in self.rule.stages
            and self.code.fullmatch(code) is not None
            and (self.enhanced is None or self.enhanced.fullmatch(enhanced) is not None)
            and (self.words is None or self.words.search(folded) is not None)
            and (self.unless is None or self.unless.search(folded) is None)
        )


def _compile_rule(rule: ReplyRule) -> _CompiledRule:
    return _CompiledRule(
        rule,
        re.compile(rule.code),
        re.compile(rule.enhanced) if rule.enhanced else None,
        re.compile(rule.words) if rule.words else None,
        re.compile(rule.unless) if rule.unless else None,
    )


@cache
def _compiled_rules() -> tuple[_CompiledRule, ...]:
    # Not on import: it takes as long as importing half of the engine.
    return tuple(_compile_rule(rule) for rule in REPLY_RULES)


_NO_CODE_RULE = ReplyRule("no-code", Meaning.NOT_SMTP, "RFC 5321 section 4.2.1")


@lru_cache(maxsize=4096)
def _first_match(stage: Stage, code: str, enhanced: str, folded: str) -> ReplyRule:
    # Without the addresses a server's replies to many mailboxes are few different texts.
    for candidate in _compiled_rules():
        if candidate.matches(stage, code, enhanced, folded):
            return candidate.rule
    return _NO_CODE_RULE


_BLOCK_LISTS = tuple((name, re.compile(pattern)) for name, pattern in BLOCK_LIST_PATTERNS)
# Neither "from" nor "domain": those are followed by our own name.
_LISTED_AT = re.compile(
    r"\b(?:(?:using|by|in|on|at|see|list|via) (?:the |a |our |rbl |dnsbl |list ){0,4}"
    r"|listed (?:on|at|in|by) https?://(?:www\.)?)((?:[a-z0-9-]+\.)+[a-z]{2,})"
)


def _named_block_list(folded: str) -> str | None:
    for name, pattern in _BLOCK_LISTS:
        if pattern.search(folded):
            return name
    found = _LISTED_AT.search(folded)
    return found[1] if found else None


_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_CLOCK_TIME = re.compile(r"\b(\d{1,2}):(\d\d):(\d\d)\b")
_CONJUNCTION = re.compile(r"(?:\(\w\))?,?(?: and| und| et)? ?")
_DURATION = re.compile(
    r"\b(\d{1,5}) ?-?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|"
    r"secondes?|sekunden?|minuten?|stunden?|heures?|segundos?|minutos?|horas?|ore|secondi|minuti)\b"
)
_BARE_SECONDS = re.compile(r"\bretry[ -=](?:in |after )?(\d{1,5})\b")


def parse_retry_after_s(folded: str) -> int | None:
    """The seconds that a temporary refusal asks us to wait; None if it names no time."""
    clock = _CLOCK_TIME.search(folded)
    if clock:
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    elif span := _DURATION.search(folded):
        seconds = int(span[1]) * _UNITS_S[span[2][0]]
        joint = _CONJUNCTION.match(folded, span.end())
        rest = _DURATION.match(folded, joint.end()) if joint else None
        if rest and _UNITS_S[rest[2][0]] < _UNITS_S[span[2][0]]:
            seconds += int(rest[1]) * _UNITS_S[rest[2][0]]
    elif bare := _BARE_SECONDS.search(folded):
        seconds = int(bare[1])
    else:
        return None
    return min(seconds, MAX_RETRY_AFTER_S)
