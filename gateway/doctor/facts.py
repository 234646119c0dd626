"""What the doctor found out, before anybody says what it means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.dns.targets import is_global
from engine.dns.terms import LookupStatus
from engine.model import Meaning, Stage
from gateway.reputation import RecentRefusals

WELL_KNOWN_DOMAINS = ("gmail.com", "outlook.com", "yahoo.com")
"""Domains whose mail hosts are asked whether they hear us; outlook.com's tells the time."""


@dataclass(frozen=True, slots=True)
class DnsServer:
    """How one DNS server answered."""

    server: str
    status: LookupStatus
    """To the questions for well-known mail domains: the best of the answers."""
    latency_ms: int
    nonexistent_status: LookupStatus
    """To the question for a name that cannot exist: NXDOMAIN from an honest one."""
    false_address: str = ""
    """The address it gave for that name."""


@dataclass(frozen=True, slots=True)
class MailHost:
    """How the mail host of a well-known domain received us."""

    domain: str
    host: str
    ip: str
    accepts_ehlo: bool
    """It answered EHLO with yes."""
    stage: Stage = Stage.EHLO
    meaning: Meaning | None = None
    """Why it did not."""
    text: str = ""
    our_ip: str = ""
    """Our address as it sees it."""
    clock_ahead_s: float | None = None
    """How far our clock is ahead of the time that its banner told."""

    @property
    def has_replied(self) -> bool:
        """Whether a mail server answered at all, if only with no."""
        return self.accepts_ehlo or self.stage is not Stage.CONNECT


@dataclass(frozen=True, slots=True)
class Database:
    """The database file, or the folder it will be in."""

    location: str
    exists: bool
    free_bytes: int | None
    """On its file system; None where nothing is kept."""
    error: str = ""
    """Why it cannot be written."""
    is_locked: bool = False
    """Somebody else holds the write lock."""


@dataclass(frozen=True, slots=True)
class RefusalHistory:
    """Who refused us lately, as the database knows it."""

    recent: Sequence[RecentRefusals] = ()
    not_kept_because: str = ""
    """Why nothing is kept, where nothing is."""
    error: str = ""
    """Why it could not be read."""

    @property
    def is_kept(self) -> bool:
        return not self.not_kept_because


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the server is to listen."""

    url: str
    error: str = ""
    is_veriplex: bool = False
    """Veriplex itself listens there."""


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """Where our connections come from, as far as can be told from here."""

    ip: str = ""
    """Empty if it is not known."""
    source: str = ""
    local_ip: str = ""
    """This machine's own address on the way out."""


@dataclass(frozen=True, slots=True)
class NameRecords:
    """What DNS says of our names and our address."""

    helo_status: LookupStatus
    helo_ips: Sequence[str] = ()
    ptr_status: LookupStatus = LookupStatus.NXDOMAIN
    ptr_names: Sequence[str] = ()
    confirmed_names: Sequence[str] = field(default=())
    """Those names of the PTR that lead back to the address."""


def find_public_address(
    given_ip: str, hosts: Sequence[MailHost], local_ip: str, allow_private: bool
) -> PublicAddress:
    """Which address is ours: the one given, else what mail hosts see, else the way out's own.

    Behind address translation this machine's own is a private one, and nobody outside sees it.
    """
    if given_ip:
        return PublicAddress(given_ip, "given with --ip", local_ip)
    seen = Counter(
        host.our_ip for host in hosts if host.our_ip and (allow_private or is_global(host.our_ip))
    )
    if seen:
        return PublicAddress(seen.most_common(1)[0][0], "as mail hosts see it", local_ip)
    if local_ip and (allow_private or is_global(local_ip)):
        return PublicAddress(local_ip, "this machine's own address towards mail hosts", local_ip)
    return PublicAddress(local_ip=local_ip)
