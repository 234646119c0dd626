"""API keys have the shapes that the vendors' clients require."""

from __future__ import annotations

import re
import string

import pytest

from adapters.contract.dialect import Dialect, KeyShape
from gateway.accounts.keys import key_digest, key_hint, mint_key
from tests.dialects import ALL, FACTS


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_keys_have_the_vendors_shape(dialect: Dialect) -> None:
    facts = FACTS[dialect.name]
    assert re.fullmatch(facts.live_key, mint_key(dialect.key_shape, test=False))
    assert re.fullmatch(facts.test_key, mint_key(dialect.key_shape, test=True))


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
