"""What one write to a mail host asks, and what its replies come to (RFC 5321, RFC 2920). Pure.

A window is one write. It holds whole transactions, each with recipients of one domain, since large
providers refuse several domains in one transaction. A reply counts for its recipient only where it
can be about nothing else; otherwise the recipient is asked again, alone or by the single path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from typing import NamedTuple, Protocol

from engine.model import Address, Meaning
from engine.smtp.meanings import ABOUT_MAILBOX, DECISIVE
from engine.smtp.reply import classify_rcpt
from engine.smtp.terms import SERVICE_CLOSING, RcptReply, SmtpReply, Target

DECISIVE_IF_FIRST = DECISIVE | {Meaning.GREYLISTED}
"""About the mailbox if the recipient is the first one of its transaction."""


class Disposition(Enum):
    """What becomes of a recipient once the reply to it is there."""

    ANSWER = auto()
    """The reply is about the mailbox."""
    CONTROL = auto()
    """It is the control address, and this is its reply."""
    RETRY_NEXT_TRANSACTION = auto()
    """The host takes no more recipients in this transaction."""
    RETRY_ALONE = auto()
    """The reply may be due to the recipients before it."""
    SINGLE_PATH = auto()
    """The reply is about something other than the mailbox."""


class _DispositionRow(NamedTuple):
    """A row: it fits when every condition that is given holds."""

    disposition: Disposition
    meanings: frozenset[Meaning] | None = None
    is_control: bool | None = None
    is_first: bool | None = None
    after_accepted: bool | None = None


_DISPOSITIONS = (
    # RFC 5321 section 4.5.3.1.10: the host takes fewer recipients in one transaction.
    _DispositionRow(
        Disposition.RETRY_NEXT_TRANSACTION, frozenset({Meaning.THROTTLED}), after_accepted=True
    ),
    _DispositionRow(Disposition.CONTROL, is_control=True),
    _DispositionRow(Disposition.ANSWER, ABOUT_MAILBOX),
    _DispositionRow(Disposition.ANSWER, DECISIVE_IF_FIRST, is_first=True),
    # Greylisting refuses from the first recipient on; after an accepted one it is something else.
    _DispositionRow(Disposition.ANSWER, frozenset({Meaning.GREYLISTED}), after_accepted=False),
    _DispositionRow(Disposition.SINGLE_PATH, is_first=True),
    _DispositionRow(Disposition.RETRY_ALONE),
)


@cache  # a few hundred combinations, looked up for every recipient
def disposition(
    meaning: Meaning, is_control: bool, is_first: bool, after_accepted: bool
) -> Disposition:
    """What becomes of a recipient whose reply has `meaning`: the first row that fits decides.

    `is_first` of its transaction; `after_accepted` if an earlier recipient was accepted in it.
    """
    for row in _DISPOSITIONS:
        if (
            (row.meanings is None or meaning in row.meanings)
            and row.is_control in (None, is_control)
            and row.is_first in (None, is_first)
            and row.after_accepted in (None, after_accepted)
        ):
            return row.disposition
    raise AssertionError("the last row fits every reply")


@dataclass(slots=True, eq=False)
class PendingAddress:
    """An address that waits for its result."""

    address: Address
    alone: bool = False
    """Whether it needs a transaction of its own."""

    @property
    def recipient(self) -> str:
        return f"{self.address.local}@{self.address.ascii_domain}"


@dataclass(slots=True, eq=False)
class Transaction:
    """MAIL, the recipients of one domain, and what their replies came to."""

    addresses: Sequence[PendingAddress]
    control: str = ""
    """Sent after the first address; empty for none."""

    # What came of it; each address is in one of these afterwards.
    answered: list[tuple[PendingAddress, RcptReply]] = field(default_factory=list)
    retry_next: list[PendingAddress] = field(default_factory=list)
    """No reply came, or the transaction was full."""
    retry_alone: list[PendingAddress] = field(default_factory=list)
    single_path: list[PendingAddress] = field(default_factory=list)

    control_reply: RcptReply | None = None
    """None also where the control must be asked again."""
    first_reply: RcptReply | None = None
    """The first reply to a recipient."""
    mail_refused: bool = False
    max_recipients: int = 0
    """Recipients that the host takes in one transaction; 0 if it showed no limit here."""

    recipients: list[tuple[PendingAddress | None, str]] = field(init=False)
    """The recipients in the order sent, with None for the control."""

    def __post_init__(self) -> None:
        self.recipients = [(pending, pending.recipient) for pending in self.addresses]
        if self.control:
            self.recipients.insert(1, (None, self.control))

    def commands(self, mail: bytes, *, reset: bool) -> list[bytes]:
        """The commands, with RSET before them if `reset`."""
        commands = [b"RSET", mail] if reset else [mail]
        commands += [b"RCPT TO:<" + to.encode() + b">" for _, to in self.recipients]
        return commands

    def read_replies(self, replies: Iterator[SmtpReply], *, reset: bool) -> int:
        """Read the replies to `commands`; returns how many recipients were refused."""
        if reset:
            next(replies, None)
        mail = next(replies, None)
        self.mail_refused = mail is not None and mail.code != SERVICE_CLOSING and mail.code >= 300
        refused = accepted = 0
        for number, (pending, recipient) in enumerate(self.recipients):
            reply = next(replies, None)
            if reply is None or reply.code == SERVICE_CLOSING or self.mail_refused:
                if pending is not None:
                    self.retry_next.append(pending)
                continue
            classification = classify_rcpt(reply.code, reply.text, recipient)
            rcpt_reply = RcptReply(classification, reply.code, reply.text, recipient)
            self.first_reply = self.first_reply or rcpt_reply
            decided = disposition(
                classification.meaning, pending is None, number == 0, accepted > 0
            )
            if decided is Disposition.RETRY_NEXT_TRANSACTION:
                self.max_recipients = self.max_recipients or accepted
            if pending is not None:
                self._place(pending, rcpt_reply, decided)
            elif decided is Disposition.CONTROL:
                self.control_reply = rcpt_reply
            refused += reply.code >= 400
            accepted += reply.code < 300
        return refused

    def split_retries(
        self, *, stuck: bool
    ) -> tuple[Sequence[PendingAddress], Sequence[PendingAddress]]:
        """The addresses to ask again on another connection, and those for the single path.

        `stuck` if this transaction may be why the connection ended. Then its first address, which
        may be the cause, takes the single path too; so do all of them if MAIL was refused.
        """
        retries = [*self.retry_next, *self.retry_alone]
        given_up = 0
        if stuck:
            given_up = len(retries) if self.mail_refused else 1
        return retries[given_up:], self.single_path + retries[:given_up]

    def _place(self, pending: PendingAddress, reply: RcptReply, decided: Disposition) -> None:
        if decided is Disposition.ANSWER:
            self.answered.append((pending, reply))
        elif decided is Disposition.RETRY_NEXT_TRANSACTION:
            self.retry_next.append(pending)
        elif decided is Disposition.RETRY_ALONE:
            self.retry_alone.append(pending)
        else:
            self.single_path.append(pending)


@dataclass(slots=True, eq=False)
class Window:
    """The transactions of one write, each with the group that its addresses belong to."""

    transactions: list[tuple[DomainGroup, Transaction]]
    is_first: bool
    """On its connection; every transaction but a connection's first begins with RSET."""

    # What came of it.
    refused: int = 0
    """Recipients refused."""

    @property
    def asked(self) -> int:
        """Recipients, controls included."""
        return sum(len(t.addresses) + bool(t.control) for _, t in self.transactions)

    @property
    def has_progress(self) -> bool:
        """Whether any recipient got a reply of its own."""
        return any(
            t.answered or t.retry_alone or t.single_path or t.control_reply is not None
            for _, t in self.transactions
        )

    @property
    def mail_refused(self) -> bool:
        """Whether the MAIL of any transaction was refused."""
        return any(t.mail_refused for _, t in self.transactions)

    @property
    def first_mail_refused(self) -> bool:
        """Whether the first MAIL of the connection was refused; another one would be, too."""
        return self.is_first and self.transactions[0][1].mail_refused

    def commands(self, mail: bytes) -> list[bytes]:
        """The commands of all transactions; `mail` is the MAIL command."""
        commands: list[bytes] = []
        for transaction, reset in self._with_reset():
            commands += transaction.commands(mail, reset=reset)
        return commands

    def read_replies(self, replies: Iterable[SmtpReply]) -> None:
        """Read the replies to `commands`, as far as they came."""
        arriving = iter(replies)
        for transaction, reset in self._with_reset():
            self.refused += transaction.read_replies(arriving, reset=reset)

    def _with_reset(self) -> Iterator[tuple[Transaction, bool]]:
        for number, (_, transaction) in enumerate(self.transactions):
            yield transaction, not self.is_first or number > 0


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The connection that replies came on."""

    target: Target
    tls: bool
    latency_ms: int
    """From the write to the last of its replies."""
    egress: str
    """Name of the egress."""


class GroupListener(Protocol):
    """Receives the replies of a group."""

    @property
    def is_active(self) -> bool:
        """False once the results are no longer wanted."""
        ...

    @property
    def has_other_hosts(self) -> bool:
        """Whether the domain has other mail hosts, which could be asked instead of this one."""
        ...

    def on_replies(
        self,
        group: DomainGroup,
        replies: Sequence[tuple[PendingAddress, RcptReply]],
        connection: ConnectionInfo,
    ) -> None:
        """Replies that are about the mailboxes, unless the control's reply shows otherwise."""
        ...

    def on_single_path(self, group: DomainGroup, addresses: Sequence[PendingAddress]) -> None:
        """Addresses that the single path must verify."""
        ...

    def on_other_egress(
        self, group: DomainGroup, addresses: Sequence[PendingAddress], target: Target
    ) -> None:
        """Addresses that another egress, or else the single path, must ask `target` about."""
        ...

    def on_failure(self, error: Exception) -> None:
        """Some of its addresses were lost because of a bug."""
        ...


class DomainGroup:
    """The addresses of one domain that one call asks one mail host about."""

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
        """How often the control may still be sent; 0 also if it need not be."""
        self.control_reply: RcptReply | None = None
        self.catch_all: bool | None = None
        self.party: Hashable = ""
        """Whom the call is for (`engine.turns`)."""
        self.tried: frozenset[str] = frozenset()
        """Names of the egresses by which the host was asked, the present one included."""
        self.held_replies: list[tuple[PendingAddress, RcptReply]] = []
        """Replies that wait for the control's."""

    def next_transaction(self, max_recipients: int) -> Transaction:
        """The next transaction, of at most `max_recipients`, but of at least one address.

        A control whose reply was lost with the connection gets a transaction without addresses.
        """
        pending = self.pending
        control = self.control if self.control_tries else ""
        if self.control_tries == 1:
            return Transaction((), control)
        addresses = [pending.popleft()]
        if not addresses[0].alone:
            max_addresses = max_recipients - bool(control)
            while pending and len(addresses) < max_addresses and not pending[0].alone:
                addresses.append(pending.popleft())
        return Transaction(addresses, control)
