"""No key of anybody is shown whole by the request log, in any place and encoding."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.registry import DIALECTS
from gateway.accounts.keys import mint_key
from gateway.sandbox.redact import redact_keys
from gateway.sandbox.requests import MARGIN, MAX_BODY_BYTES, MAX_HEADER_CHARACTERS

API = "/veriplex/v1"
KEY = "test_7aff7fc0142c65f86a00"

FOREIGN = {
    f"{dialect.name} {'test' if test else 'live'}": mint_key(dialect.key_shape, test=test)
    for dialect in DIALECTS
    for test in (False, True)
}
"""Keys of other accounts: the log knows nothing of them but their shape."""


def percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "glued to letters": lambda key: f"abc{key}xyz",
    "glued to digits": lambda key: f"7{key}7",
    "glued to signs": lambda key: f"_{key}_",
    "percent": percent,
    "percent twice": lambda key: quote(percent(key)),
    "percent of one letter": lambda key: key[:-3] + percent(key[-3]) + key[-2:],
    "percent of the prefix": lambda key: percent(key[:5]) + key[5:],
    "escaped": escaped,
    "one letter escaped": lambda key: key[:7] + escaped(key[7]) + key[8:],
    "escaped twice": lambda key: json.dumps(escaped(key))[1:-1],
    "entities": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "base64": b64,
    "base64 of a name and it": lambda key: b64(f"me:{key}"),
    "base64 of it and a colon": lambda key: b64(f"{key}:"),
    "Basic": lambda key: f"Basic {b64(f'{key}:')}",
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"??>{key}".encode()).decode(),
    "base64 behind a letter": lambda key: f"x{b64(key)}",
    "base64, percent-encoded": lambda key: percent(b64(key)),
    "base64, escaped": lambda key: escaped(b64(key)),
}


def revealed(shown: str) -> Iterator[str]:
    """All forms of a text that a reader could decode it to."""
    decoded = shown
    for _ in range(4):
        decoded = re.sub(r"\\+u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), unquote(decoded))
        decoded = re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), decoded)
        yield decoded
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", decoded):
        for skipped in range(4):
            part = word[skipped:].replace("-", "+").replace("_", "/")
            yield base64.b64decode(part + "A" * (-len(part) % 4)).decode("latin-1")


def assert_hidden(key: str, shown: str) -> None:
    assert not [text for text in revealed(shown) if key.lower() in text.lower()], shown


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("whose", FOREIGN)
def test_a_key_is_hidden_in_every_text(whose: str, encoding: str) -> None:
    key = FOREIGN[whose]
    word = ENCODINGS[encoding](key)
    for text in (
        word,
        f"email=a%40b.org&note={word}&x=1",
        f"a=1&{word}=2",
        f"/v1/{word}/rows",
        f'{{"note": "see {word}.", "{word}": ["{word}", "{word}@example.com"]}}',
        f"<note kind='{word}'>{word}</note>",
        f"name,key\r\nAda,{word}\r\n",
        f"http://{word}@example.com/?{word}#{word}",
        f"cookie: a={word}; b=c",
    ):
        shown = redact_keys(text, "")
        assert_hidden(key, shown)
        assert_hidden(key, redact_keys(text, "some-other-key"))
        assert "…" in shown


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("key", ["a key of no shape", "own-short-key", "7+1=8/zz ok"])
def test_the_key_that_was_sent_is_hidden_in_every_text(key: str, encoding: str) -> None:
    word = ENCODINGS[encoding](key)
    for text in (word, f"a={word}&b=1", f'{{"a": "{word}"}}', f"x-note: {word}"):
        assert_hidden(key, redact_keys(text, key))


SECRETS_OF_URLS = [
    ("http://me:hookpass-of-mine@host/cb", ["me", "hookpass-of-mine"]),
    ("http%3A%2F%2Fme%3Ahookpass-of-mine%40host%2Fcb", ["me%3A", "hookpass-of-mine"]),
    ("https://token-alone@host:8443/cb", ["token-alone"]),
    ("http://host/cb?token=sekrit-of-mine&n=1", ["sekrit-of-mine"]),
    ("http://host/cb?a=1&client_secret=sekrit-of-mine", ["sekrit-of-mine"]),
    ("http://host/cb?sig=sekrit-of-mine", ["sekrit-of-mine"]),
    ("http%3A%2F%2Fhost%2F%3Ftoken%3Dsekrit-of-mine", ["sekrit-of-mine"]),
    ("http:\\/\\/me:pw@host\\/?token\\u003dsekrit-of-mine", ["me:", "pw", "sekrit-of-mine"]),
]


@pytest.mark.parametrize(("url", "secrets"), SECRETS_OF_URLS)
def test_secrets_of_a_webhook_are_hidden(url: str, secrets: list[str]) -> None:
    for text in (f"email=a&url={url}", f'{{"url": "{url}", "emails": ["me@host"]}}', url):
        shown = redact_keys(text, "")
        assert not [secret for secret in secrets if secret in shown.replace("me@host", "")]
        assert "host" in shown


@pytest.mark.parametrize(
    "text",
    [
        "email=ada.lovelace%2Btag%40example.com&smtp=true&timeout=10",
        '{"emails": ["ada@example.com", "o\\u0027neil@example.com"], "url": "https://ci.test/?n=17"}',
        '{"token": null, "api_key": true, "id": "5cff27400000000000000000", "total": 12}',
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "user-agent: python-httpx/0.28.1",
        "a@b@c://d, 100%; \\n & \x00 é",
        "tokens and signatures, secret: ",
    ],
)
def test_what_is_no_key_stays_as_it_is(text: str) -> None:
    assert redact_keys(text, "") == text
    assert redact_keys(text, KEY) == text


@given(st.text(max_size=200), st.text(max_size=12))
def test_any_text_can_be_redacted(text: str, credential: str) -> None:
    shown = redact_keys(text, credential)
    assert "…" in shown or shown == text


PLACES: dict[str, Callable[[httpx.AsyncClient, str], httpx.Request]] = {
    "query": lambda client, word: client.build_request(
        "GET", f"/emailable/v1/verify?email=a@b.org&api_key={KEY}&note={word}"
    ),
    "header": lambda client, word: client.build_request(
        "GET", f"/emailable/v1/verify?email=a@b.org&api_key={KEY}", headers={"X-Note": word}
    ),
    "path": lambda client, word: client.build_request("GET", f"/emailable/v1/{word}?api_key={KEY}"),
    "JSON": lambda client, word: client.build_request(
        "POST",
        f"/emailable/v1/verify?api_key={KEY}",
        content=f'{{"email": "a@b.org", "note": "{word}", "{word}": 1}}',
        headers={"Content-Type": "application/json"},
    ),
    "name of a header": lambda client, word: client.build_request(
        "GET",
        f"/emailable/v1/verify?email=a@b.org&api_key={KEY}",
        headers={f"X-{re.sub('[^a-zA-Z0-9_%&#]', '-', word)}": "1"},
    ),
    "a reply": lambda client, word: client.build_request(
        "GET", f"/emailable/v1/verify?email=a{quote(word)}@b.org&api_key={KEY}"
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
async def test_the_log_shows_no_foreign_key(
    client: httpx.AsyncClient, place: str, encoding: str
) -> None:
    key = FOREIGN["emailable live"]
    await client.send(PLACES[place](client, ENCODINGS[encoding](key)))
    shown = await client.get(f"{API}/requests/last")
    assert shown.json()["dialect"] == "emailable"
    assert_hidden(key, shown.text)
    assert_hidden(key, json.dumps(shown.json(), ensure_ascii=False))


@pytest.mark.parametrize(
    "word",
    ['apikey"', "://", "a://b", "live_", "bGl2ZV8w", "token=", "%25", "\\", "=", "a" * 31 + "-"],
)
def test_redaction_takes_linear_time(word: str) -> None:
    text = (word * 65_536)[:65_536]
    began = time.thread_time()
    redact_keys(text, KEY)
    assert time.thread_time() - began < 1


async def test_a_filter_finds_nothing_out_about_a_key(client: httpx.AsyncClient) -> None:
    key = FOREIGN["emailable live"]
    for request in (PLACES["query"](client, key), PLACES["JSON"](client, escaped(key))):
        await client.send(request)
        for length in range(6, len(key) - 3):
            for text in (key[:length], key[2:length]):
                found = await client.get(f"{API}/requests/count", params={"text": text})
                assert found.json() == {"count": 0}, text
    assert (await client.get(f"{API}/requests/count?text=a@b.org")).json() == {"count": 2}


async def test_a_filter_finds_a_word_that_the_log_cuts(client: httpx.AsyncClient) -> None:
    unique = f"user-{'0123456789abcdef' * 2}@example.com"
    await client.send(PLACES["JSON"](client, unique))
    for text in (unique, "user-"):
        found = await client.get(f"{API}/requests/count", params={"text": text})
        assert found.json() == {"count": 1}


@pytest.mark.parametrize("encode", [str, percent])
async def test_a_limit_leaves_no_part_of_a_key(
    client: httpx.AsyncClient, encode: Callable[[str], str]
) -> None:
    key = FOREIGN["emailable live"]
    word = encode(key)
    filling = " ".join([word] * 40)  # which takes less room in the log than in the request
    url = f"/emailable/v1/verify?email=a@b.org&api_key={KEY}"
    for cut in range(3, len(word), 7):
        start = f"{filling} ".ljust(MAX_BODY_BYTES + MARGIN - cut, "-") + " "
        await client.post(url, content=start[: MAX_BODY_BYTES + MARGIN - cut] + word + " more")
        await client.get(
            url, headers={"X-Note": "-" * (MAX_HEADER_CHARACTERS + MARGIN - cut) + word}
        )
        for shown in (await client.get(f"{API}/requests?limit=2")).json()["requests"]:
            assert shown["truncated"]
            texts = list(revealed(f"{shown['body']} {shown['headers'].get('x-note')}"))
            assert not [text for text in texts if key[:6] in text]
