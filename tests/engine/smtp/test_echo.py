"""A reply means the same whatever the recipient is called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import Meaning
from engine.smtp.echo import WORDS_OF_REPLIES, without_recipient
from engine.smtp.reply import classify_rcpt

LOCAL_PARTS = [
    *("ann", "dmarc", "quota", "spf", "ptr", "full", "blacklist", "relay", "abuse", "spam"),
    *("disabled", "greylist", "tls", "helo", "no.such.user", "mailbox.full", "spf+tag", "Quota"),
    *("banned", "policy", "suspended", "moved", "loop", "auth", "rbl", "dnsbl", "o'quota", "ip"),
    *("user", "mailbox", "unknown", "recipient", "x", "no", "rate-limit", "spamhaus", "virus"),
]
ECHOES = {
    "550 No such user: {local}": Meaning.MAILBOX_NOT_FOUND,
    "550 No such user - {local}": Meaning.MAILBOX_NOT_FOUND,
    "550 5.1.1 {local}... User unknown": Meaning.MAILBOX_NOT_FOUND,
    "550 {local}: user unknown": Meaning.MAILBOX_NOT_FOUND,
    "550 '{local}' is not a valid mailbox": Meaning.MAILBOX_NOT_FOUND,
    "550 no mailbox by the name ({local}) here": Meaning.MAILBOX_NOT_FOUND,
    "550 5.1.1 <{address}>: Recipient address rejected: User unknown": Meaning.MAILBOX_NOT_FOUND,
    '550 5.1.1 <"{local}"@d.test> User unknown': Meaning.MAILBOX_NOT_FOUND,
    "550 No such user <{local}>": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user: {percent}": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user, see https://mx.test/?rcpt={percent}&why=1": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user {xtext}": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user rfc822;{address}": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user {local} at d.test": Meaning.MAILBOX_NOT_FOUND,
    "550 no such user {local}(at)d.test": Meaning.MAILBOX_NOT_FOUND,
    "552 5.2.2 <{address}> mailbox is full": Meaning.MAILBOX_FULL,
    '552 the mailbox of "{local}" is full': Meaning.MAILBOX_FULL,
    "550 5.2.1 {local}: account disabled": Meaning.MAILBOX_DISABLED,
    "550 <{address}>: Rejected": Meaning.REJECTED_UNRECOGNISED,
    "550 Rejected: {local}": Meaning.REJECTED_UNRECOGNISED,
    "550 Unknown local part {local} in <{address}>": Meaning.MAILBOX_NOT_FOUND,
    "550 5.1.1 <{address}> {local}: no such mailbox": Meaning.MAILBOX_NOT_FOUND,
    "552 5.2.2 {local} ({address}) is over quota": Meaning.MAILBOX_FULL,
    "450 4.2.0 <{address}>: Greylisted": Meaning.GREYLISTED,
    "450 4.2.0 {local}: Greylisted": Meaning.GREYLISTED,
    "554 5.7.1 <{address}>: Relay access denied": Meaning.DOMAIN_NOT_SERVED,
    "554 5.7.1 {local}: Client host [192.0.2.1] blocked using rbl.test": Meaning.IP_BLOCKED,
}


def percent(address: str) -> str:
    return "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in address)


def xtext(address: str) -> str:
    return "".join(c if c.isalnum() or c == "." else f"+{ord(c):02X}" for c in address)


@pytest.mark.parametrize("change", [str, str.upper, str.title])
@pytest.mark.parametrize("echo", ECHOES)
def test_the_recipients_own_words_do_not_count(echo: str, change: type[str]) -> None:
    wrong = {}
    for local in LOCAL_PARTS:
        address = f"{local}@d.test"
        shown = change(address)
        reply = echo.format(
            local=change(local), address=shown, percent=percent(shown), xtext=xtext(shown)
        )
        found = classify_rcpt(int(reply[:3]), reply[4:], address)
        if found.meaning is not ECHOES[echo]:
            wrong[reply] = f"{found.meaning} by {found.rule}"
    assert not wrong


@pytest.mark.parametrize("local", sorted(set(LOCAL_PARTS) - WORDS_OF_REPLIES - {"no.such.user"}))
@pytest.mark.parametrize(
    "reply", ["550 5.1.1 User {} unknown", "550 No such user {}", "550 {} rejected"]
)
def test_nor_do_they_where_nothing_sets_them_apart(reply: str, local: str) -> None:
    found = classify_rcpt(550, reply[4:].format(local), f"{local}@d.test")
    of_ann = classify_rcpt(550, reply[4:].format("ann"), "ann@d.test")
    assert found.meaning is of_ann.meaning


@pytest.mark.parametrize(
    ("local", "reply", "meaning"),
    [
        ("full", "552 Mailbox full", Meaning.MAILBOX_FULL),
        ("quota", "552 5.2.2 Quota exceeded", Meaning.MAILBOX_FULL),
        ("disabled", "550 Account disabled", Meaning.MAILBOX_DISABLED),
        ("user", "550 User unknown", Meaning.MAILBOX_NOT_FOUND),
        ("mailbox", "550 No such mailbox", Meaning.MAILBOX_NOT_FOUND),
        ("list", "554 Client host is on a block list", Meaning.IP_BLOCKED),
        ("spf", "550 5.7.23 SPF validation failed", Meaning.SENDER_AUTH_FAILED),
        ("spf", "550 message rejected by spf-check", Meaning.SENDER_AUTH_FAILED),
        ("relay", "554 <relay@d.test>: Relay access denied", Meaning.DOMAIN_NOT_SERVED),
        ("full", "552 <full@d.test>: Mailbox full", Meaning.MAILBOX_FULL),
        ("dmarc", "550 <dmarc@d.test> rejected: DMARC policy", Meaning.SENDER_AUTH_FAILED),
        ("ann", "550 joann.dmarc rejected by DMARC policy", Meaning.SENDER_AUTH_FAILED),
    ],
)
def test_the_servers_own_words_count(local: str, reply: str, meaning: Meaning) -> None:
    assert classify_rcpt(int(reply[:3]), reply[4:], f"{local}@d.test").meaning is meaning


@pytest.mark.parametrize(
    ("text", "recipient", "left"),
    [
        ("spamhaus.test: no such user", "ann@spamhaus.test", " : no such user"),
        ("mx.spam.test says no", "ann@spam.test", "mx.spam.test says no"),
        ("no M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller", "m\xfcller@d.test", "no  "),
        ("ann and joann", "ann@d.test", "  and joann"),
        ("nothing of ours", "ann@d.test", "nothing of ours"),
    ],
)
def test_what_is_taken_out(text: str, recipient: str, left: str) -> None:
    assert without_recipient(text, recipient).text == left


@given(text=st.text(max_size=200), local=st.text(min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_read(text: str, local: str) -> None:
    found = without_recipient(text, f"{local}@d.test")
    assert len(found.text) <= len(text.lower()) + len(text)
