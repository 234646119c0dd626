"""The vocabulary: one address, one verdict, and the evidence for it.

Everything a dialect can show is a field here, and everything a probe or an upstream
vendor learns is written here. Values only: no socket, clock or randomness. `None` in a
tri-state field means "not known", never "no".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What to do with the address."""

    DELIVERABLE = "deliverable"
    UNDELIVERABLE = "undeliverable"
    RISKY = "risky"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why the verdict is what it is: one vocabulary, which each dialect maps to its words."""

    ACCEPTED_EMAIL = "accepted_email"
    REJECTED_EMAIL = "rejected_email"
    INVALID_EMAIL = "invalid_email"
    INVALID_DOMAIN = "invalid_domain"
    DNS_ERROR = "dns_error"
    NO_CONNECT = "no_connect"
    TIMEOUT = "timeout"
    UNAVAILABLE_SMTP = "unavailable_smtp"  # a temporary refusal, or a dropped connection
    INVALID_SMTP = "invalid_smtp"  # what answers does not speak SMTP
    GREYLISTED = "greylisted"
    MAILBOX_FULL = "mailbox_full"
    CATCH_ALL = "catch_all"
    BLOCKED = "blocked"  # the refusal is about us, not about the mailbox
    DISPOSABLE = "disposable"
    LOW_QUALITY = "low_quality"
    NOT_CHECKED = "not_checked"
    UNEXPECTED_ERROR = "unexpected_error"


class Dns(StrEnum):
    """What the question "where does mail for this domain go" came to."""

    NOT_CHECKED = "not_checked"
    MX = "mx"
    IMPLICIT_MX = "implicit_mx"  # no MX but an address record: RFC 5321 section 5.1
    NULL_MX = "null_mx"  # RFC 7505
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"  # the name exists, with neither MX nor address
    UNRESOLVABLE = "unresolvable"  # MX records, none of whose hosts has an address
    SERVFAIL = "servfail"  # also a lame delegation
    REFUSED = "refused"
    TIMEOUT = "timeout"

    @property
    def can_receive(self) -> bool | None:
        """Whether the domain takes mail; None when DNS could not say."""
        return _CAN_RECEIVE[self]


_CAN_RECEIVE: dict[Dns, bool | None] = {
    Dns.NOT_CHECKED: None,
    Dns.MX: True,
    Dns.IMPLICIT_MX: True,
    Dns.NULL_MX: False,
    Dns.NXDOMAIN: False,
    Dns.NODATA: False,
    Dns.UNRESOLVABLE: False,
    Dns.SERVFAIL: None,
    Dns.REFUSED: None,
    Dns.TIMEOUT: None,
}


class Stage(StrEnum):
    """Where in an SMTP conversation something happened (RFC 5321 section 3)."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"


class Meaning(StrEnum):
    """What a conversation, or the one reply that decided it, says (`engine.smtp.reply`)."""

    ACCEPTED = "accepted"
    CANNOT_VERIFY = "cannot_verify"  # 252
    MAILBOX_NOT_FOUND = "mailbox_not_found"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_MOVED = "mailbox_moved"
    MAILBOX_FULL = "mailbox_full"  # it exists
    MAILBOX_RATE_LIMITED = "mailbox_rate_limited"  # it exists
    DOMAIN_NOT_SERVED = "domain_not_served"  # relaying denied
    IP_BLOCKED = "ip_blocked"
    RDNS_REQUIRED = "rdns_required"
    SENDER_AUTH_FAILED = "sender_auth_failed"
    SENDER_REJECTED = "sender_rejected"
    HELO_REJECTED = "helo_rejected"
    AUTH_REQUIRED = "auth_required"
    TLS_REQUIRED = "tls_required"
    POLICY = "policy"
    GREYLISTED = "greylisted"
    THROTTLED = "throttled"  # too much at once; less, or later, will do
    TEMPORARY = "temporary"
    UNVERIFIED = "unverified"  # 4xx with the words of "no such user"
    SMTPUTF8_UNSUPPORTED = "smtputf8_unsupported"
    PROTOCOL_ERROR = "protocol_error"
    REJECTED_UNRECOGNISED = "rejected_unrecognised"  # a bare 5xx: compare the control address
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"  # a private or loopback target, refused by us
    TIMED_OUT = "timed_out"
    DROPPED = "dropped"
    NOT_SMTP = "not_smtp"


class Gender(StrEnum):
    MALE = "male"
    FEMALE = "female"


@dataclass(frozen=True, slots=True)
class Address:
    """An address as asked, and its parts. Made by `engine.address.syntax.parse`.

    `error` is None for a valid address and otherwise one sentence on what is wrong; the
    parts are then what can honestly be read off, possibly empty.
    """

    raw: str
    """As asked, without surrounding blanks."""
    local: str
    """What stands before the last `@`, as written."""
    domain: str
    """What stands after it: lower case, Unicode."""
    ascii_domain: str
    """The domain in its IDNA A-label form, as DNS wants it; empty if it has none."""
    error: str | None = None

    @property
    def valid(self) -> bool:
        return self.error is None

    @property
    def user(self) -> str:
        """The local part without its `+tag` (RFC 5233's "user")."""
        return self.local.split("+", 1)[0] or self.local

    @property
    def tag(self) -> str | None:
        """What follows the first `+` of the local part (RFC 5233's "detail")."""
        user, plus, tag = self.local.partition("+")
        return tag if user and plus else None

    @property
    def normalized(self) -> str:
        """The key of caches and counts: the domain folded, the local part as written."""
        return f"{self.local}@{self.domain}" if self.valid else self.raw

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only RFC 6531 can carry it."""
        return not self.local.isascii()


@dataclass(frozen=True, slots=True)
class Checks:
    """How far a verification should go. Syntax and lists are always looked at."""

    dns: bool = True
    smtp: bool = True
    catch_all: bool = True

    def covers(self, wanted: Checks) -> bool:
        """Whether an answer made with these checks also serves a question for `wanted`."""
        return (
            (self.dns or not wanted.dns)
            and (self.smtp or not wanted.smtp)
            and (self.catch_all or not wanted.catch_all)
        )


@dataclass(frozen=True, slots=True)
class MxHost:
    """One mail exchanger: lower case, no final dot. Lower `preference` is tried first."""

    host: str
    preference: int


@dataclass(frozen=True, slots=True)
class Smtp:
    """What the mail servers said; the last word of the host that decided."""

    meaning: Meaning
    stage: Stage
    connected: bool = False
    """Whether any host greeted us."""
    host: str | None = None
    ip: str | None = None
    code: int | None = None
    """The basic reply code, 200..599."""
    enhanced: str | None = None
    """RFC 3463, such as "5.1.1"."""
    text: str | None = None
    """The server's own words, lines joined by blanks: evidence, never markup."""
    latency_ms: int | None = None
    """From dialling the deciding host to its reply."""
    tls: bool = False
    block_list: str | None = None
    """Which list the refusal names, when it is about us."""
    retry_after_s: int | None = None
    """How long a temporary refusal asked us to wait."""

    @property
    def accepted(self) -> bool | None:
        """Whether the mailbox takes mail; None when this conversation cannot say."""
        return _ACCEPTED.get(self.meaning)


_ACCEPTED: dict[Meaning, bool] = {
    Meaning.ACCEPTED: True,
    Meaning.MAILBOX_RATE_LIMITED: True,
    Meaning.MAILBOX_NOT_FOUND: False,
    Meaning.MAILBOX_DISABLED: False,
    Meaning.MAILBOX_MOVED: False,
    Meaning.MAILBOX_FULL: False,
    Meaning.DOMAIN_NOT_SERVED: False,
}


@dataclass(frozen=True, slots=True)
class Person:
    """What a local part says of its owner. A guess, with how far to trust it."""

    first: str | None = None
    last: str | None = None
    gender: Gender | None = None
    accuracy: float = 0.0
    """0..1: of answers at 0.8, about 80 % should be right."""

    @property
    def full(self) -> str | None:
        return " ".join(part for part in (self.first, self.last) if part) or None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the transcript, in order."""

    at_ms: int
    """Milliseconds since the verification began."""
    who: str
    """`dns`, or the mail host spoken to."""
    said: str
    """`> ` a command of ours, `< ` a reply, otherwise an event."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known of an address that a dialect may show."""

    disposable: bool = False
    free: bool = False
    role: bool = False
    no_reply: bool = False
    did_you_mean: str | None = None
    dns: Dns = Dns.NOT_CHECKED
    mx: tuple[MxHost, ...] = ()
    """Best first."""
    provider: str | None = None
    """Who runs the mail hosts: `google`, `microsoft`, … (`engine.smtp.providers`)."""
    spf: bool | None = None
    dmarc: bool | None = None
    smtp: Smtp | None = None
    catch_all: bool | None = None
    mailbox_full: bool | None = None
    mailbox_disabled: bool | None = None
    person: Person | None = None
    avatar: str | None = None
    """URL of a picture."""
    spamtrap: bool | None = None
    raw_word: str | None = None
    """The upstream's own word, when it is none that we know."""
    transcript: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def mx_host(self) -> str | None:
        """The mail host that answered, else the best one known."""
        if self.smtp is not None and self.smtp.host:
            return self.smtp.host
        return self.mx[0].host if self.mx else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One source that was asked for an answer, and what came of it."""

    source: str
    outcome: str
    """A verdict, or why there was none, such as `timed_out`."""
    latency_ms: int = 0
    cost: float = 0.0
    """In the currency of the settings' prices."""
    status: int | None = None
    """Of the upstream's HTTP reply, where there was no verdict."""
    detail: str = ""
    """The upstream's own words, where there was no verdict."""
    asked: bool = True
    """False where it was passed over: it rested, or its budget was spent."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The one internal answer."""

    address: Address
    verdict: Verdict
    reason: Reason
    score: int
    """0..100, `engine.score`; dialects have scales of their own."""
    evidence: Evidence
    checks: Checks
    verified_at: datetime
    """When the answer was found out, UTC; a cached answer carries an old one."""
    duration_s: float = 0.0
    source: str = "local"
    """`local`, `sandbox`, or the upstream's name."""
    cached: bool = False
    attempts: tuple[Attempt, ...] = ()
    """Sources asked for it, in order; empty where only one could be."""
