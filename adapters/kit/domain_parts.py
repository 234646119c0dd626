"""A domain name cut into what its registry gave, what its owner chose, and what is below. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from engine.address.domains import registrable_domain
from engine.model import Address


class DomainParts(NamedTuple):
    """`mail`, `example` and `co.uk` of `mail.example.co.uk`."""

    subdomain: str
    """Empty for the domain that is registered."""
    name: str
    """One label; empty for a public suffix."""
    suffix: str


def domain_parts(address: Address) -> DomainParts:
    """The parts of an address's domain, in the form in which it is written."""
    return _parts(address.domain_as_written, address.ascii_domain)


@lru_cache(maxsize=4_096)
def _parts(domain: str, ascii_domain: str) -> DomainParts:
    # both forms have the same number of labels, and the list knows A-labels
    labels = domain.split(".")
    registrable = registrable_domain(ascii_domain)
    if registrable is None:
        return DomainParts("", "", domain)
    below = len(labels) - len(registrable.split("."))
    return DomainParts(".".join(labels[:below]), labels[below], ".".join(labels[below + 1 :]))
