"""Query strings and URL-encoded forms (WHATWG URL, section 5.1). Pure.

A name may be repeated, or written as PHP, Rails and axios write lists: `emails[]=a&emails[]=b`,
`emails[0]=a&emails[1]=b`. In such a form a blank is written as `+`, so the `+` of an address that a
client did not encode arrives as a blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

MAX_FIELDS = 1_000
"""Parameters in one query."""
MAX_FORM_FIELDS = 51_000
"""Fields in one form of either kind: each address of the longest list in a field of its own."""

_DECODED_AT_ONCE = 32 * 1024
"""Characters. Decoding a body of 10 MB in one go would not let other threads run for a second."""

_SEPARATOR = re.compile(r"[,;\r\n]")
_KEPT_SEPARATOR = re.compile(r"([,;\r\n])")

_LIST_NAME = re.compile(r"([^\[\]]+)\[([0-9]{0,9})\]")
_BLANKS_IN_LOCAL_PART = re.compile(r"[^\s@\"()<>\[\]\\:,;]+(?: +[^\s@\"()<>\[\]\\:,;]+)* *@[^\s@]+")
"""An address with blanks in a local part that is not quoted (RFC 5322 section 3.2.3)."""


class TooManyFields(ValueError):
    """The form has more fields than are decoded."""


class FormValues(dict[str, str]):
    """The values by name; of a repeated name the last."""

    __slots__ = ("lists",)

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[str]] = {}
        """All values of a name that is repeated, or written as one of a list, in their order."""


def parse_form(text: str, max_fields: int = MAX_FIELDS) -> FormValues:
    """The fields of a query string or a URL-encoded body. Raises TooManyFields."""
    if text.count("&") >= max_fields:
        raise TooManyFields(f"More than {max_fields} parameters.")
    if "%" not in text and "+" not in text:
        return form_values(pair.partition("=")[::2] for pair in text.split("&") if pair)
    return form_values(
        (_decoded(name), restore_plus(_decoded(value)))
        for name, _, value in (pair.partition("=") for pair in text.split("&") if pair)
    )


def _decoded(text: str) -> str:
    """As `unquote_plus`, in pieces."""
    if len(text) <= _DECODED_AT_ONCE:
        return unquote_plus(text)
    text = text.replace("+", " ")
    decoded = bytearray()
    start = 0
    while start < len(text):
        end = start + _DECODED_AT_ONCE
        escape = text.rfind("%", end - 2, end)
        if escape >= 0:
            end = escape  # so that none is cut in two
        decoded += unquote_to_bytes(text[start:end])
        start = end
    return decoded.decode("utf-8", "replace")


def form_values(pairs: Iterable[tuple[str, str]]) -> FormValues:
    """The values of decoded names and values."""
    found = FormValues()
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name, value in pairs:
        if name in found:
            found.lists.setdefault(name, [found[name]]).append(value)
        elif name[-1:] == "]" and (match := _LIST_NAME.fullmatch(name)):
            entries = numbered.setdefault(match[1], [])
            entries.append((int(match[2]) if match[2] else len(entries), value))
            continue
        found[name] = value
    for name, entries in numbered.items():
        entries.sort(key=lambda entry: entry[0])
        values = found.lists.setdefault(name, [found[name]] if name in found else [])
        values += [value for _, value in entries]
        found.setdefault(name, values[-1])
    return found


def list_value(name: str, *sources: Mapping[str, Any]) -> Any:
    """A list that may be written as several fields: of the first source that has the name.

    The fields of a form with line breaks between them, as one text; else what the source has under
    the name: a text, or any JSON value. None if no source has it.
    """
    for source in sources:
        if isinstance(source, FormValues) and name in source.lists:
            return "\n".join(source.lists[name])
        if name in source:
            return source[name]
    return None


def split_list(text: str, at_most: int = 0) -> list[str]:
    """The entries of a list in one text, with commas, semicolons or line breaks between them.

    With `at_most` all that follows after so many separators is one entry more.
    """
    return _SEPARATOR.split(text, at_most)


def restore_plus(text: str) -> str:
    """The text with each blank in the local part of an address as the `+` that it was.

    No local part has a blank outside quotes, so that a client cannot have meant one. The text may
    be a list of addresses, unless it has more entries than any list may have.
    """
    if " " not in text or "@" not in text or sum(map(text.count, ",;\r\n")) > MAX_FORM_FIELDS:
        return text
    return "".join(
        _restore_in_entry(entry) if " " in entry else entry for entry in _KEPT_SEPARATOR.split(text)
    )


def _restore_in_entry(entry: str) -> str:
    address = entry.strip(" ")
    if " " not in address or not _BLANKS_IN_LOCAL_PART.fullmatch(address):
        return entry
    return entry.replace(address, address.replace(" ", "+"))
