"""Whether a domain publishes SPF (RFC 7208) and DMARC (RFC 7489) policies."""

from __future__ import annotations

import re

from engine.address.domains import registrable_domain
from engine.dns.resolver import Resolver
from engine.dns.terms import LookupStatus, RecordType

_SPF = re.compile(r"v=spf1(?: |$)", re.IGNORECASE)
"""RFC 7208 section 4.5: a space or the end of the record follows the version."""
_DMARC = re.compile(r"v\s*=\s*DMARC1\s*(?:;|$)")
"""RFC 7489 section 6.4: the record begins with the version, which is case-sensitive."""


def is_spf_record(text: str) -> bool:
    """Whether the text of a TXT record begins as an SPF record does."""
    return _SPF.match(text) is not None


async def has_spf(resolver: Resolver, domain: str) -> bool | None:
    """Whether `domain` has an SPF record; None if DNS gave no definite answer."""
    return await _publishes(resolver, domain, _SPF)


async def has_dmarc(resolver: Resolver, domain: str) -> bool | None:
    """Whether `domain` or its organizational domain has a DMARC policy (RFC 7489 section 6.6.3).

    None if DNS gave no definite answer.
    """
    own = await _publishes(resolver, f"_dmarc.{domain}", _DMARC)
    organization = registrable_domain(domain)
    if own is not False or organization in (None, domain):
        return own
    return await _publishes(resolver, f"_dmarc.{organization}", _DMARC)


async def _publishes(resolver: Resolver, name: str, record: re.Pattern[str]) -> bool | None:
    answer = await resolver.resolve(name, RecordType.TXT)
    if answer.status is LookupStatus.NXDOMAIN or answer.status is LookupStatus.NODATA:
        return False
    if answer.status is not LookupStatus.OK:
        return None
    return any(record.match(text) for text in answer.records)
