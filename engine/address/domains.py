"""The registrable part of a domain name, by the public suffix list."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=65_536)
def registrable_domain(domain: str) -> str | None:
    """`example.co.uk` for `mail.example.co.uk`; None for a public suffix. A-labels, lower case."""
    found: str | None = _public_suffix_list().privatesuffix(domain)
    return found


@cache
def _public_suffix_list() -> PublicSuffixList:
    # Loaded when first asked for: reading the list takes longer than a probe.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
