"""Our own recipient within a server's reply, which is taken out before the reply is read. Pure.

"550 No such user: dmarc" is not about DMARC. A server repeats the recipient with or without its
domain, in any case, quoted, or encoded as in URLs (RFC 3986), xtext (RFC 3461 section 4) or
quoted-printable (RFC 2045).
"""

from __future__ import annotations

import re
from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDS_OF_REPLIES = _words(
    """
    a about access account accounts active address addresses again alias all an and any are at be
    been but by can cannot client command connect connection could customer delivery denied dest
    destination did directory do does domain email employee error exist exists failed failure for
    found from group has have here host id in inbox invalid is it known later list local login mail
    mailbox mailboxes member message messages name no nobody none not of on or our permanent person
    please postmaster recipient recipients refused rejected request requested sender server service
    smtp sorry student such support system temporary that the there this to transaction try
    unavailable unknown user userid username users valid was we with you your
    """
)
"""Words in which servers refuse. A recipient named so is only recognised where the reply sets it
apart, as in "No such user: user"."""

_ENCODED = re.compile(r"[%+=]([0-9a-f]{2})")
_QUOTES = (
    "\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"
    "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)
_OPENING = frozenset(f"{_QUOTES}<>([{{:=;,")
_CLOSING = frozenset(f"{_QUOTES}<>)]}}:;,")
_JOINING = ".-+@/%&=_\\"
"""Between letters these make one longer word, such as a host name."""
_AT_SIGN = re.compile(r"[\"'>]?(?:@|[%+=]40|&#64;| ?[(\[]at[)\]] ?| at |%)[<\"']?")


class WithoutEcho(NamedTuple):
    """A reply's text in lower case, without the recipient."""

    text: str
    is_certain: bool = True
    """False if a word that equals the local part was taken out, which may be the server's own."""
    further: str = ""
    """`text` without such words too, if they stand beside the recipient that was taken out."""


def without_recipient(text: str, recipient: str) -> WithoutEcho:
    """`text` without `recipient`, its local part or its domain."""
    local, _, domain = recipient.lower().rpartition("@")
    lowered = text.lower()
    if recipient in text:  # as most servers repeat it
        rest = text.replace(recipient, " ").lower()
        if local not in rest:
            return WithoutEcho(_without_domain(rest, domain))
    names = _names_of(local)
    decoded = _ENCODED.sub(_decode, lowered)
    for form in (lowered, decoded) if decoded != lowered else (lowered,):
        for name in names:
            if name not in form:
                continue
            found = _Occurrences(form, name, domain)
            own = found.in_full or found.apart
            others = [] if name in WORDS_OF_REPLIES else found.all
            if own:
                text = _without_domain(_cut(form, own), domain)
                further = (
                    _without_domain(_cut(form, others), domain) if others not in ([], own) else ""
                )
                return WithoutEcho(text, further=further)
            if others:
                text = _without_domain(_cut(form, others), domain)
                return WithoutEcho(text, is_certain=False)
    return WithoutEcho(_without_domain(lowered, domain))


def _names_of(local: str) -> tuple[str, ...]:
    """The forms that a local part may have in a reply: as sent, without quotes, without its tag."""
    names = [local]
    if local.startswith('"'):
        names.append(re.sub(r"\\(.)", r"\1", local.strip('"')))
    user = local.partition("+")[0]
    if user and user != local:
        names.append(user)
    return tuple(name for name in names if name)


def _decode(found: re.Match[str]) -> str:
    """An encoded octet as its character, if that is printable ASCII."""
    character = chr(int(found[1], 16))
    return character.lower() if "!" <= character <= "~" else found[0]


class _Occurrences:
    """Where a name stands in a text: with its domain, set apart, or among the server's words."""

    def __init__(self, text: str, name: str, domain: str) -> None:
        self.in_full: list[tuple[int, int]] = []
        self.apart: list[tuple[int, int]] = []
        self.all: list[tuple[int, int]] = []
        at = text.find(name)
        while at >= 0:
            end = at + len(name)
            self._add(text, name, at, domain)
            at = text.find(name, end)

    def _add(self, text: str, name: str, at: int, domain: str) -> None:
        end = at + len(name)
        # "No such user: user" is about the second one.
        may_close = name not in WORDS_OF_REPLIES or not text[:at].strip(" .0123456789")
        before, after = text[max(at - 4, 0) : at].rstrip()[-1:], text[end : end + 1]
        if _is_joined(text[max(at - 2, 0) : at][::-1], before_word=True):
            return
        sign = _AT_SIGN.match(text, end)
        if sign and text.startswith(domain, sign.end()):
            self.in_full.append((at, sign.end() + len(domain)))
            self.all.append(self.in_full[-1])
        elif _is_joined(text[end : end + 2], before_word=False):
            return
        elif before in _OPENING or (after in _CLOSING and may_close) or text.startswith("...", end):
            self.apart.append((at, end))
            self.all.append(self.apart[-1])
        else:
            self.all.append((at, end))


def _is_joined(two: str, *, before_word: bool) -> bool:
    """Whether the two characters beside a word, the nearer first, make it part of a longer one."""
    near, far = two[:1], two[1:]
    if near.isalnum() or near == "_":
        return True
    if before_word and near == "=":
        return False  # "rcpt=ann"
    return bool(near) and near in _JOINING and far.isalnum()


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    for at, end in reversed(spans):
        text = text[:at] + " " + text[end:]
    return text


def _without_domain(text: str, domain: str) -> str:
    """`text` without the domain alone; a host below it keeps its name."""
    if domain not in text or "." not in domain:
        return text
    spans = []
    at = text.find(domain)
    while at >= 0:
        end = at + len(domain)
        if not _is_joined(text[max(at - 2, 0) : at][::-1], before_word=True) and not _is_joined(
            text[end : end + 2], before_word=False
        ):
            spans.append((at, end))
        at = text.find(domain, end)
    return _cut(text, spans)
