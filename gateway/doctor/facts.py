"""The facts that the doctor gathers, before they are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engine.dns.targets import is_global
from engine.dns.terms import LookupStatus
from engine.model import Meaning, Stage
from gateway.reputation import RecentRefusals

WELL_KNOWN_DOMAINS = ("gmail.com", "outlook.com", "yahoo.com")
"""Domains whose mail hosts are contacted; that of outlook.com shows the time in its banner."""


@dataclass(frozen=True, slots=True)
class DnsServer:
    """How one DNS server answered."""

    server: str
    status: LookupStatus
    """The best status among the queries for well-known mail domains."""
    latency_ms: int
    nonexistent_status: LookupStatus
    """The status of a query for a name that cannot exist; an honest server says NXDOMAIN."""
    false_address: str = ""
    """The address that it returned for that name."""


@dataclass(frozen=True, slots=True)
class MailHost:
    """The reaction of a well-known domain's mail host to a connection from us."""

    domain: str
    host: str
    ip: str
    accepts_ehlo: bool
    """Whether it accepted EHLO."""
    stage: Stage = Stage.EHLO
    meaning: Meaning | None = None
    """The reason if it did not."""
    text: str = ""
    our_ip: str = ""
    """Our address, as the host sees it."""
    clock_ahead_s: float | None = None
    """How far our clock is ahead of the time in its banner."""
    egress_fault: str = ""
    """The reason if the egress failed, so that the host was not asked."""

    @property
    def has_replied(self) -> bool:
        """Whether a mail server replied at all, be it with a refusal."""
        return self.accepts_ehlo or self.stage is not Stage.CONNECT


@dataclass(frozen=True, slots=True)
class Database:
    """The database file, or the folder where it will be created; or the one on a server."""

    location: str
    exists: bool
    free_bytes: int | None = None
    """On its file system; None for a database in memory, or on a server."""
    error: str = ""
    """The reason why it cannot be written."""
    is_locked: bool = False
    """Whether another process holds the write lock."""
    newer_revision: str = ""
    """That of its tables, if a newer version of Veriplex made them."""
    is_on_server: bool = False


@dataclass(frozen=True, slots=True)
class RefusalHistory:
    """Recent refusals, from the database."""

    recent: Sequence[RecentRefusals] = ()
    not_kept_because: str = ""
    """The reason if there are no stored refusals."""
    error: str = ""
    """The reason if they could not be read."""

    @property
    def is_kept(self) -> bool:
        return not self.not_kept_because

    def of_egress(self, name: str) -> RefusalHistory:
        """Those of one egress."""
        return replace(self, recent=[one for one in self.recent if one.egress == name])


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The address that the server is to listen on."""

    url: str
    error: str = ""
    is_veriplex: bool = False
    """Whether it is in use by Veriplex."""


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """The address that our connections come from, as far as it is known."""

    ip: str = ""
    """Empty if not known."""
    source: str = ""
    local_ip: str = ""
    """This machine's source address for outgoing connections."""


@dataclass(frozen=True, slots=True)
class NameRecords:
    """DNS records of our HELO name and our address."""

    helo_status: LookupStatus
    helo_ips: Sequence[str] = ()
    ptr_status: LookupStatus = LookupStatus.NXDOMAIN
    ptr_names: Sequence[str] = ()
    confirmed_names: Sequence[str] = field(default=())
    """The PTR names that resolve back to the address."""


def find_public_address(
    given: PublicAddress, hosts: Sequence[MailHost], local_ip: str, allow_private: bool
) -> PublicAddress:
    """Our address: the given one, else the one that mail hosts see, else the source address.

    Behind address translation the source address is a private one, which is not the one that
    others see; behind a proxy there is none (`local_ip` is empty).
    """
    if given.ip:
        return replace(given, local_ip=local_ip)
    seen = Counter(
        host.our_ip for host in hosts if host.our_ip and (allow_private or is_global(host.our_ip))
    )
    if seen:
        return PublicAddress(seen.most_common(1)[0][0], "as mail hosts see it", local_ip)
    if local_ip and (allow_private or is_global(local_ip)):
        return PublicAddress(local_ip, "this machine's own address towards mail hosts", local_ip)
    return PublicAddress(local_ip=local_ip)
