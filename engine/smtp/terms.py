"""Values that the SMTP modules share: targets, replies, and how a reply was classified. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from engine.model import Meaning, Stage

SERVICE_CLOSING = 421
"""RFC 5321 section 3.8: the server is about to close the connection."""
ANY_STAGE = frozenset(Stage)
BEFORE_RCPT = ANY_STAGE - {Stage.RCPT}
RCPT_ONLY = frozenset({Stage.RCPT})
CONNECTION_STAGES = frozenset({Stage.CONNECT, Stage.BANNER, Stage.EHLO})
"""Where a host rejects the connection itself, before it knows what we ask."""

Trace = Callable[[str, str], None]
"""Adds a line to the transcript: who, what."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How we introduce ourselves to mail hosts."""

    helo: str
    """The name in EHLO and HELO."""
    sender: str
    """MAIL FROM; empty for the null sender."""


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """A SOCKS5 proxy (RFC 1928), perhaps with a user name and a password (RFC 1929)."""

    host: str
    """Its name or address."""
    port: int
    user: str = ""
    """ASCII; empty if the proxy wants none."""
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """`HOST:PORT`, which may be shown."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class EgressStrategy(StrEnum):
    """How one of several egresses is chosen."""

    WEIGHTED = "weighted"
    FAILOVER = "failover"


DEFAULT_EGRESS = "default"
"""Name of the only egress where none is configured."""


@dataclass(frozen=True, slots=True)
class EgressConfig:
    """A way out to mail hosts: where connections come from, and how we introduce ourselves."""

    identity: Identity
    name: str = DEFAULT_EGRESS
    source_address: str = ""
    """Address of this machine that connections are bound to; empty for the system's choice."""
    proxy: SocksProxy | None = None
    weight: float = 1.0
    operators: frozenset[str] = frozenset()
    """Operators of mail hosts that it serves (`providers.reputation_operator`); empty for all."""
    except_operators: frozenset[str] = frozenset()
    """Operators that it does not serve."""
    connections_per_host: int = 4

    def serves(self, operator: str) -> bool:
        """Whether it may be used for the mail hosts of `operator`."""
        return operator not in self.except_operators and (
            not self.operators or operator in self.operators
        )


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one mail host."""

    host: str
    """Its name, from the MX record."""
    ip: str
    port: int


MAX_REPLY_CHARACTERS = 2_000
"""Characters of a reply that are read and kept: more than the longest known one has."""


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """One reply of a server."""

    code: int
    """The basic code, 200..599."""
    text: str
    """Its lines without their codes, joined by line feeds; the first `MAX_REPLY_CHARACTERS`."""


@dataclass(frozen=True, slots=True)
class ReplyClassification:
    """What a reply was taken to mean."""

    meaning: Meaning
    rule: str
    """Name of the row of `engine.smtp.reply_rules.REPLY_RULES` that decided, or of another reason
    where there was no reply."""
    enhanced: str | None = None
    """The enhanced code (RFC 3463), such as "5.1.1"."""
    block_list: str | None = None
    """The block list that the reply names."""
    retry_after_s: int | None = None
    """The delay that the reply asks for."""
    inactive: bool = False
    """Whether the mailbox is also out of use."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one step of a conversation ended: with a reply, or without."""

    stage: Stage
    classification: ReplyClassification
    reply: SmtpReply | None = None
    recipient: str = ""
    """Of a reply to RCPT, as it was sent."""

    @property
    def meaning(self) -> Meaning:
        return self.classification.meaning


@dataclass(frozen=True, slots=True)
class RcptReply:
    """A reply to RCPT, and what it was taken to mean."""

    classification: ReplyClassification
    code: int
    text: str
    recipient: str
    """As it was sent."""
