"""What the files that speak DNS have in common: questions, how they come out, how long to keep it.

Names of the wire are octets here (RFC 1035 section 3.1: each label after its length, the root's
0 at the end), in lower case, so that equal names are equal (RFC 4343).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from engine.model import Dns, MxHost

MAX_TTL_S = 86_400
MAX_NEGATIVE_TTL_S = 10_800
"""RFC 2308 section 5: one to three hours are sensible limits for negative answers."""
FAILURE_TTL_S = 5
"""RFC 9520 section 3.2: failures must be cached, one second to five minutes."""
EDNS_PAYLOAD = 1232
"""Octets: what crosses any network unfragmented (DNS flag day 2020)."""


class RecordType(StrEnum):
    """The record types that the engine asks for."""

    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    TXT = "TXT"
    PTR = "PTR"


class LookupStatus(StrEnum):
    """How a question came out."""

    OK = "ok"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"  # also lame delegations, endless aliases and unreadable answers
    REFUSED = "refused"
    TIMEOUT = "timeout"

    @property
    def definite(self) -> bool:
        """Whether DNS answered the question, if only with no."""
        return self in _DEFINITE


_DEFINITE = frozenset({LookupStatus.OK, LookupStatus.NODATA, LookupStatus.NXDOMAIN})


@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """What one message asks."""

    name: bytes
    record_type: RecordType


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """What one message answers."""

    status: LookupStatus
    records: tuple[str, ...]
    """Addresses for A and AAAA, `preference exchange.` for MX, joined strings for TXT."""
    ttl_s: int
    canonical_name: bytes
    """The name at the end of the aliases; that of the question if there are none."""

    @classmethod
    def failed(cls, status: LookupStatus, question: DnsQuestion) -> ParsedResponse:
        """No answer, kept for a short time only."""
        return cls(status, (), FAILURE_TTL_S, question.name)


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What DNS said to one question."""

    name: str
    record_type: RecordType
    status: LookupStatus
    records: tuple[str, ...] = ()
    """As in `ParsedResponse`."""
    ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class NameServer:
    """A DNS server: an IP address and a port."""

    host: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> NameServer:
        """Read `1.2.3.4`, `1.2.3.4:5353`, `::1` or `[::1]:53`; ValueError for anything else."""
        found = _HOST_AND_PORT.fullmatch(text.strip())
        host, port = (found[1] or found[2], int(found[3] or 53)) if found else (text.strip(), 53)
        if not 0 < port < 65536:
            raise ValueError(f"not a port: {text!r}")
        return cls(str(ipaddress.ip_address(host)), port)


_HOST_AND_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class MailRoute:
    """What DNS says of a domain's mail, and the hosts to try, best first."""

    dns: Dns
    hosts: tuple[MxHost, ...] = ()


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The IP addresses of a host, IPv4 first."""

    status: LookupStatus
    ips: tuple[str, ...] = ()


class DnsFormatError(Exception):
    """A name that cannot be asked for, or an answer that makes no sense."""
