"""Values that the SMTP modules share: targets, replies, and how a reply was classified. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.model import Meaning, Stage

SERVICE_CLOSING = 421
"""RFC 5321 section 3.8: the server is about to close the connection."""
ANY_STAGE = frozenset(Stage)
BEFORE_RCPT = ANY_STAGE - {Stage.RCPT}
RCPT_ONLY = frozenset({Stage.RCPT})
CONNECTION_STAGES = frozenset({Stage.CONNECT, Stage.BANNER, Stage.EHLO})
"""Where a host complains that has not heard us yet."""

Trace = Callable[[str, str], None]
"""Notes a line of the transcript: who, what."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How we introduce ourselves."""

    helo: str
    sender: str
    """MAIL FROM; empty for the null sender."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to dial."""

    host: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """One reply, its lines joined by line feeds without their codes."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyClassification:
    """What a reply says."""

    meaning: Meaning
    rule: str
    """Name of the row of `engine.smtp.reply_rules.RULES` that decided."""
    enhanced: str | None = None
    block_list: str | None = None
    retry_after_s: int | None = None
    inactive: bool = False
    """The mailbox is full or refused, and out of use as well."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a step of the conversation ended: with a reply, or without."""

    stage: Stage
    classification: ReplyClassification
    reply: SmtpReply | None = None

    @property
    def meaning(self) -> Meaning:
        return self.classification.meaning


@dataclass(frozen=True, slots=True)
class RcptReply:
    """A reply to RCPT: how it reads, and its words."""

    classification: ReplyClassification
    code: int
    text: str
