"""The registrable part of a domain name, by the public suffix list."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=65_536)
def registrable_domain(domain: str) -> str | None:
    """`example.co.uk` for `mail.example.co.uk`, None for a public suffix.

    `domain` is in lower case, its labels A-labels.
    """
    registrable: str | None = _public_suffix_list().privatesuffix(domain)
    return registrable


@cache
def _public_suffix_list() -> PublicSuffixList:
    # Loaded at its first use, since reading the list takes 50 ms.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
