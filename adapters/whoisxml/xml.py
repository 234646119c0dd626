"""The XML form of a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from adapters.contract.wire import WireReply

XML_MEDIA_TYPE = "application/xml; charset=utf-8"

_NOT_XML_CHARACTERS = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) excludes, even escaped."""


def xml_reply(
    root: str,
    value: object,
    status: int = 200,
    *,
    item_name: str = "string",
    headers: tuple[tuple[str, str], ...] = (),
) -> WireReply:
    """Elements named for the keys, those of a list for `item_name`.

    There is no XML declaration, as in the samples of version 1.
    """
    return WireReply(
        status, render_element(root, value, item_name).encode(), XML_MEDIA_TYPE, headers
    )


def render_element(name: str, value: object, item_name: str) -> str:
    """A member of a record; None becomes the text `null`, as in the words of the checks."""
    if isinstance(value, Mapping):
        content = "".join(render_element(key, inner, item_name) for key, inner in value.items())
    elif isinstance(value, list):
        content = "".join(render_element(item_name, inner, item_name) for inner in value)
    else:
        text = _NOT_XML_CHARACTERS.sub(
            "\N{REPLACEMENT CHARACTER}", "null" if value is None else str(value)
        )
        # an XML reader turns a bare carriage return into a line feed (section 2.11)
        content = escape(text, quote=False).replace("\r", "&#13;")
    return f"<{name}>{content}</{name}>"
