"""Replies of mail servers without what is one mailbox's own, so that equal ones can be counted.

Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

from engine.smtp.echo import without_recipient

MAX_CHARACTERS = 200
MAX_READ = 800
"""Characters of a reply that are read."""

_LINK = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']{1,400}", re.IGNORECASE)
_MAILBOX = re.compile(r"[^\s<>()\[\]:;,\"']{1,80}@[\w.-]{1,255}")
_IP_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w.]*\w)"
    r"|(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?<![\w.-])(?:\w[\w-]{0,62}\.){1,8}(?!\d)\w[\w-]{1,62}(?![\w-]|\.\w)", re.IGNORECASE
)
_ID = re.compile(
    r"(?<![\w.-])(?=[\w.+/=:-]{0,80}\d)(?:[\w+/=:-]{6,200}|\d{5})(?:[.-][\w+/=:-]{1,80}){0,8}"
    r"(?![\w+/=-])"
)
"""A word of six characters or more with a digit in it, or a number of five digits: of a queue, a
connection, a session, a time."""
_REPLACED = (
    (_LINK, "(link)"),
    (_MAILBOX, "(address)"),
    (_IP_ADDRESS, "(ip)"),
    (_HOST, "(host)"),
    (_ID, "(id)"),
)


def reply_text(text: str, recipient: str) -> str:
    """`text`, a server's own words in lower case, without the recipient, other addresses, hosts,
    links and ids."""
    shown = text[:MAX_READ]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else " " for c in shown)
    return _without_names(without_recipient(shown, recipient).text)


@lru_cache(maxsize=4096)
def _without_names(shown: str) -> str:
    # servers have few different texts, once the recipient is out of them
    for pattern, word in _REPLACED:
        shown = pattern.sub(word, shown)
    return " ".join(shown.split())[:MAX_CHARACTERS]
