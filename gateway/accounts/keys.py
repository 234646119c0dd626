"""API keys: creating them in a vendor's shape, and what is stored of them."""

from __future__ import annotations

import hashlib
import secrets

from adapters.contract.dialect import KeyShape

MAX_KEY_CHARACTERS = 256
"""No vendor issues longer keys, so a longer credential is not even hashed."""


def mint_key(shape: KeyShape, *, test: bool) -> str:
    """A new random key.

    Where live and test keys share a prefix, only the database tells them apart.
    """
    prefix = shape.test_prefix if test else shape.live_prefix
    return prefix + "".join(secrets.choice(shape.alphabet) for _ in range(shape.length))


def key_digest(key: str) -> bytes:
    """The SHA-256 of a key, which is stored in its place.

    It needs no salt: keys are random, so they cannot be guessed.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_hint(shape: KeyShape, key: str, *, test: bool) -> str:
    """A key as it is shown later: its prefix and its last four characters.

    With four, 64 of the 80 random bits of an emailable key stay secret.
    """
    prefix = shape.test_prefix if test else shape.live_prefix
    return f"{prefix if key.startswith(prefix) else ''}…{key[-4:]}"
