"""Addresses as people and mail programs write them: the marks around one, several in a cell. Pure.

Only marks whose meaning is certain are taken off. An address with a space inside stays as it is,
since nobody knows which part was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape
from urllib.parse import unquote

MAX_SPLIT_CHARACTERS = 1_000
"""A longer cell of a table is not split, since each address repeats the cells of its row."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
PLAIN_ADDRESS = re.compile(rf"{_ATOM}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
"""An address without any mark; nearly all are."""
_SPECIALS = r"\s\"(),:;<>@\[\\\]|"  # RFC 5322 section 3.2.3, blanks, and the bar between addresses
_ADDRESS = re.compile(rf"(?:[^{_SPECIALS}]+|\"[^\"\s]+\")@[^{_SPECIALS}.]+(?:\.[^{_SPECIALS}.]+)+")
"""What is taken for an address where a text is searched for some; whether it is well formed is
decided elsewhere. It needs a dot in its domain, so that `@handle` is none."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    # joiners have a meaning between letters of some scripts (RFC 5892 appendix A)
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
_FULL_WIDTH = {0xFEE0 + code: code for code in range(0x21, 0x7F)}  # the block ends at U+FF5E
_ASCII_FORMS = {**_FULL_WIDTH, 0xFE6B: ord("@"), 0xA0: ord(" ")}

_QUOTES = "\"'`\u00b4\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u2039\u203a"
_QUOTED_LOCAL_PART = re.compile(r'"[^"]*"@')
_BULLET = re.compile(r"(?:[-*>\u2022\u00b7\u2013\u2014]|\d{1,6}[.)])\s+")
_PICTURES = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff\ufe0f]+\\s*")
_LABEL = re.compile(
    r"(?:e-?mail(?: address)?|mail|smtp|sip|to|from|cc|bcc|x500)\s*:\s*", re.IGNORECASE
)
_MAILTO = re.compile(r"mailto:([^\s\"'<>?()\[\]]+)", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"[^\[\]@]*\[([^\[\]@]*@[^\[\]]*)\]")
_IN_ANGLES = re.compile(r"[^<>]*<([^<>@]*@[^<>]*)>[^<>@]*")
_COMMENT = re.compile(r"\([^()]*\)")
_AROUND_AT = re.compile(r"([^\s@]+)\s*@\s*([^\s@]+)")
_BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"), ("<", ">"))
_TRAILING = ".,;:!>/\\|\u2026\u3002"
_LEADING = ",;:<"

_SEPARATORS = (
    re.compile(r":::"),
    re.compile(r"[\r\n]"),
    re.compile(r";"),
    re.compile(r"\|"),
    re.compile(r"\t"),
    re.compile(r","),
    re.compile(r"\s(?:and|or|und|oder|et|ou|y|&|\+)\s"),
    re.compile(r"[;,|\s]"),
    re.compile(r"/"),
    re.compile(r"\s"),
)
"""From the one that says most. Google's contacts have ` ::: ` between several."""

MAX_PASSES = 8
"""Marks inside each other: `"<mailto:ada@example.com>";` has four."""


def is_address_like(text: str) -> bool:
    """Whether a text without marks has the form of an address."""
    return "@" in text and _ADDRESS.fullmatch(text) is not None


def clean_address(text: str) -> str:
    """The address inside the marks around it; the text without blanks if there is no `@` in it."""
    if PLAIN_ADDRESS.fullmatch(text):
        return text
    text = _visible(text).strip()
    if "@" not in text:
        return text
    for _ in range(MAX_PASSES):
        before = text
        for remove in _MARKS:
            text = remove(text)
        if text == before:
            break
    return text


def split_addresses(cell: str) -> list[str]:
    """The addresses of a cell, without marks and each once; one text if it is not several.

    An empty text for a cell without any.
    """
    if PLAIN_ADDRESS.fullmatch(cell):
        return [cell]
    if cell.count("@") + cell.count("\N{FULLWIDTH COMMERCIAL AT}") > 1:
        cell = _visible(cell)
        if several := _split(cell):
            return several
    return [clean_address(cell)]


def find_addresses(cell: str) -> list[str]:
    """The addresses of a cell; none if what is in it is not an address."""
    if "@" not in cell and "\N{FULLWIDTH COMMERCIAL AT}" not in cell and "\ufe6b" not in cell:
        return []
    return [text for text in split_addresses(cell) if is_address_like(text)]


def _visible(text: str) -> str:
    if not text.isascii():
        text = _INVISIBLE.sub("", text.translate(_ASCII_FORMS))
    return unescape(text) if "&lt;" in text or "&gt;" in text or "&quot;" in text else text


def _split(cell: str) -> list[str]:
    """Several addresses, if each part of the cell is one."""
    targets = list(dict.fromkeys(map(unquote, _MAILTO.findall(cell))))
    if len(targets) == 1 and is_address_like(targets[0]):
        return targets  # a link, whose text repeats its address
    inside = _IN_ANGLES.fullmatch(cell)
    if inside and not set(",;|\r\n") & {*cell[: inside.start(1)]}:
        return []
    for separator in _SEPARATORS:
        parts = _addresses_in(separator.split(cell))
        if len(parts) > 1:
            return list(dict.fromkeys(parts))
    in_angles = list(_angle_parts(cell))
    if len(in_angles) == cell.count("@") and all(map(is_address_like, in_angles)):
        return list(dict.fromkeys(in_angles))
    return []


_NOTHING = " \t\r\n,;:|<>\u00a0" + _QUOTES


def _addresses_in(parts: Iterable[str]) -> list[str]:
    """The address in each part, empty parts left out; none at all if a part is not one."""
    found = []
    for part in parts:
        if part.strip(_NOTHING):
            address = clean_address(part)
            if not is_address_like(address):
                return []
            found.append(address)
    return found


def _angle_parts(cell: str) -> Iterator[str]:
    """The texts between angle brackets."""
    for part in cell.split("<")[1:]:
        inside, closed, _ = part.partition(">")
        if closed:
            yield clean_address(inside)


def _without_link(text: str) -> str:
    targets = {unquote(target) for target in _MAILTO.findall(text)}
    return targets.pop() if len(targets) == 1 else text


def _without_angles(text: str) -> str:
    found = _IN_ANGLES.fullmatch(text if ">" in text else f"{text}>")
    found = found or _IN_BRACKETS.fullmatch(text)
    return found[1].strip() if found else text


def _without_quotes(text: str) -> str:
    text = text.strip()
    if text.startswith('="'):  # how a formula of a spreadsheet is a text
        text = text[1:]
    if not _QUOTED_LOCAL_PART.match(text):
        text = text.lstrip(_QUOTES)
    return text.rstrip(_QUOTES)


def _without_prefix(text: str) -> str:
    for prefix in (_PICTURES, _BULLET, _LABEL):
        if found := prefix.match(text):
            text = text[found.end() :]
    return text


def _without_comments(text: str) -> str:
    """Comments (RFC 5322 section 3.2.2), and Outlook's `Ada Lovelace (ada@example.com)`."""
    if "(" not in text or text.startswith('"'):
        return text
    rest = _COMMENT.sub("", text)
    if "@" in rest:
        return rest.strip()
    inside = [comment[1:-1] for comment in _COMMENT.findall(text) if "@" in comment]
    return inside[0].strip() if len(inside) == 1 else text


def _without_edges(text: str) -> str:
    text = text.strip().rstrip(_TRAILING).lstrip(_LEADING).strip()
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing):
            text = text[1:-1].strip()
        elif text.endswith(closing) and opening not in text:
            text = text[:-1].strip()
    return text


def _without_spaces_around_at(text: str) -> str:
    found = _AROUND_AT.fullmatch(text)
    return f"{found[1]}@{found[2]}" if found else text


_MARKS = (
    _without_link,
    _without_angles,
    _without_quotes,
    _without_prefix,
    _without_comments,
    _without_edges,
    _without_spaces_around_at,
)
