"""What one write asks of a mail host, and what each reply in it comes to."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from engine.address.syntax import parse_address
from engine.bulk.transaction import (
    ConnectionInfo,
    Disposition,
    DomainGroup,
    PendingAddress,
    Transaction,
    Window,
    disposition,
)
from engine.model import Meaning
from engine.smtp.terms import SmtpReply

CONTROL = "brail.toun42@a.test"
MAIL = b"MAIL FROM:<probe@us.test>"
OK = SmtpReply(250, "2.1.5 Ok")
NO_SUCH_USER = SmtpReply(550, "5.1.1 No such user")
TOO_MANY = SmtpReply(452, "4.5.3 Too many recipients")
BARE = SmtpReply(550, "Rejected")
CLOSING = SmtpReply(421, "4.4.2 Bye")
TRY_LATER = SmtpReply(451, "4.3.0 Try again later")


def addresses(count: int) -> list[PendingAddress]:
    return [PendingAddress(parse_address(f"p{n}@a.test")) for n in range(count)]


def number_of(pending: PendingAddress) -> int:
    return int(pending.address.local.removeprefix("p"))


@pytest.mark.parametrize(
    ("meaning", "is_control", "is_first", "after_accepted", "expected"),
    [
        # a reply about the mailbox counts wherever it stands
        (Meaning.ACCEPTED, False, True, False, Disposition.ANSWER),
        (Meaning.MAILBOX_NOT_FOUND, False, False, True, Disposition.ANSWER),
        (Meaning.MAILBOX_FULL, False, False, False, Disposition.ANSWER),
        # a bare refusal may be due to an earlier recipient
        (Meaning.REJECTED_UNRECOGNISED, False, True, False, Disposition.ANSWER),
        (Meaning.REJECTED_UNRECOGNISED, False, False, False, Disposition.RETRY_ALONE),
        # greylisting refuses from the first recipient on
        (Meaning.GREYLISTED, False, True, False, Disposition.ANSWER),
        (Meaning.GREYLISTED, False, False, False, Disposition.ANSWER),
        (Meaning.GREYLISTED, False, False, True, Disposition.RETRY_ALONE),
        # RFC 5321 section 4.5.3.1.10
        (Meaning.THROTTLED, False, False, True, Disposition.RETRY_NEXT_TRANSACTION),
        (Meaning.THROTTLED, False, False, False, Disposition.RETRY_ALONE),
        (Meaning.THROTTLED, False, True, False, Disposition.SINGLE_PATH),
        # about us, or temporary
        (Meaning.IP_BLOCKED, False, True, False, Disposition.SINGLE_PATH),
        (Meaning.IP_BLOCKED, False, False, True, Disposition.RETRY_ALONE),
        (Meaning.TEMPORARY, False, True, False, Disposition.SINGLE_PATH),
        # the control
        (Meaning.ACCEPTED, True, False, True, Disposition.CONTROL),
        (Meaning.IP_BLOCKED, True, True, False, Disposition.CONTROL),
        (Meaning.THROTTLED, True, False, False, Disposition.CONTROL),
        (Meaning.THROTTLED, True, False, True, Disposition.RETRY_NEXT_TRANSACTION),
    ],
)
def test_disposition(
    meaning: Meaning,
    is_control: bool,
    is_first: bool,
    after_accepted: bool,
    expected: Disposition,
) -> None:
    assert disposition(meaning, is_control, is_first, after_accepted) is expected


def outcome(transaction: Transaction) -> dict[str, list[int]]:
    """The place of each address, by its number."""
    places = {
        "answered": [number_of(pending) for pending, _ in transaction.answered],
        "next": [number_of(pending) for pending in transaction.retry_next],
        "alone": [number_of(pending) for pending in transaction.retry_alone],
        "singly": [number_of(pending) for pending in transaction.single_path],
    }
    return {name: numbers for name, numbers in places.items() if numbers}


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([OK, OK, NO_SUCH_USER, OK], {"answered": [0, 1, 2]}),
        ([OK, OK, BARE, OK], {"answered": [0, 2], "alone": [1]}),
        ([OK, TRY_LATER, OK, OK], {"answered": [1, 2], "singly": [0]}),
        ([OK, OK, TOO_MANY, TOO_MANY], {"answered": [0], "next": [1, 2]}),
        # the replies break off
        ([OK, OK], {"answered": [0], "next": [1, 2]}),
        ([OK, OK, CLOSING], {"answered": [0], "next": [1, 2]}),
        ([], {"next": [0, 1, 2]}),
        # MAIL was refused: the replies to its recipients are not about them
        ([BARE, NO_SUCH_USER, NO_SUCH_USER, NO_SUCH_USER], {"next": [0, 1, 2]}),
    ],
)
def test_each_address_has_one_place(
    replies: list[SmtpReply], expected: dict[str, list[int]]
) -> None:
    transaction = Transaction(addresses(3))
    transaction.read_replies(iter(replies), reset=False)
    assert outcome(transaction) == expected


def test_a_full_transaction_tells_how_many_recipients_it_takes() -> None:
    transaction = Transaction(addresses(3), CONTROL)
    refused = transaction.read_replies(iter([OK, OK, OK, TOO_MANY, TOO_MANY]), reset=False)
    assert transaction.max_recipients == 2
    assert refused == 2
    assert transaction.control_reply is not None


def test_a_control_beyond_the_limit_has_no_reply_yet() -> None:
    transaction = Transaction(addresses(1), CONTROL)
    transaction.read_replies(iter([OK, OK, TOO_MANY]), reset=False)
    assert transaction.control_reply is None
    assert transaction.max_recipients == 1


def test_the_control_comes_after_the_first_address() -> None:
    transaction = Transaction(addresses(2), CONTROL)
    assert transaction.commands(MAIL, reset=True) == [
        b"RSET",
        MAIL,
        b"RCPT TO:<p0@a.test>",
        b"RCPT TO:<%s>" % CONTROL.encode(),
        b"RCPT TO:<p1@a.test>",
    ]


class Listener:
    """Receives nothing in these tests."""

    is_active = True
    has_other_hosts = False

    def on_replies(self, group: DomainGroup, replies: object, connection: ConnectionInfo) -> None:
        raise AssertionError

    def on_single_path(self, group: DomainGroup, addresses: object) -> None:
        raise AssertionError

    def on_other_egress(self, group: DomainGroup, addresses: object, target: object) -> None:
        raise AssertionError

    def on_failure(self, error: Exception) -> None:
        raise AssertionError


def group_of(count: int, control_tries: int = 0) -> DomainGroup:
    group = DomainGroup(Listener(), "a.test", addresses(count), CONTROL)
    group.control_tries = control_tries
    return group


def window_of(transactions: Iterable[Transaction], *, is_first: bool) -> Window:
    return Window([(group_of(0), transaction) for transaction in transactions], is_first)


@pytest.mark.parametrize("is_first", [True, False])
def test_every_transaction_but_a_connections_first_begins_with_a_reset(is_first: bool) -> None:
    window = window_of([Transaction(addresses(1)), Transaction(addresses(1))], is_first=is_first)
    transaction = [MAIL, b"RCPT TO:<p0@a.test>"]
    commands = [*transaction, b"RSET", *transaction]
    assert window.commands(MAIL) == (commands if is_first else [b"RSET", *commands])
    window.read_replies([*([] if is_first else [OK]), OK, OK, OK, OK, NO_SUCH_USER])
    assert [outcome(transaction) for _, transaction in window.transactions] == [
        {"answered": [0]},
        {"answered": [0]},
    ]
    assert (window.asked, window.refused) == (2, 1)
    assert window.has_progress


@pytest.mark.parametrize(
    ("replies", "progress", "mail_refused", "first_mail_refused"),
    [
        ([OK, OK, OK, OK, OK], True, False, False),
        ([OK, TRY_LATER], True, False, False),
        ([OK], False, False, False),
        ([BARE, BARE, OK, OK, OK], True, True, True),
        ([OK, OK, OK, BARE], True, True, False),
    ],
)
def test_a_window_tells_how_far_it_came(
    replies: list[SmtpReply], progress: bool, mail_refused: bool, first_mail_refused: bool
) -> None:
    window = window_of([Transaction(addresses(1)), Transaction(addresses(1))], is_first=True)
    window.read_replies(replies)
    assert window.has_progress is progress
    assert window.mail_refused is mail_refused
    assert window.first_mail_refused is first_mail_refused


@pytest.mark.parametrize(
    ("alone", "control_tries", "max_recipients", "taken", "control"),
    [
        ((), 0, 10, [0, 1, 2, 3], ""),
        ((), 0, 2, [0, 1], ""),
        ((), 0, 0, [0], ""),
        ((0,), 0, 10, [0], ""),
        ((2,), 0, 10, [0, 1], ""),
        ((), 2, 3, [0, 1], CONTROL),  # the control is a recipient, too
        ((0,), 2, 10, [0], CONTROL),
        ((), 1, 10, [], CONTROL),  # its reply was lost with the connection: it is asked alone
    ],
)
def test_next_transaction(
    alone: tuple[int, ...], control_tries: int, max_recipients: int, taken: list[int], control: str
) -> None:
    group = group_of(4, control_tries)
    for number in alone:
        group.pending[number].alone = True
    transaction = group.next_transaction(max_recipients)
    assert [number_of(pending) for pending in transaction.addresses] == taken
    assert transaction.control == control
    assert [number_of(pending) for pending in group.pending] == [
        n for n in range(4) if n not in taken
    ]


@pytest.mark.parametrize(
    ("replies", "stuck", "retries", "for_single_path"),
    [
        ([OK, TRY_LATER, BARE], False, [2, 1], [0]),
        # The connection ended without a reply: the first address may be why.
        ([OK], True, [1, 2], [0]),
        ([OK], False, [0, 1, 2], []),
        # A MAIL that is refused is refused again.
        ([BARE], True, [], [0, 1, 2]),
        ([BARE], False, [0, 1, 2], []),
        ([OK, OK, OK, OK], True, [], []),
    ],
)
def test_split_retries(
    replies: list[SmtpReply], stuck: bool, retries: list[int], for_single_path: list[int]
) -> None:
    transaction = Transaction(addresses(3))
    transaction.read_replies(iter(replies), reset=False)
    again, singly = transaction.split_retries(stuck=stuck)
    assert [number_of(pending) for pending in again] == retries
    assert [number_of(pending) for pending in singly] == for_single_path
