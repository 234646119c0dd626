"""Replies of mail hosts, in combinations: greylisting, limits, catch-all, TLS, unusual refusals."""

from __future__ import annotations

import pytest

from tests.engine.combined import (
    ACCEPTED,
    BLOCKED,
    CATCH_ALL,
    FULL,
    GREYLISTED,
    GREYLISTED_450,
    NO_SUCH_USER,
    NOT_SMTP,
    RBL,
    REJECTED,
    UNAVAILABLE,
    Scenario,
    check,
    mail_host,
    scenario,
)
from tests.fakes.smtp import CLOSE

OK_250 = "250 2.1.5 Ok"
GREYLISTED_421 = ("421 4.7.1 Greylisted, try again later", CLOSE)
BARE_EXTENSIONS = ("SIZE 1000000", "8BITMIME")

GREYLISTING = (
    scenario(
        "greylisting and catch-all",
        "RFC 6647 section 2; the control",
        CATCH_ALL,
        mail_host([GREYLISTED_450, OK_250], [GREYLISTED_450, OK_250], [GREYLISTED_450, OK_250]),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "greylisting that lets the control pass",
        "RFC 6647 section 2; the control",
        CATCH_ALL,
        mail_host([GREYLISTED_450, OK_250], OK_250, [GREYLISTED_450, OK_250]),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "greylisting after the recipient check",
        "RFC 6647 section 2: unknown users are refused before greylisting",
        ACCEPTED,
        mail_host([GREYLISTED_450, OK_250], NO_SUCH_USER, [GREYLISTED_450, OK_250]),
    ),
    scenario(
        "greylisting before the recipient check",
        "RFC 6647 section 2; rule `not-found-words`",
        REJECTED,
        mail_host(
            [GREYLISTED_450, NO_SUCH_USER], [GREYLISTED_450, NO_SUCH_USER], [GREYLISTED_450, OK_250]
        ),
    ),
    scenario(
        "greylisted more than once",
        "RFC 6647 section 2",
        ACCEPTED,
        mail_host(
            [GREYLISTED_450, GREYLISTED_450, OK_250],
            [GREYLISTED_450, NO_SUCH_USER],
            [GREYLISTED_450, GREYLISTED_450, OK_250],
        ),
    ),
    scenario(
        "greylisting without end",
        "RFC 6647 section 2",
        GREYLISTED,
        mail_host(GREYLISTED_450, GREYLISTED_450, GREYLISTED_450),
        known=GREYLISTED,
        unknown=GREYLISTED,
    ),
    scenario(
        "a control that stays greylisted",
        "the control: a 4xx leaves catch-all unknown",
        ACCEPTED,
        mail_host([GREYLISTED_450, OK_250], GREYLISTED_450, [GREYLISTED_450, OK_250]),
        unknown=GREYLISTED,
    ),
    scenario(
        "greylisting worded as a refused recipient",
        "rule `greylisted` stands above those of refused recipients",
        ACCEPTED,
        mail_host(["450 4.7.1 Recipient address rejected: Greylisted, user unknown to us", OK_250]),
    ),
    scenario(
        "greylisting and one recipient a transaction",
        "RFC 5321 section 4.5.3.1.10; RFC 6647 section 2",
        ACCEPTED,
        mail_host(
            [GREYLISTED_450, OK_250], NO_SUCH_USER, [GREYLISTED_450, OK_250], max_recipients=1
        ),
    ),
    scenario(
        "greylisting that hangs up",
        "RFC 6647 section 2",
        ACCEPTED,
        mail_host([(GREYLISTED_450, CLOSE), OK_250], NO_SUCH_USER, OK_250),
    ),
    scenario(
        "greylisting by 421",
        "RFC 6647 section 2; RFC 5321 section 3.8",
        ACCEPTED,
        mail_host([GREYLISTED_421, OK_250]),
    ),
    scenario(
        "greylisting behind TLS",
        "RFC 6647 section 2; RFC 3207 section 4",
        ACCEPTED,
        mail_host(
            [GREYLISTED_450, OK_250], [GREYLISTED_450, NO_SUCH_USER], tls=True, tls_required=True
        ),
    ),
    scenario(
        "greylisting at MAIL",
        "RFC 6647 section 2.2",
        ACCEPTED,
        mail_host(
            on={"MAIL": ["451 4.7.1 Greylisting in action, please come back later", "250 Ok"]}
        ),
    ),
    scenario(
        "greylisting and a first host that blocks us",
        "a refusal before RCPT; RFC 6647 section 2",
        ACCEPTED,
        mail_host(banner=RBL),
        mail_host(
            [GREYLISTED_450, OK_250], [GREYLISTED_450, NO_SUCH_USER], [GREYLISTED_450, OK_250]
        ),
    ),
    scenario(
        "greylisting on the first host alone",
        "RFC 5321 section 5.1: the next host after a temporary failure",
        ACCEPTED,
        mail_host(GREYLISTED_450, GREYLISTED_450, GREYLISTED_450),
        mail_host(),
    ),
    scenario(
        "greylisting without end on both hosts",
        "RFC 6647 section 2",
        GREYLISTED,
        mail_host(GREYLISTED_450, GREYLISTED_450, GREYLISTED_450),
        mail_host(GREYLISTED_450, GREYLISTED_450, GREYLISTED_450),
        known=GREYLISTED,
        unknown=GREYLISTED,
    ),
    scenario(
        "greylisting on the first, a block on the second",
        "a temporary refusal takes precedence over a refusal of us",
        ACCEPTED,
        mail_host([GREYLISTED_450, OK_250], NO_SUCH_USER, [GREYLISTED_450, OK_250]),
        mail_host(RBL, RBL, RBL),
    ),
    scenario(
        "a full mailbox behind greylisting",
        "rule `full-words`; RFC 6647 section 2",
        FULL,
        mail_host(
            [GREYLISTED_450, "452 4.2.2 The mailbox is over quota"], [GREYLISTED_450, NO_SUCH_USER]
        ),
    ),
    scenario(
        "a bare refusal behind greylisting",
        "RFC 6647 section 2; a bare refusal",
        REJECTED,
        mail_host(
            [GREYLISTED_450, GREYLISTED_450, "550 Not him"], [GREYLISTED_450, "550 Rejected"]
        ),
        unknown=BLOCKED,
    ),
)

LIMITS = (
    scenario(
        "421 after the third RCPT",
        "RFC 5321 section 3.8 (421): the rest on another connection",
        ACCEPTED,
        mail_host(max_rcpts=3),
    ),
    scenario(
        "421 after the third RCPT without pipelining",
        "RFC 5321 section 3.8 (421): the rest on another connection",
        ACCEPTED,
        mail_host(max_rcpts=3, extensions=BARE_EXTENSIONS),
    ),
    scenario(
        "hangs up after the third RCPT",
        "a lost connection: the rest on another one",
        ACCEPTED,
        mail_host(max_rcpts=3, beyond_max_rcpts=CLOSE),
    ),
    scenario(
        "421 after the first RCPT and catch-all",
        "the control: asked again on a connection of its own",
        CATCH_ALL,
        mail_host(unknown=OK_250, max_rcpts=1),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "421 after the second RCPT and catch-all",
        "RFC 5321 section 4.5.3.1.10; the control",
        CATCH_ALL,
        mail_host(unknown=OK_250, max_rcpts=2),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "452 in mid-pipeline", "RFC 5321 section 4.5.3.1.10", ACCEPTED, mail_host(max_recipients=3)
    ),
    scenario(
        "552 where 452 is meant",
        "RFC 5321 section 4.5.3.1.10: 552 is to be treated as 452",
        ACCEPTED,
        mail_host(max_recipients=2, too_many="552 Too many recipients"),
    ),
    scenario(
        "550 5.5.3 after two recipients",
        "RFC 3463 section 3.6: X.5.3, too many recipients",
        ACCEPTED,
        mail_host(max_recipients=2, too_many="550 5.5.3 Too many recipients"),
    ),
    scenario(
        "one recipient a transaction and catch-all",
        "RFC 5321 section 4.5.3.1.10; the control",
        CATCH_ALL,
        mail_host(unknown=OK_250, max_recipients=1),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "one recipient and one transaction a connection",
        "RFC 5321 section 3.8 (421): the rest on another connection",
        ACCEPTED,
        mail_host(max_recipients=1, max_transactions=1),
    ),
    scenario(
        "one connection at a time",
        "RFC 5321 section 3.8 (421)",
        ACCEPTED,
        mail_host(max_connections=1),
    ),
    scenario(
        "one connection at a time, three RCPTs each, behind TLS",
        "RFC 5321 section 3.8; RFC 5321 section 4.5.3.1.10; RFC 3207 section 4",
        ACCEPTED,
        mail_host(max_connections=1, max_rcpts=3, tls=True, tls_required=True),
    ),
    scenario(
        "hangs up at the second refusal",
        "Postfix: smtpd_hard_error_limit",
        ACCEPTED,
        mail_host(max_errors=2),
    ),
    scenario(
        "a first connection that is one too many",
        "RFC 5321 section 3.8 (421): the same host later",
        ACCEPTED,
        mail_host(banner=["421 4.3.2 Too many connections", "220 mx.fake.test ESMTP"]),
    ),
    scenario(
        "a MAIL that comes too soon",
        "RFC 5321 section 3.8 (421): the same host later",
        ACCEPTED,
        mail_host(on={"MAIL": ["451 4.3.2 Please try again", "250 Ok"]}),
        # All recipients of that transaction share the reply to MAIL.
        known=None,
        unknown=None,
    ),
    scenario(
        "a server without RSET",
        "RFC 5321 section 4.5.1 requires it; section 4.1.1.2: no nested MAIL",
        ACCEPTED,
        mail_host(on={"RSET": "502 5.5.1 Not implemented"}),
    ),
)

CONTROL = (
    scenario(
        "hangs up at unknown names",
        "the control: a missing reply leaves catch-all unknown",
        ACCEPTED,
        mail_host(unknown=CLOSE),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "bare refusals in two wordings",
        "a bare refusal",
        REJECTED,
        mail_host("550 Not him", "550 Rejected"),
        unknown=BLOCKED,
    ),
    scenario(
        "bare refusals that differ by the address alone",
        "a bare refusal: the same text for the control says nothing",
        BLOCKED,
        mail_host("550 <user@a.test> rejected", "550 <somebody@a.test> rejected"),
        unknown=BLOCKED,
    ),
    scenario(
        "a bare refusal and a control with a temporary refusal",
        "a bare refusal; the control",
        BLOCKED,
        mail_host("550 Rejected", "451 4.3.0 Later"),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "a bare refusal and a control without reply",
        "a bare refusal; the control",
        BLOCKED,
        mail_host("550 Rejected", CLOSE),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "a bare refusal, and a refusal of us for the control",
        "a bare refusal: a refusal of us is no other reply about a name",
        BLOCKED,
        mail_host("550 Rejected", RBL),
        unknown=BLOCKED,
    ),
    scenario(
        "a bare refusal and catch-all",
        "a bare refusal: the control is accepted",
        REJECTED,
        mail_host("550 Rejected", OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a catch-all domain that refuses a few by name",
        "rule `not-found-words`",
        REJECTED,
        mail_host(NO_SUCH_USER, OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a catch-all domain where some mailboxes block us",
        "rule `blocked`: no refusal of the name",
        BLOCKED,
        mail_host(RBL, OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a full mailbox in a catch-all domain",
        "rule `full-words`",
        FULL,
        mail_host("552 5.2.2 Mailbox full", OK_250),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "accepts one name and cannot verify others",
        "RFC 5321 section 3.5.3: 252 for the control leaves catch-all unknown",
        ACCEPTED,
        mail_host(OK_250, "252 2.1.5 Cannot verify, will try"),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "252 for all",
        "RFC 5321 section 3.5.3",
        UNAVAILABLE,
        mail_host("252 Maybe", "252 Maybe", "252 Maybe"),
        known=UNAVAILABLE,
        unknown=UNAVAILABLE,
    ),
    scenario(
        "251 for all",
        "RFC 5321 section 3.4; the control",
        CATCH_ALL,
        mail_host(*["251 2.1.5 User not local; will forward to <x@b.test>"] * 3),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "251 for one, a block for the control",
        "RFC 5321 section 3.4; the control",
        ACCEPTED,
        mail_host("251 User not local; will forward", RBL),
        unknown=BLOCKED,
    ),
    scenario(
        "accepts and hangs up",
        "the control: asked again on a connection of its own",
        CATCH_ALL,
        mail_host((OK_250, CLOSE), (OK_250, CLOSE), (OK_250, CLOSE)),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "accepts, and the control is one too many",
        "RFC 5321 section 4.5.3.1.10; the control",
        ACCEPTED,
        mail_host(unknown=["452 4.5.3 Too many recipients", NO_SUCH_USER]),
    ),
)

REFUSALS = (
    scenario(
        "551 with another address",
        "RFC 5321 section 3.4; rule `moved`",
        REJECTED,
        mail_host("551 5.1.6 User not local; please try <user@b.test>"),
    ),
    scenario(
        "551 for all unknown names",
        "rule `not-found-words`",
        REJECTED,
        mail_host("551 User not local", "551 User not local"),
    ),
    scenario(
        "553 from a host that does not serve the domain",
        "rule `relay`: all hosts say so",
        REJECTED,
        mail_host(*["553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"] * 3),
        known=REJECTED,
    ),
    scenario(
        "550 worded as a full mailbox",
        "rule `full-words`: any code",
        FULL,
        mail_host("550 Requested action not taken: mailbox quota exceeded"),
    ),
    scenario(
        "550 5.1.1 worded as a full mailbox",
        "rule `full-words` stands above `not-found-words`",
        FULL,
        mail_host("550 5.1.1 The recipient's mailbox is full"),
    ),
    scenario(
        "550 5.1.1 worded as a disabled mailbox",
        "rule `disabled-words` stands above `not-found-words`",
        REJECTED,
        mail_host("550 5.1.1 This account has been disabled"),
    ),
    scenario(
        "550 5.7.1 worded as an unknown user",
        "rule `not-found-words` stands above `policy-code`",
        REJECTED,
        mail_host("550 5.7.1 <user@a.test>: User unknown"),
    ),
    scenario(
        "550 5.1.1 that names a block list",
        "rule `blocked` stands above `not-found-words`",
        BLOCKED,
        mail_host("550 5.1.1 Mail from 192.0.2.7 refused, see spamhaus"),
    ),
    scenario(
        "450 with an enhanced code of class 5",
        "RFC 3463 section 2: the classes must agree; rule `temporary-unknown-user`",
        UNAVAILABLE,
        mail_host("450 5.1.1 User unknown"),
    ),
    scenario(
        "a rate limit of the mailbox",
        "rule `mailbox-rate`: the mailbox exists",
        ACCEPTED,
        mail_host("450 4.2.1 The user you are trying to contact is receiving mail too quickly"),
    ),
    scenario(
        "a full system rather than mailbox",
        "rule `service-unavailable`: 4.3.1 is not about the mailbox",
        UNAVAILABLE,
        mail_host("452 4.3.1 Insufficient system storage"),
        config={"deadline_s": 2.0},
    ),
    scenario(
        "a refusal with access denied and a control that is refused by name",
        "a bare refusal",
        REJECTED,
        mail_host("550 5.7.1 <user@a.test>: Recipient address rejected: not you"),
    ),
    scenario(
        "a refusal with access denied for every name",
        "a bare refusal: the same text for the control",
        BLOCKED,
        mail_host(*["550 5.7.1 Recipient address rejected: Access denied"] * 2),
        unknown=BLOCKED,
    ),
    scenario(
        "a temporary unknown user for every name",
        "rule `unproven-recipient`",
        UNAVAILABLE,
        mail_host("450 4.1.1 User unknown", "450 4.1.1 User unknown"),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "a refusal of the sender and then of the name",
        "RFC 5321 section 4.5.5: the null sender once",
        REJECTED,
        mail_host(["550 5.1.8 Sender address rejected", NO_SUCH_USER], known=OK_250),
    ),
    scenario(
        "MAIL refused but for the null sender, and unknown users",
        "a refusal before RCPT; rule `sender-words`",
        REJECTED,
        mail_host(NO_SUCH_USER, on={"MAIL": ["550 5.1.8 Sender rejected", "250 Ok"]}),
        known=None,
        unknown=None,
    ),
    scenario(
        "354 to RCPT",
        "RFC 5321 section 4.3.2",
        NOT_SMTP,
        mail_host("354 Go ahead"),
    ),
    scenario(
        "220 to RCPT",
        "RFC 5321 section 4.3.2",
        NOT_SMTP,
        mail_host("220 Ok"),
    ),
    scenario(
        "503 to every RCPT",
        "rule `out-of-order`",
        NOT_SMTP,
        mail_host(*["503 5.5.1 Need MAIL first"] * 3),
        known=NOT_SMTP,
        unknown=NOT_SMTP,
    ),
)

TLS = (
    scenario(
        "TLS required, and catch-all",
        "RFC 3207 section 4; the control",
        CATCH_ALL,
        mail_host(unknown=OK_250, tls=True, tls_required=True),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "TLS required, and unknown",
        "rule `not-found-words`; RFC 3207 section 4",
        REJECTED,
        mail_host(NO_SUCH_USER, tls=True, tls_required=True),
    ),
    scenario(
        "TLS required, one recipient, hangs up at refusals",
        "RFC 5321 section 4.5.3.1.10; RFC 3207 section 4",
        ACCEPTED,
        mail_host(unknown=(NO_SUCH_USER, CLOSE), tls=True, tls_required=True, max_recipients=1),
    ),
    scenario(
        "TLS required and broken, the second host is normal",
        "RFC 3207 section 4: next host",
        ACCEPTED,
        mail_host(tls=True, tls_required=True, broken_tls=True),
        mail_host(),
    ),
    scenario(
        "TLS offered and then rejected",
        "RFC 3207 section 4: 454",
        ACCEPTED,
        mail_host(tls=True, on={"STAR": "454 4.7.0 TLS not available"}),
    ),
    scenario(
        "TLS required and then rejected",
        "RFC 3207 section 4",
        BLOCKED,
        mail_host(tls=True, tls_required=True, on={"STAR": "454 4.7.0 TLS not available"}),
        known=BLOCKED,
        unknown=BLOCKED,
    ),
    scenario(
        "TLS required at RCPT by a host that does not offer it",
        "RFC 3207 section 4",
        BLOCKED,
        mail_host(*["530 5.7.0 Must issue a STARTTLS command first"] * 3),
        known=BLOCKED,
        unknown=BLOCKED,
    ),
)


@pytest.mark.parametrize("row", [*GREYLISTING, *LIMITS, *CONTROL, *REFUSALS, *TLS], ids=str)
async def test_replies(row: Scenario) -> None:
    await check(row)
