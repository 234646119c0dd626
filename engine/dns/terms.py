"""The values of the DNS room: questions, responses, answers, servers and mail routes. Pure.

A name in a `DnsQuestion` or a `ParsedResponse` is in wire format (RFC 1035 section 3.1: each label
after its length octet, a 0 octet at the end) and in lower case, so that equal names compare equal
(RFC 4343).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from engine.model import Dns, MxHost

MAX_TTL_S = 86_400
"""An answer is cached for a day at most, even if its TTL is longer."""
MAX_NEGATIVE_TTL_S = 10_800
"""RFC 2308 section 5: one to three hours are sensible limits for negative answers."""
FAILURE_TTL_S = 5
"""RFC 9520 section 3.2: failures must be cached, for one second to five minutes."""
EDNS_PAYLOAD = 1232
"""Octets. A UDP response of this size is not fragmented on its way (DNS flag day 2020)."""


class RecordType(StrEnum):
    """The record types that the engine asks for."""

    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    TXT = "TXT"
    PTR = "PTR"


class LookupStatus(StrEnum):
    """The outcome of a DNS question."""

    OK = "ok"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"  # also lame delegations, alias loops and malformed responses
    REFUSED = "refused"
    TIMEOUT = "timeout"

    @property
    def definite(self) -> bool:
        """Whether DNS gave an answer, positive or negative."""
        return self in _DEFINITE


_DEFINITE = frozenset({LookupStatus.OK, LookupStatus.NODATA, LookupStatus.NXDOMAIN})


@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """The question of one message."""

    name: bytes
    record_type: RecordType


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """The answer in one message."""

    status: LookupStatus
    records: tuple[str, ...]
    """IP addresses for A and AAAA, `preference exchange.` for MX, a name with a final dot for PTR,
    and the strings of each record joined for TXT."""
    ttl_s: int
    canonical_name: bytes
    """The name at the end of the CNAME chain; without one, the name of the question."""

    @classmethod
    def failed(cls, status: LookupStatus, question: DnsQuestion) -> ParsedResponse:
        """A response without an answer, to be cached for a short time only."""
        return cls(status, (), FAILURE_TTL_S, question.name)


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The answer of the resolver to one question."""

    name: str
    record_type: RecordType
    status: LookupStatus
    records: tuple[str, ...] = ()
    """As in `ParsedResponse`."""
    ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class NameServer:
    """A DNS server."""

    host: str
    """An IP address."""
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> NameServer:
        """Parse `1.2.3.4`, `1.2.3.4:5353`, `::1` or `[::1]:53`; ValueError for anything else."""
        match = _HOST_AND_PORT.fullmatch(text.strip())
        host, port = (match[1] or match[2], int(match[3] or 53)) if match else (text.strip(), 53)
        if not 0 < port < 65536:
            raise ValueError(f"not a port: {text!r}")
        return cls(str(ipaddress.ip_address(host)), port)


_HOST_AND_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class MailRoute:
    """The mail hosts of a domain in the order to try them, and the outcome of the lookup."""

    dns: Dns
    hosts: tuple[MxHost, ...] = ()


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The IP addresses of a host, IPv4 first."""

    status: LookupStatus
    ips: tuple[str, ...] = ()


class DnsFormatError(Exception):
    """A name that cannot exist in DNS, or a malformed response."""
