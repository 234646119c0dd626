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
from engine.smtp.catch_all import Heard
from engine.smtp.dialogue import Target
from engine.smtp.pipe import Reply
from engine.smtp.reply import Reading, read

DECIDES = frozenset(
    {
        Meaning.ACCEPTED,
        Meaning.CANNOT_VERIFY,
        Meaning.MAILBOX_NOT_FOUND,
        Meaning.MAILBOX_DISABLED,
        Meaning.MAILBOX_MOVED,
        Meaning.MAILBOX_FULL,
        Meaning.MAILBOX_RATE_LIMITED,
    }
)
"""What is about the mailbox, wherever in a transaction it is said."""
DECIDES_ALONE = DECIDES | {Meaning.REJECTED_UNRECOGNISED, Meaning.GREYLISTED}
"""What is about the mailbox if it is the first recipient of its transaction."""
CLOSING = 421
_SOMEBODY = "somebody@mail.test"
"""Stands for the recipient in a reply, so that like replies are read once."""


@dataclass(slots=True, eq=False)
class Asked:
    """An address on its way."""

    place: int
    address: Address
    alone: bool = False
    """To be asked about in a transaction of its own."""

    @property
    def recipient(self) -> str:
        return f"{self.address.local}@{self.address.ascii_domain}"


@dataclass(slots=True, eq=False)
class Transaction:
    """MAIL, and the recipients of one domain."""

    asked: Sequence[Asked]
    control: str = ""
    """Asked after the first recipient; empty for none."""

    # what came of it
    heard: list[tuple[Asked, Heard]] = field(default_factory=list)
    again: list[Asked] = field(default_factory=list)
    """To be asked alone."""
    unheard: list[Asked] = field(default_factory=list)
    """No reply came to them."""
    hard: list[Asked] = field(default_factory=list)
    """What they were told is about something else than the mailbox."""
    control_heard: Heard | None = None
    first_heard: Heard | None = None
    """The first reply to a recipient."""
    mail_refused: bool = False
    room: int = 0
    """Recipients that the host takes in one transaction, where it said so."""

    def recipients(self) -> Iterator[tuple[Asked | None, str]]:
        """In the order asked; None for the control."""
        for number, asked in enumerate(self.asked):
            yield asked, asked.recipient
            if number == 0 and self.control:
                yield None, self.control
        if not self.asked:
            yield None, self.control

    def commands(self, mail: bytes, *, reset: bool) -> list[bytes]:
        found = [b"RSET", mail] if reset else [mail]
        found += [b"RCPT TO:<" + to.encode() + b">" for _, to in self.recipients()]
        return found

    def take(self, replies: Iterator[Reply], *, reset: bool) -> int:
        """Read the replies to `commands`; returns how many recipients were refused."""
        if reset:
            next(replies, None)
        mail = next(replies, None)
        self.mail_refused = mail is not None and mail.code != CLOSING and mail.code >= 300
        refused = 0
        accepted = 0
        for number, (asked, recipient) in enumerate(self.recipients()):
            reply = next(replies, None)
            if reply is None or reply.code == CLOSING or self.mail_refused:
                if asked is not None:
                    self.unheard.append(asked)
                continue
            reading = _read(reply.code, reply.text, recipient)
            heard = Heard(reading, reply.code, reply.text)
            refused += reply.code >= 400
            if asked is None and not (reading.meaning is Meaning.THROTTLED and accepted):
                self.control_heard = heard
            elif asked is None:
                self.room = self.room or accepted  # and the control is asked again, alone
            elif (
                reading.meaning in DECIDES
                or (number == 0 and reading.meaning in DECIDES_ALONE)
                or (reading.meaning is Meaning.GREYLISTED and not accepted)
            ):
                self.heard.append((asked, heard))
            elif reading.meaning is Meaning.THROTTLED and accepted:
                # RFC 5321 section 4.5.3.1.10: the rest wants a transaction of its own.
                self.room = self.room or accepted
                self.unheard.append(asked)
            elif number:
                self.again.append(asked)
            else:
                self.hard.append(asked)
            self.first_heard = self.first_heard or heard
            accepted += reply.code < 300
        return refused


class Asker(Protocol):
    """Who gets the answers of a group."""

    @property
    def live(self) -> bool:
        """False once nobody waits for the answers any more."""
        ...

    @property
    def has_other_hosts(self) -> bool:
        """Whether the domain's other mail hosts could be asked in place of this one."""
        ...

    def told(self, group: Group, heard: Sequence[tuple[Asked, Heard]], where: Where) -> None:
        """These replies are about the mailboxes, as far as the control's does not object."""
        ...

    def hard(self, group: Group, asked: Sequence[Asked]) -> None:
        """These want more than can be done for many at once."""
        ...

    def failed(self, why: Exception) -> None:
        """Some of its addresses were lost to a fault of ours."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """The connection that replies came over."""

    target: Target
    tls: bool
    latency_ms: int
    """From the write to the last of its replies."""


class Group:
    """The addresses of one domain that one call asks of one mail host."""

    def __init__(self, asker: Asker, domain: str, asked: Sequence[Asked], control: str) -> None:
        self.asker = asker
        self.domain = domain
        self.waiting = deque(asked)
        self.control = control
        self.control_tries = 0
        """How often the control may still be asked; 0 also when it need not be."""
        self.control_heard: Heard | None = None
        self.catch_all: bool | None = None
        self.held: list[tuple[Asked, Heard]] = []
        """Heard before the control was."""

    def take(self, room: int) -> Transaction:
        """The next transaction, of at most `room` recipients (at least one address)."""
        waiting = self.waiting
        control = self.control if self.control_tries else ""
        if self.control_tries == 1:
            # Asked once already, and lost with the connection: now by itself.
            return Transaction((), control)
        taken = [waiting.popleft()]
        if not taken[0].alone:
            most = room - bool(control)
            while waiting and len(taken) < most and not waiting[0].alone:
                taken.append(waiting.popleft())
        return Transaction(taken, control)


def _read(code: int, text: str, recipient: str) -> Reading:
    return _read_once(code, text.replace(recipient, _SOMEBODY) if "@" in text else text)


@lru_cache(maxsize=4096)
def _read_once(code: int, text: str) -> Reading:
    return read(Stage.RCPT, code, text)
