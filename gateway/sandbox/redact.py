"""Removes keys from requests before they are shown, wherever they occur and however encoded.

Of a key its last four characters stay, of a name and a password in a URL nothing.

A key is the credential that was sent, any text with the shape of a dialect's keys, and the value of
any member or parameter that is named like a key. The last two do not need a valid body, and the
shape of a key is recognised inside of other words and of base64, too.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache, lru_cache

from adapters.registry import DIALECTS
from gateway.observability.redaction import (
    MARK,
    decode_escapes,
    find_all,
    forms_of,
    merged_spans,
    replace_spans,
)

_NAMED_KEY = re.compile(
    rb"""(?x)
    (?: api[-_]?key | token | authorization | secret | password | signature | (?<![a-z])sig )
    # between name and value in JSON, forms, headers and XML, or in a part of a multipart body
    (?: ["'\\]* \s* [:=>] \s* | " [^\r\n]{0,1000}+ (?: \r?\n ){2} )
    ["'\\]* (?: (?: bearer | basic ) \s+ )?
    ( [^\s"'\\&,;{}\[\]<>]+ )
    """
)
KEY_NAMES = (b"key", b"token", b"authorization", b"secret", b"password", b"signature", b"sig")
"""Without any of these a text has no member or parameter that is named like a key."""
MAX_ENCODED_KEY_BYTES = 512
"""A key of 70 characters, percent-encoded three times."""
NOT_KEYS = (b"null", b"none", b"true", b"false")
_USERINFO = re.compile(rb"://([^\s/?\#@\"'<>]{1,500}+)@")
"""A name and a password in a URL."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}+")
"""What may hold a key in base64; the shortest has 20 characters."""
_URL_TO_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")


def redact_keys(text: str, credential: str, *, is_cut: bool = False) -> str:
    """The text with each key cut to its last characters. `credential` is the key that was sent.

    Of a text that `is_cut` the last word is left out, since it may be the beginning of a key.
    """
    data = text.encode("utf-8", "surrogatepass")
    if is_cut:
        data = data[: len(data) - len(_last_word(data))] + MARK.encode()
    decoded = decode_escapes(data)
    userinfos = [found.span(1) for found in _USERINFO.finditer(decoded.data)]
    keys = _find_keys(decoded.data, credential)
    replaced: list[tuple[int, int, str]] = []
    for start, end in merged_spans([*userinfos, *keys]):
        key = decoded.data[start:end].decode("utf-8", "replace")
        is_whole = not any(start < last and first < end for first, last in userinfos)
        replaced.append((*decoded.span(start, end), redact_key(key) if is_whole else MARK))
    if not replaced and not is_cut:
        return text
    return replace_spans(data, replaced).decode("utf-8", "surrogatepass")


def _last_word(data: bytes) -> bytes:
    """What a key would be part of, however it is encoded, if it stood at the end."""
    return re.split(rb"[\s\"'&,;<>]", data[-MAX_ENCODED_KEY_BYTES:])[-1]


def redact_key(credential: str) -> str:
    """A key as it may be shown: its last four characters, if it has more than eight."""
    return f"{MARK}{credential[-4:]}" if len(credential) > 8 else MARK if credential else ""


def _find_keys(data: bytes, credential: str) -> Iterator[tuple[int, int]]:
    """Where keys stand in a decoded text; the places may overlap."""
    lowered = data.lower()
    for form in _forms_of_sent_key(credential):
        yield from find_all(lowered, form)
    yield from _find_by_shape(lowered)
    if any(name in lowered for name in KEY_NAMES):
        for found in _NAMED_KEY.finditer(lowered):
            if found[1] not in NOT_KEYS:
                yield found.span(1)
    for found in _BASE64.finditer(data):
        if _holds_key(found[0], credential):
            yield found.span()


_forms_of_sent_key = lru_cache(256)(lambda credential: tuple(forms_of(credential)))


def _holds_key(base64: bytes, credential: str) -> bool:
    """Whether a key is in base64, whose beginning may be that of another word."""
    base64 = base64.translate(_URL_TO_STANDARD_BASE64)
    for skipped in range(4):
        data = b64decode(base64[skipped:] + b"A" * (-(len(base64) - skipped) % 4))
        if (credential and credential.encode() in data) or any(_find_by_shape(data.lower())):
            return True
    return False


def _find_by_shape(lowered: bytes) -> Iterator[tuple[int, int]]:
    """Where published keys stand, and what has the shape of other keys."""
    for start, pattern in _key_patterns():
        if start in lowered:
            for found in pattern.finditer(lowered):
                yield found.span()


@cache
def _key_patterns() -> tuple[tuple[bytes, re.Pattern[bytes]], ...]:
    """How keys in lower case begin, and how they go on.

    A prefix marks a key inside of a longer word, too. Without one, any long word may be a key or
    have one in it.
    """
    lengths: dict[str, int] = {}
    patterns = []
    for dialect in DIALECTS:
        published, shape = dialect.sandbox_key.lower(), dialect.key_shape
        patterns.append((published, rf"(?<![a-z0-9_]){re.escape(published)}(?![a-z0-9_])"))
        for prefix in (shape.live_prefix, shape.test_prefix):
            lengths[prefix] = min(shape.length, lengths.get(prefix, shape.length))
    for prefix, length in lengths.items():
        patterns.append((prefix, rf"{re.escape(prefix)}[a-z0-9]{{{length},}}+"))
    return tuple((start.encode(), re.compile(pattern.encode())) for start, pattern in patterns)
