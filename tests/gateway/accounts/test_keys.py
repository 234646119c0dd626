"""API keys have the shapes that the vendors' clients require."""

from __future__ import annotations

import re
import string

import pytest

from adapters.contract.dialect import KeyShape
from adapters.registry import DIALECTS
from gateway.accounts.keys import key_digest, key_hint, mint_key

SHAPES = {dialect.name: dialect.key_shape for dialect in DIALECTS}

PATTERNS = [
    # dialect, live keys, test keys, as in the vendors' documentation
    ("emailable", r"live_[0-9a-f]{20}", r"test_[0-9a-f]{20}"),
    ("validto", r"[a-z0-9]{32}", r"[a-z0-9]{32}"),
    ("whoisxml", r"at_[a-z0-9]{29}", r"at_[a-z0-9]{29}"),
    ("generic", r"ev_live_[a-z0-9]{24}", r"ev_test_[a-z0-9]{24}"),
    ("dataoorts", r"[A-Za-z0-9]{40}", r"test_[A-Za-z0-9]{40}"),
]


@pytest.mark.parametrize(("dialect", "live", "test"), PATTERNS)
def test_keys_have_the_vendors_shape(dialect: str, live: str, test: str) -> None:
    shape = SHAPES[dialect]
    assert re.fullmatch(live, mint_key(shape, test=False))
    assert re.fullmatch(test, mint_key(shape, test=True))


def test_every_dialect_has_a_row() -> None:
    assert {row[0] for row in PATTERNS} == set(SHAPES)


def test_keys_differ_and_use_the_whole_alphabet() -> None:
    shape = KeyShape(length=32)
    minted = {mint_key(shape, test=False) for _ in range(200)}
    assert len(minted) == 200
    assert set("".join(minted)) == set(string.ascii_lowercase + string.digits)


@pytest.mark.parametrize(
    ("key", "test", "hint"),
    [
        ("live_0123456789abcdef0123", False, "live_…0123"),
        ("test_0123456789abcdef4567", True, "test_…4567"),
        ("chosen-by-its-owner", True, "…wner"),
    ],
)
def test_a_hint_shows_the_prefix_and_four_characters(key: str, test: bool, hint: str) -> None:
    assert key_hint(KeyShape("live_", "test_"), key, test=test) == hint


def test_any_text_has_a_digest() -> None:
    assert len({key_digest(text) for text in ("", "a", "ä", "\udcff", "\x00")}) == 5
