"""API keys: minting them in a vendor's shape, and what is kept of them."""

from __future__ import annotations

import hashlib
import secrets

from adapters.contract.dialect import KeyShape

MAX_KEY_CHARACTERS = 256
"""Characters; nobody's key is longer, so that a longer credential is not even hashed."""


def mint_key(shape: KeyShape, *, test: bool) -> str:
    """A new random key. Where the prefixes are alike, only the database knows the kind."""
    prefix = shape.test_prefix if test else shape.live_prefix
    return prefix + "".join(secrets.choice(shape.alphabet) for _ in range(shape.length))


def key_digest(key: str) -> bytes:
    """What is kept: SHA-256, unsalted, as a key is too random to be guessed from it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_hint(shape: KeyShape, key: str, *, test: bool) -> str:
    """How a key is shown afterwards: the prefix of its kind and its last four characters.

    Four and no more: of emailable's 80 random bits, 64 stay secret.
    """
    prefix = shape.test_prefix if test else shape.live_prefix
    return f"{prefix if key.startswith(prefix) else ''}…{key[-4:]}"
