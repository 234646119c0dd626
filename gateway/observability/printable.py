"""Text from strangers, made fit for a terminal or a log.

Mail servers and clients write what they like: escape sequences, carriage returns, characters
that turn the direction of writing.
"""

from __future__ import annotations

import re

_CONTROL_CHARACTERS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with whatever could steer a terminal spelt out, as Python would write it."""
    if text.isprintable():  # false for controls, formats, surrogates and line ends
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_json(document: bytes) -> bytes:
    """The same for JSON in UTF-8, where only what is below U+0020 is spelt out already."""
    if document.isascii() and b"\x7f" not in document:
        return document
    text = _CONTROL_CHARACTERS.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())
    return text.encode()
