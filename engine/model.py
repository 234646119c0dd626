"""The vocabulary of a verification: an address, its verdict, and the evidence for it.

Every fact that a dialect can show is a field here, and a probe or an upstream fills these fields
and no others. The module holds values only. `None` in a `bool | None` field means "not known",
never "no".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """The advice: whether to send mail to the address."""

    DELIVERABLE = "deliverable"
    UNDELIVERABLE = "undeliverable"
    RISKY = "risky"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why the verdict was given. Each dialect maps these to the words of its vendor."""

    ACCEPTED_EMAIL = "accepted_email"
    REJECTED_EMAIL = "rejected_email"
    INVALID_EMAIL = "invalid_email"
    INVALID_DOMAIN = "invalid_domain"
    DNS_ERROR = "dns_error"
    NO_CONNECT = "no_connect"
    TIMEOUT = "timeout"
    UNAVAILABLE_SMTP = "unavailable_smtp"  # a temporary refusal, or a dropped connection
    INVALID_SMTP = "invalid_smtp"  # the host does not speak SMTP
    GREYLISTED = "greylisted"
    MAILBOX_FULL = "mailbox_full"
    CATCH_ALL = "catch_all"
    BLOCKED = "blocked"  # the refusal is about us, not about the mailbox
    DISPOSABLE = "disposable"
    LOW_QUALITY = "low_quality"
    NOT_CHECKED = "not_checked"
    UNEXPECTED_ERROR = "unexpected_error"


class Dns(StrEnum):
    """The outcome of looking up the mail hosts of a domain."""

    NOT_CHECKED = "not_checked"
    MX = "mx"
    IMPLICIT_MX = "implicit_mx"  # no MX but an address record: RFC 5321 section 5.1
    NULL_MX = "null_mx"  # RFC 7505
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"  # the name exists, with neither MX nor address
    UNRESOLVABLE = "unresolvable"  # none of the mail hosts has an address that others can reach
    SERVFAIL = "servfail"  # also lame delegations and malformed responses
    REFUSED = "refused"
    TIMEOUT = "timeout"

    @property
    def can_receive(self) -> bool | None:
        """Whether the domain accepts mail; None if DNS gave no definite answer."""
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
    """The step of an SMTP session in which something happened (RFC 5321 section 3)."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"


class Meaning(StrEnum):
    """The meaning of an SMTP session, or of the one reply that decided it.

    `engine.smtp.reply` derives it from the codes and the text of replies.
    """

    ACCEPTED = "accepted"
    CANNOT_VERIFY = "cannot_verify"  # 252
    MAILBOX_NOT_FOUND = "mailbox_not_found"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_MOVED = "mailbox_moved"
    MAILBOX_FULL = "mailbox_full"  # the mailbox exists
    MAILBOX_RATE_LIMITED = "mailbox_rate_limited"  # the mailbox exists
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
    THROTTLED = "throttled"  # too many connections or recipients for now
    TEMPORARY = "temporary"
    UNVERIFIED = "unverified"  # 4xx, with a text that means "no such user"
    SMTPUTF8_UNSUPPORTED = "smtputf8_unsupported"
    PROTOCOL_ERROR = "protocol_error"
    REJECTED_UNRECOGNISED = "rejected_unrecognised"  # 5xx with a text that we cannot classify
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"  # a private or loopback target, which we do not dial
    TIMED_OUT = "timed_out"
    DROPPED = "dropped"
    NOT_SMTP = "not_smtp"


class Gender(StrEnum):
    MALE = "male"
    FEMALE = "female"


@dataclass(frozen=True, slots=True)
class Address:
    """An address and its parts, as `engine.address.syntax.parse_address` reads them.

    Of an invalid address only the parts that could be recognised are set; they may be empty.
    """

    raw: str
    """The address as the client wrote it, without surrounding whitespace."""
    local: str
    """The part before the last `@`, as written."""
    domain: str
    """The part after the last `@`, in lower case and Unicode."""
    ascii_domain: str
    """The domain in IDNA A-label form, which DNS needs; empty if the domain has none."""
    error: str | None = None
    """For an invalid address, one sentence that says what is wrong and how to correct it."""
    normalized: str = field(init=False, compare=False, repr=False)
    """The key of the address in caches: its domain in lower case, its local part as written."""

    def __post_init__(self) -> None:
        normalized = self.raw if self.error else f"{self.local}@{self.domain}"
        object.__setattr__(self, "normalized", normalized)

    @property
    def valid(self) -> bool:
        return self.error is None

    @property
    def domain_as_written(self) -> str:
        """The domain in lower case and in the form that `raw` has it in: it is how `raw` ends."""
        written_in_a_labels = self.ascii_domain and self.raw.rpartition("@")[2].isascii()
        return self.ascii_domain if written_in_a_labels else self.domain

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
    def needs_smtputf8(self) -> bool:
        """Whether mail to the address needs the SMTPUTF8 extension (RFC 6531)."""
        return not self.local.isascii()


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks that a verification makes beside syntax and lists, which it always does."""

    dns: bool = True
    smtp: bool = True
    catch_all: bool = True
    policies: bool = False
    """Whether the domain publishes SPF and DMARC, for replies that show it. No verdict or score
    depends on it."""

    def covers(self, wanted: Checks) -> bool:
        """Whether a verification with these checks includes those of `wanted`."""
        return (
            (self.dns or not wanted.dns)
            and (self.smtp or not wanted.smtp)
            and (self.catch_all or not wanted.catch_all)
            and (self.policies or not wanted.policies)
        )


@dataclass(frozen=True, slots=True)
class MxHost:
    """One mail exchanger: lower case, no final dot. Lower `preference` is tried first."""

    host: str
    preference: int


@dataclass(frozen=True, slots=True)
class Smtp:
    """The outcome of asking the mail hosts: the reply, or its absence, that decided."""

    meaning: Meaning
    stage: Stage
    connected: bool = False
    """Whether any host sent an SMTP greeting."""
    host: str | None = None
    ip: str | None = None
    code: int | None = None
    """The reply code, 200..599."""
    enhanced: str | None = None
    """The enhanced status code, such as "5.1.1" (RFC 3463)."""
    text: str | None = None
    """The server's own text, its lines joined by spaces: untrusted, and never markup."""
    latency_ms: int | None = None
    """Milliseconds from dialling the host that decided to its reply."""
    tls: bool = False
    block_list: str | None = None
    """The block list that the server gives as the reason for refusing us."""
    retry_after_s: int | None = None
    """The delay that a temporary refusal asked for, in seconds."""
    egress: str | None = None
    """Name of the egress that the host was asked by; None if it was not asked."""

    @property
    def accepted(self) -> bool | None:
        """Whether the mailbox accepts mail; None if the session does not show it."""
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
    """A guess at the person whom a local part is named after."""

    first: str | None = None
    last: str | None = None
    gender: Gender | None = None
    accuracy: float = 0.0
    """0..1, calibrated: of the guesses with 0.8 about 80 % are right."""

    @property
    def full(self) -> str | None:
        return " ".join(part for part in (self.first, self.last) if part) or None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the transcript of a verification."""

    at_ms: int
    """Milliseconds since the verification began."""
    who: str
    """`dns`, or the name of the mail host."""
    said: str
    """A command of ours after `> `, a reply after `< `, or an event."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts about an address that a dialect may show."""

    disposable: bool = False
    free: bool = False
    role: bool = False
    no_reply: bool = False
    did_you_mean: str | None = None
    dns: Dns = Dns.NOT_CHECKED
    mx: tuple[MxHost, ...] = ()
    """Mail hosts, the preferred one first."""
    provider: str | None = None
    """The operator of the mail hosts, such as `google` (`engine.smtp.providers`)."""
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
    """The upstream's own word for its result, if we do not know it."""
    transcript: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def mx_host(self) -> str | None:
        """The mail host whose reply decided, otherwise the preferred one."""
        if self.smtp is not None and self.smtp.host:
            return self.smtp.host
        return self.mx[0].host if self.mx else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One source that was asked for a verdict, or passed over, and the outcome."""

    source: str
    outcome: str
    """A verdict, or the reason why there is none, such as `timed_out`."""
    latency_ms: int = 0
    cost: float = 0.0
    """In the currency of the prices in the settings."""
    status: int | None = None
    """The HTTP status of an upstream that gave no verdict."""
    detail: str = ""
    """The error text of an upstream that gave no verdict, and why it was asked first where a
    strategy says so."""
    asked: bool = True
    """False for a source that was passed over: out of rotation, or over its budget."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying one address, from any source; dialects translate it."""

    address: Address
    verdict: Verdict
    reason: Reason
    score: int
    """0..100, by `engine.score`; dialects have scales of their own."""
    evidence: Evidence
    checks: Checks
    verified_at: datetime
    """When the address was verified, UTC; a result from the cache keeps its original time."""
    duration_s: float = 0.0
    source: str = "local"
    """`local`, `sandbox`, or the upstream's name."""
    cached: bool = False
    attempts: tuple[Attempt, ...] = ()
    """The sources tried, in order; empty if only one was configured."""
    temporary: bool = False
    """Whether the mail hosts may say more in a few minutes, so that a batch asks them again."""

    def for_address(self, address: Address) -> Verification:
        """The same result for an equal address, as another client wrote it."""
        if self.address == address:
            return self
        # dataclasses.replace takes three times as long, and lists call this for every row.
        return Verification(
            address,
            self.verdict,
            self.reason,
            self.score,
            self.evidence,
            self.checks,
            self.verified_at,
            self.duration_s,
            self.source,
            self.cached,
            self.attempts,
            self.temporary,
        )


VerificationStream = AsyncGenerator[tuple[Address, Verification], None]
"""Verifications as they are found out, in any order, each with its address as it was given."""
