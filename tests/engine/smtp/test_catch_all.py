"""What the control's reply says about the domain and about the real address."""

from __future__ import annotations

import re
from itertools import groupby

import pytest

from engine.model import Meaning
from engine.smtp.catch_all import accepts_all, compare_with_control, control_address, is_deferred
from engine.smtp.reply import classify_rcpt
from engine.smtp.terms import RcptReply


def rcpt_reply(reply: str, recipient: str = "ann@a.test") -> RcptReply:
    code, text = int(reply[:3]), reply[4:]
    return RcptReply(classify_rcpt(code, text, recipient), code, text, recipient)


@pytest.mark.parametrize(
    ("control", "catch_all"),
    [
        ("250 2.1.5 Ok", True),
        ("251 2.1.5 will forward", True),
        ("252 2.1.5 cannot verify", None),
        ("550 5.1.1 No such user", False),
        ("550 Rejected", False),
        ("550 5.2.1 Disabled", False),
        ("450 4.2.0 Greylisted, come back in 3 seconds", None),
        ("451 4.3.0 Temporary lookup failure", None),
        ("452 4.5.3 Too many recipients", None),
        ("450 4.1.1 unknown user", None),
        ("421 4.7.0 closing", None),
        ("554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org", None),
        ("550 5.7.1 Sender address rejected: not allowed", None),
        ("552 5.2.2 Mailbox full", None),
    ],
)
def test_only_a_clear_reply_decides_about_catch_all(control: str, catch_all: bool | None) -> None:
    assert accepts_all(rcpt_reply(control)) is catch_all


@pytest.mark.parametrize(
    ("control", "deferred"),
    [
        ("450 4.2.0 Greylisted", True),
        ("451 4.3.0 Temporary lookup failure", True),
        ("421 4.7.0 closing", True),
        ("450 4.1.1 unknown user", False),
        ("550 5.1.1 No such user", False),
        ("250 Ok", False),
    ],
)
def test_a_temporary_reply_to_the_control_is_waited_for(control: str, deferred: bool) -> None:
    assert is_deferred(rcpt_reply(control)) is deferred
    assert not is_deferred(None)


def test_without_a_control_catch_all_is_unknown() -> None:
    assert accepts_all(None) is None


BARE = "550 <user@a.test>: Rejected"


@pytest.mark.parametrize(
    ("real", "control", "known", "meaning"),
    [
        # the refusal is about this name
        (BARE, "250 Ok", None, Meaning.MAILBOX_NOT_FOUND),
        (BARE, "550 5.1.1 No such user", None, Meaning.MAILBOX_NOT_FOUND),
        (BARE, "554 <x@a.test>: Rejected", None, Meaning.MAILBOX_NOT_FOUND),
        (BARE, None, True, Meaning.MAILBOX_NOT_FOUND),
        # whom the refusal is about stays unknown
        (BARE, "550 <vaborn@a.test>: Rejected", None, Meaning.REJECTED_UNRECOGNISED),
        (BARE, "450 try later", None, Meaning.REJECTED_UNRECOGNISED),
        (BARE, None, False, Meaning.REJECTED_UNRECOGNISED),
        (BARE, None, None, Meaning.REJECTED_UNRECOGNISED),
        # a meaning that a rule recognised stays
        ("550 5.1.1 No such user", "550 5.1.1 No such user", None, Meaning.MAILBOX_NOT_FOUND),
        ("550 5.1.1 No such user", "250 Ok", None, Meaning.MAILBOX_NOT_FOUND),
        ("250 Ok", "250 Ok", None, Meaning.ACCEPTED),
        ("554 5.7.1 Client host blocked using rbl.test", "250 Ok", None, Meaning.IP_BLOCKED),
    ],
)
def test_a_bare_refusal_is_compared(
    real: str, control: str | None, known: bool | None, meaning: Meaning
) -> None:
    assert (
        compare_with_control(rcpt_reply(real), rcpt_reply(control) if control else None, known)
        is meaning
    )


MONDAY = 1_767_571_200.0
"""2026-01-05, Unix time."""
DAY_S = 86_400


def test_control_addresses_are_ascii_and_do_not_repeat() -> None:
    controls = [control_address(f"d{number}.test", MONDAY) for number in range(5000)]
    assert len(set(controls)) == len(controls)
    assert all(re.fullmatch(r"[a-z]{4,14}\.[a-z]{2,7}[2-9]{3}@d\d+\.test", c) for c in controls)


def test_a_control_address_holds_for_a_week_and_then_changes() -> None:
    hours = [control_address("a.test", MONDAY + hour * 3600) for hour in range(21 * 24)]
    lengths = [len(list(same)) for _, same in groupby(hours)]
    assert lengths[1:-1] == [7 * 24] * len(lengths[1:-1])
    assert len(set(hours)) == len(lengths) >= 3


def test_not_all_domains_change_their_control_address_at_once() -> None:
    domains = [f"d{number}.test" for number in range(200)]
    changed = [
        domain
        for domain in domains
        if control_address(domain, MONDAY) != control_address(domain, MONDAY + DAY_S)
    ]
    assert 5 < len(changed) < 100
