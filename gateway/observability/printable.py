"""Makes text from mail servers and clients safe to show in a terminal or a log.

It may hold escape sequences, carriage returns, and characters that change the direction of writing.
"""

from __future__ import annotations

import re

_CONTROL_CHARACTERS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with everything that could control a terminal escaped as in a Python literal."""
    if text.isprintable():  # false for control and format characters, surrogates and line ends
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_json(document: bytes) -> bytes:
    """The same for JSON in UTF-8, where only characters below U+0020 are escaped already."""
    if document.isascii() and b"\x7f" not in document:
        return document
    text = _CONTROL_CHARACTERS.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())
    return text.encode()
