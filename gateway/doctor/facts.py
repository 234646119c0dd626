"""What the doctor found out, before anybody says what it means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.dns.resolver import Status
from engine.dns.targets import is_global
from engine.model import Meaning, Stage
from gateway.reputation import Recent


@dataclass(frozen=True, slots=True)
class DnsServer:
    """How one DNS server answered."""

    server: str
    status: Status
    """To the questions for well-known mail domains: the best of the answers."""
    latency_ms: int
    made_up: Status
    """To the question for a name that cannot exist: NXDOMAIN from an honest one."""
    lie: str = ""
    """The address it gave for that name."""


@dataclass(frozen=True, slots=True)
class MailHost:
    """How the mail host of a well-known domain received us."""

    domain: str
    host: str
    ip: str
    greeted: bool
    """It answered EHLO with yes."""
    stage: Stage = Stage.EHLO
    meaning: Meaning | None = None
    """Why it did not."""
    text: str = ""
    saw: str = ""
    """Our address as it sees it."""
    ahead_s: float | None = None
    """How far our clock is ahead of the time that its banner told."""

    @property
    def spoke(self) -> bool:
        """Whether a mail server answered at all, if only with no."""
        return self.greeted or self.stage is not Stage.CONNECT


@dataclass(frozen=True, slots=True)
class Database:
    """The database file, or the folder it will be in."""

    where: str
    exists: bool
    free_bytes: int | None
    """On its file system; None where nothing is kept."""
    trouble: str = ""
    """Why it cannot be written."""
    busy: bool = False
    """Somebody else holds the write lock."""


@dataclass(frozen=True, slots=True)
class Refusers:
    """Who refused us lately, as the database knows it."""

    recent: Sequence[Recent] = ()
    where: str = ""
    """Why nothing is kept, where nothing is."""
    trouble: str = ""
    """Why it could not be read."""

    @property
    def kept(self) -> bool:
        return not self.where


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is to listen."""

    url: str
    trouble: str = ""
    ours: bool = False
    """Veriplex itself listens there."""


@dataclass(frozen=True, slots=True)
class OurAddress:
    """Where our connections come from, as far as can be told from here."""

    ip: str = ""
    """Empty if it is not known."""
    how: str = ""
    local: str = ""
    """This machine's own address on the way out."""


@dataclass(frozen=True, slots=True)
class Names:
    """What DNS says of our names and our address."""

    helo_status: Status
    helo_ips: Sequence[str] = ()
    ptr_status: Status = Status.NXDOMAIN
    ptr_names: Sequence[str] = ()
    confirmed: Sequence[str] = field(default=())
    """Those names of the PTR that lead back to the address."""


def our_address(
    given: str, hosts: Sequence[MailHost], local: str, allow_private: bool
) -> OurAddress:
    """Which address is ours: the one given, else what mail hosts see, else the way out's own.

    Behind address translation this machine's own is a private one, and nobody outside sees it.
    """
    if given:
        return OurAddress(given, "as given with --ip", local)
    seen = Counter(
        host.saw for host in hosts if host.saw and (allow_private or is_global(host.saw))
    )
    if seen:
        return OurAddress(seen.most_common(1)[0][0], "as mail hosts see it", local)
    if local and (allow_private or is_global(local)):
        return OurAddress(local, "this machine's own on the way to mail hosts", local)
    return OurAddress(local=local)
