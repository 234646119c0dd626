"""Secrets are found in any encoding, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import random
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observability.redaction import MARK, SecretList, decode_escapes

KEY = "live_0123456789abcdef0123"
PASSWORD = "p%4/s \"wörd'+="
SECRETS = SecretList([KEY, PASSWORD])


def every_percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def every_json(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in text)


def every_entity(text: str) -> str:
    return "".join(f"&#{ord(c)};" for c in text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "title": str.title,
    "quote": quote,
    "quote_plus": quote_plus,
    "percent": every_percent,
    "percent twice": lambda s: every_percent(every_percent(s)),
    "percent of some": lambda s: s[:9] + every_percent(s[9:14]) + s[14:],
    "json": lambda s: json.dumps(s)[1:-1],
    "json in json": lambda s: json.dumps(json.dumps(s))[3:-3],
    "hex escapes": lambda s: "".join(f"\\x{ord(c):02X}" for c in s),
    "html": html.escape,
    "hex entities": lambda s: "".join(f"&#x{ord(c):x};" for c in s),
    "hex": lambda s: s.encode().hex(),
    "base64": b64,
    "base64 of Basic": lambda s: b64(f"{s}:"),
    "base64 of Basic with a name": lambda s: b64(f"me:{s}"),
    "base64 of a bearer": lambda s: b64(f"key={s}&x=1"),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(f"~~~?{s}".encode()).decode(),
    "base64 percent-encoded": lambda s: quote(b64(s), safe=""),
    "UTF-16": lambda s: s.encode("utf-16-le").decode("latin-1"),
}


@pytest.mark.parametrize("around", [("", ""), ("abc", "xyz"), ('{"message":"key ', ' is bad"}')])
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_key_is_found_in_every_encoding(name: str, around: tuple[str, str]) -> None:
    written = ENCODINGS[name](KEY)
    clean = SECRETS.redact(around[0] + written + around[1])
    assert clean.startswith(around[0])
    assert clean.endswith(around[1])
    assert MARK in clean
    left = clean.removeprefix(around[0]).removesuffix(around[1])
    assert len(left) <= 8 + len("zzzz:me&x=1~~~?"), left


@pytest.mark.parametrize(
    "name", ["plain", "quote", "quote_plus", "percent", "json", "json in json", "base64"]
)
def test_a_password_of_any_characters_is_found(name: str) -> None:
    assert SECRETS.redact(f"<{ENCODINGS[name](PASSWORD)}>") in (
        f"<{MARK}>",
        f"<{MARK}==>",
        f"<{MARK}=>",
    )


def test_bytes_that_are_no_text_are_kept() -> None:
    data = b"\xff\xfe" + KEY.encode() + b"\x80"
    assert SECRETS.redact_bytes(data) == b"\xff\xfe" + MARK.encode() + b"\x80"
    assert SECRETS.redact_bytes(b"\xff%41\\u0041") == b"\xff%41\\u0041"


def test_text_without_a_secret_is_the_same_object() -> None:
    text = '{"reason":"accepted_email","url":"a%20b","note":"\\u0041 \\" "}'
    assert SECRETS.redact(text) is text
    data = text.encode()
    assert SECRETS.redact_bytes(data) is data


def test_secrets_that_overlap_leave_nothing() -> None:
    secrets = SecretList(["abcdefgh", "efghijkl", "abcdefghijklmnop"])
    assert secrets.redact("-abcdefghijkl-") == f"-{MARK}-"
    assert secrets.redact("-abcdefghijklmnop-abcdefgh-") == f"-{MARK}-{MARK}-"
    assert secrets.redact("-abcdefghabcdefgh-") == f"-{MARK}{MARK}-"


def test_a_short_secret_is_not_looked_for() -> None:
    assert SecretList(["pw", "error"]).redact("error: pw") == "error: pw"


def test_a_secret_that_is_added_is_found() -> None:
    secrets = SecretList()
    assert secrets.redact(KEY) == KEY
    secrets.add(KEY)
    assert secrets.redact(KEY) == MARK


@pytest.mark.parametrize("position", [0, 65_520, 65_536, 131_060, 199_000])
@pytest.mark.parametrize("encode", [str, every_percent, every_json])
def test_a_secret_is_found_anywhere_in_a_long_text(
    position: int, encode: Callable[[str], str]
) -> None:
    text = "x" * position + encode(KEY) + "y" * (200_000 - position)
    assert SECRETS.redact(text) == "x" * position + MARK + "y" * (200_000 - position)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_redacted(data: bytes) -> None:
    assert SECRETS.redact_bytes(data) == data
    decoded = decode_escapes(data)
    if decoded.origins is not None:
        assert len(decoded.origins) == len(decoded.data) + 1
        assert list(decoded.origins) == sorted(decoded.origins)
        assert decoded.origins[-1] == len(data)


@given(st.text(max_size=50), st.text(max_size=50), st.integers(0, 2**32))
def test_any_mixture_of_escapes_is_undone(before: str, after: str, seed: int) -> None:
    rng = random.Random(seed)
    ways = (str, every_percent, every_json, every_entity, str.upper)
    written = "".join(rng.choice(ways)(c) for c in KEY)
    assert KEY not in SECRETS.redact(before + written + after).lower()
    assert MARK in SECRETS.redact(before + written + after)


@pytest.mark.parametrize("word", ["\\", "%25", "%", "\\u005c", "&#", "\0", "live_0123", "a"])
def test_redaction_takes_linear_time(word: str) -> None:
    text = (word * (1 << 20))[: 1 << 20]
    began = time.thread_time()
    assert SECRETS.redact(text) == text
    assert time.thread_time() - began < 5
