"""Removes keys from requests before they are shown, wherever they occur.

A key is the credential that was sent, any text with the shape of a dialect's keys, and the value of
any member or parameter that is named like a key. The last two do not need a valid body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from urllib.parse import quote, quote_plus

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS

_NAMED_KEY = re.compile(
    r"""(?ix)
    (?: api[-_]?key | access[-_]?token | authorization )
    # between name and value in JSON, forms, headers and XML, or in a part of a multipart body
    (?: ["'\\]* \s* [:=>] \s* | " [^\r\n]{0,1000}+ (?: \r?\n ){2} )
    ["'\\]* (?: (?: bearer | basic ) \s+ )?
    ( [^\s"'\\&,;{}\[\]<>]+ )
    """
)


NOT_KEYS = ("null", "none", "true", "false")


def redact_keys(text: str, credential: str) -> str:
    """The text with each key cut to its last characters. `credential` is the key that was sent."""
    if credential:
        for form in (credential, quote(credential), quote_plus(credential)):
            text = text.replace(form, redact_key(credential))
    text = _key_pattern().sub(lambda found: redact_key(found[0]), text)
    return _NAMED_KEY.sub(_redact_match, text)


def redact_key(credential: str) -> str:
    """A key as it may be shown: its last four characters, if it has more than eight."""
    return f"…{credential[-4:]}" if len(credential) > 8 else "…" if credential else ""


def _redact_match(found: re.Match[str]) -> str:
    value = found[1]
    if value.startswith("…") or value.lower() in NOT_KEYS:
        return found[0]
    return found[0][: found.start(1) - found.start()] + redact_key(value)


@cache
def _key_pattern() -> re.Pattern[str]:
    words = sorted(_key_alternatives(DIALECTS), key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(words)})(?![A-Za-z0-9_])")


def _key_alternatives(dialects: Iterable[Dialect]) -> set[str]:
    found = set()
    for dialect in dialects:
        shape = dialect.key_shape
        found.add(re.escape(dialect.sandbox_key))
        for prefix in (shape.live_prefix, shape.test_prefix):
            found.add(f"{re.escape(prefix)}[{re.escape(shape.alphabet)}]{{{shape.length}}}")
    return found
