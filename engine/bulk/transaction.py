"""What one write to a mail host asks, and what its replies come to (RFC 5321, RFC 2920). Pure.

A window holds whole transactions, each for recipients of one domain: several domains in one
transaction are what the big providers refuse. A reply counts for its recipient only where it
can be about nothing else; everything else is asked again alone, or left to the single path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from engine.model import Address, Meaning, Stage
from engine.smtp.meanings import ABOUT_MAILBOX, DECISIVE
from engine.smtp.reply import classify_reply
from engine.smtp.terms import SERVICE_CLOSING, RcptReply, ReplyClassification, SmtpReply, Target

DECISIVE_IF_FIRST = DECISIVE | {Meaning.GREYLISTED}
"""What is about the mailbox if it is the first recipient of its transaction."""
_PLACEHOLDER = "somebody@mail.test"
"""Stands for the recipient in a reply, so that like replies are read once."""


@dataclass(slots=True, eq=False)
class PendingAddress:
    """An address on its way."""

    address: Address
    alone: bool = False
    """To be asked about in a transaction of its own."""

    @property
    def recipient(self) -> str:
        return f"{self.address.local}@{self.address.ascii_domain}"


@dataclass(slots=True, eq=False)
class Transaction:
    """MAIL, and the recipients of one domain."""

    addresses: Sequence[PendingAddress]
    control: str = ""
    """Asked after the first recipient; empty for none."""

    # what came of it
    answered: list[tuple[PendingAddress, RcptReply]] = field(default_factory=list)
    retry_alone: list[PendingAddress] = field(default_factory=list)
    """To be asked alone."""
    retry_next: list[PendingAddress] = field(default_factory=list)
    """No reply came to them."""
    single_path: list[PendingAddress] = field(default_factory=list)
    """What they were told is about something else than the mailbox."""
    control_reply: RcptReply | None = None
    first_reply: RcptReply | None = None
    """The first reply to a recipient."""
    mail_refused: bool = False
    max_recipients: int = 0
    """Recipients that the host takes in one transaction, where it said so."""

    def recipients(self) -> Iterator[tuple[PendingAddress | None, str]]:
        """In the order asked; None for the control."""
        for number, asked in enumerate(self.addresses):
            yield asked, asked.recipient
            if number == 0 and self.control:
                yield None, self.control
        if not self.addresses:
            yield None, self.control

    def commands(self, mail: bytes, *, reset: bool) -> list[bytes]:
        found = [b"RSET", mail] if reset else [mail]
        found += [b"RCPT TO:<" + to.encode() + b">" for _, to in self.recipients()]
        return found

    def read_replies(self, replies: Iterator[SmtpReply], *, reset: bool) -> int:
        """Read the replies to `commands`; returns how many recipients were refused."""
        if reset:
            next(replies, None)
        mail = next(replies, None)
        self.mail_refused = mail is not None and mail.code != SERVICE_CLOSING and mail.code >= 300
        refused = 0
        accepted = 0
        for number, (asked, recipient) in enumerate(self.recipients()):
            reply = next(replies, None)
            if reply is None or reply.code == SERVICE_CLOSING or self.mail_refused:
                if asked is not None:
                    self.retry_next.append(asked)
                continue
            reading = _classify(reply.code, reply.text, recipient)
            heard = RcptReply(reading, reply.code, reply.text)
            refused += reply.code >= 400
            if asked is None and not (reading.meaning is Meaning.THROTTLED and accepted):
                self.control_reply = heard
            elif asked is None:
                self.max_recipients = (
                    self.max_recipients or accepted
                )  # and the control is asked again, alone
            elif (
                reading.meaning in ABOUT_MAILBOX
                or (number == 0 and reading.meaning in DECISIVE_IF_FIRST)
                or (reading.meaning is Meaning.GREYLISTED and not accepted)
            ):
                self.answered.append((asked, heard))
            elif reading.meaning is Meaning.THROTTLED and accepted:
                # RFC 5321 section 4.5.3.1.10: the rest wants a transaction of its own.
                self.max_recipients = self.max_recipients or accepted
                self.retry_next.append(asked)
            elif number:
                self.retry_alone.append(asked)
            else:
                self.single_path.append(asked)
            self.first_reply = self.first_reply or heard
            accepted += reply.code < 300
        return refused


class GroupListener(Protocol):
    """Who gets the answers of a group."""

    @property
    def is_active(self) -> bool:
        """False once nobody waits for the answers any more."""
        ...

    @property
    def has_other_hosts(self) -> bool:
        """Whether the domain's other mail hosts could be asked in place of this one."""
        ...

    def on_replies(
        self,
        group: DomainGroup,
        replies: Sequence[tuple[PendingAddress, RcptReply]],
        connection: ConnectionInfo,
    ) -> None:
        """These replies are about the mailboxes, as far as the control's does not object."""
        ...

    def on_single_path(self, group: DomainGroup, addresses: Sequence[PendingAddress]) -> None:
        """These want more than can be done for many at once."""
        ...

    def on_failure(self, error: Exception) -> None:
        """Some of its addresses were lost to a fault of ours."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The connection that replies came over."""

    target: Target
    tls: bool
    latency_ms: int
    """From the write to the last of its replies."""


class DomainGroup:
    """The addresses of one domain that one call asks of one mail host."""

    def __init__(
        self,
        listener: GroupListener,
        domain: str,
        addresses: Sequence[PendingAddress],
        control: str,
    ) -> None:
        self.listener = listener
        self.domain = domain
        self.pending = deque(addresses)
        self.control = control
        self.control_tries = 0
        """How often the control may still be asked; 0 also when it need not be."""
        self.control_reply: RcptReply | None = None
        self.catch_all: bool | None = None
        self.held_replies: list[tuple[PendingAddress, RcptReply]] = []
        """Heard before the control was."""

    def next_transaction(self, max_recipients: int) -> Transaction:
        """The next transaction, of at most `room` recipients (at least one address)."""
        waiting = self.pending
        control = self.control if self.control_tries else ""
        if self.control_tries == 1:
            # Asked once already, and lost with the connection: now by itself.
            return Transaction((), control)
        taken = [waiting.popleft()]
        if not taken[0].alone:
            most = max_recipients - bool(control)
            while waiting and len(taken) < most and not waiting[0].alone:
                taken.append(waiting.popleft())
        return Transaction(taken, control)


def _classify(code: int, text: str, recipient: str) -> ReplyClassification:
    return _classify_cached(code, text.replace(recipient, _PLACEHOLDER) if "@" in text else text)


@lru_cache(maxsize=4096)
def _classify_cached(code: int, text: str) -> ReplyClassification:
    return classify_reply(Stage.RCPT, code, text)
