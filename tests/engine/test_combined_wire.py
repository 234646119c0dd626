"""How replies arrive, in combinations: split, joined, slow, endless, malformed, missing."""

from __future__ import annotations

import pytest

from tests.engine.combined import (
    ACCEPTED,
    BLOCKED,
    CATCH_ALL,
    FULL,
    NO_SUCH_USER,
    NOT_SMTP,
    REJECTED,
    TIMED_OUT,
    UNAVAILABLE,
    Scenario,
    check,
    mail_host,
    scenario,
)
from tests.fakes.smtp import CLOSE, HANG, RESET, Delay, Raw, Slowly

OK_250 = "250 2.1.5 Ok"
UNPIPELINED = ("8BITMIME",)


def line(text: str, encoding: str = "utf-8") -> Raw:
    return Raw(text.encode(encoding) + b"\r\n")


SHAPES = (
    scenario(
        "replies octet by octet",
        "RFC 5321 section 4.2: a reply ends with its line",
        REJECTED,
        mail_host(Slowly(b"550-5.1.1 No such\r\n550 5.1.1 user\r\n"), Slowly(b"550 5.1.1 No\r\n")),
    ),
    scenario(
        "an acceptance octet by octet",
        "RFC 5321 section 4.2",
        ACCEPTED,
        mail_host(Slowly(b"250-2.1.5 it is\r\n250 2.1.5 fine\r\n", 0.002)),
    ),
    scenario(
        "a banner octet by octet, and catch-all",
        "RFC 5321 section 4.2",
        CATCH_ALL,
        mail_host(
            unknown=OK_250,
            banner=Slowly(b"220-mx.fake.test\r\n220-no spam\r\n220 ready\r\n", 0.001),
        ),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "EHLO octet by octet behind TLS",
        "RFC 5321 section 4.2; RFC 3207",
        ACCEPTED,
        mail_host(
            tls=True,
            on={"EHLO": Slowly(b"250-mx.fake.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n")},
        ),
    ),
    scenario(
        "lines without carriage return",
        "RFC 5321 section 2.3.8 forbids them, but they are accepted",
        REJECTED,
        mail_host(
            Raw(b"550-5.1.1 No\n550 5.1.1 such user\n"), Raw(b"550 5.1.1 No\n"), Raw(b"250 Ok\n")
        ),
    ),
    scenario(
        "a code without text",
        "RFC 5321 section 4.2: text may be left out",
        ACCEPTED,
        mail_host("250"),
    ),
    scenario(
        "a refusal without text for all",
        "a bare refusal",
        BLOCKED,
        mail_host("550", "550"),
        unknown=BLOCKED,
    ),
    scenario(
        "a line of 3000 characters",
        "RFC 5321 section 4.5.3.1.5: 512 octets, but longer ones are accepted",
        REJECTED,
        mail_host("550 5.1.1 No such user " + "x" * 3000, "550 5.1.1 No such user " + "y" * 3000),
    ),
    scenario(
        "a banner line of 3000 characters, and catch-all",
        "RFC 5321 section 4.5.3.1.5",
        CATCH_ALL,
        mail_host(unknown=OK_250, banner="220 mx.fake.test " + "x" * 3000),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a hundred lines",
        "RFC 5321 section 4.2.1",
        REJECTED,
        mail_host("\n".join(["550 5.1.1 No such user, and more of it"] * 100)),
    ),
    scenario(
        "a line without end",
        "a bound on what is read",
        NOT_SMTP,
        mail_host(Raw(b"250 " + b"x" * 60_000)),
    ),
    scenario(
        "lines without end",
        "a bound on what is read",
        NOT_SMTP,
        mail_host(Raw(b"250-and more\r\n", octets=60_000)),
    ),
    scenario(
        "NUL and bells in a refusal",
        "RFC 5321 section 4.2: printable text, but other octets are accepted",
        REJECTED,
        mail_host(Raw(b"550 5.1.1 No such\x00 user\x07\x1b[31m\r\n")),
    ),
    scenario(
        "different codes in one reply, the last accepts",
        "RFC 5321 section 4.2.1: the code must be the same on each line",
        NOT_SMTP,
        mail_host(Raw(b"550-5.1.1 No such user\r\n250 2.1.5 Ok\r\n")),
    ),
    scenario(
        "different codes in one reply, the last refuses",
        "RFC 5321 section 4.2.1: the code must be the same on each line",
        NOT_SMTP,
        mail_host(Raw(b"250-2.1.5 Ok\r\n550 5.1.1 No such user\r\n")),
    ),
    scenario(
        "no space after the code",
        "RFC 5321 section 4.2: a space or a hyphen",
        NOT_SMTP,
        mail_host(Raw(b"250Ok\r\n")),
    ),
    scenario("a code out of range", "RFC 5321 section 4.2.1", NOT_SMTP, mail_host(line("650 Ok"))),
    scenario("a code in letters", "RFC 5321 section 4.2.1", NOT_SMTP, mail_host(line("OK fine"))),
    scenario(
        "one reply too many to MAIL, without pipelining",
        "RFC 5321 section 4.2: one reply a command, else replies cannot be matched",
        NOT_SMTP,
        mail_host(NO_SUCH_USER, extensions=UNPIPELINED, on={"MAIL": Raw(b"250 Ok\r\n250 Ok\r\n")}),
        known=None,
        unknown=NOT_SMTP,
    ),
    scenario(
        "one banner too many",
        "RFC 5321 section 4.3.1: one greeting",
        NOT_SMTP,
        mail_host(banner=Raw(b"220 mx.fake.test\r\n220 mx.fake.test again\r\n")),
        known=NOT_SMTP,
        unknown=NOT_SMTP,
    ),
)

TIMES = (
    scenario(
        "a banner that arrives slowly but in time",
        "RFC 5321 section 4.5.3.2.1",
        ACCEPTED,
        mail_host(banner=Slowly(b"220-slow\r\n220 mail host\r\n", 0.01)),
    ),
    scenario(
        "a banner that arrives slowly without end",
        "every wait has a deadline",
        TIMED_OUT,
        mail_host(banner=Slowly(b"220-wait\r\n", 0.005, forever=True)),
        known=TIMED_OUT,
        unknown=TIMED_OUT,
    ),
    scenario(
        "a reply to RCPT that arrives slowly without end",
        "every wait has a deadline",
        TIMED_OUT,
        mail_host(Slowly(b"250-wait\r\n", 0.005, forever=True)),
    ),
    scenario(
        "a reply to RCPT that is slow",
        "RFC 5321 section 4.5.3.2.3",
        ACCEPTED,
        mail_host((Delay(0.5), OK_250)),
    ),
    scenario(
        "every reply is slow, and catch-all",
        "RFC 5321 section 4.5.3.2.3; the control",
        CATCH_ALL,
        mail_host(*[(Delay(0.02), OK_250)] * 3),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "a first host that accepts connections and stays silent, then an unknown user",
        "RFC 5321 section 5.1: the next host",
        REJECTED,
        mail_host(banner=HANG),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "a first host that does not reply to EHLO, then a full mailbox",
        "RFC 5321 section 5.1",
        FULL,
        mail_host(on={"EHLO": HANG}),
        mail_host("552 5.2.2 Over quota"),
    ),
    scenario(
        "the connection is reset at RCPT",
        "RFC 5321 section 4.5.4.1: a lost connection says nothing",
        UNAVAILABLE,
        mail_host(RESET),
    ),
    scenario(
        "the connection is reset at RCPT, the second host is normal",
        "RFC 5321 section 5.1",
        ACCEPTED,
        mail_host(RESET, RESET, RESET),
        mail_host(),
    ),
    scenario(
        "the connection is reset at the banner, the second host refuses",
        "RFC 5321 section 5.1",
        REJECTED,
        mail_host(banner=RESET),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "the connection is reset at the control",
        "the control",
        ACCEPTED,
        mail_host(unknown=RESET),
        unknown=UNAVAILABLE,
    ),
    scenario(
        "half a reply, then the end of the connection",
        "RFC 5321 section 4.2: a reply ends with its line",
        UNAVAILABLE,
        mail_host((Raw(b"250 2.1.5 O"), CLOSE)),
    ),
    scenario(
        "the first line of an acceptance, then the end of the connection",
        "RFC 5321 section 4.2.1: a hyphen announces more lines",
        UNAVAILABLE,
        mail_host((Raw(b"250-2.1.5 Ok\r\n"), CLOSE)),
    ),
    scenario(
        "pipelining that is offered and does not work",
        "RFC 2920 section 3: a lost reply is no answer",
        TIMED_OUT,
        mail_host(loses_pipelined=True),
        known=TIMED_OUT,
        unknown=TIMED_OUT,
    ),
)

HELLO = (
    scenario(
        "EHLO refused in lines, HELO accepted in lines, an unknown user in lines",
        "RFC 5321 section 3.2; rule `not-found-words`",
        REJECTED,
        mail_host(
            "550 No\n550 such\n550 user here",
            on={"EHLO": "500 What\n500 is\n500 that?", "HELO": "250 mx\n250  \n250 hello"},
        ),
    ),
    scenario(
        "HELO only, and catch-all",
        "RFC 5321 section 3.2; the control",
        CATCH_ALL,
        mail_host(unknown=OK_250, on={"EHLO": "502 5.5.1 Command not implemented"}),
        known=CATCH_ALL,
        unknown=CATCH_ALL,
    ),
    scenario(
        "HELO only, one recipient, no RSET",
        "RFC 5321 section 3.2",
        ACCEPTED,
        mail_host(on={"EHLO": "500 What?", "RSET": "500 What?"}, max_recipients=1),
    ),
    scenario(
        "421 to EHLO on the first host",
        "RFC 5321 section 3.8 (421): next host",
        ACCEPTED,
        mail_host(on={"EHLO": ("421 4.7.0 Not now", CLOSE)}),
        mail_host(),
    ),
    scenario(
        "HELO names refused on the first host, unknown on the second",
        "a refusal before RCPT; rule `not-found-words`",
        REJECTED,
        mail_host(on={"EHLO": "550 5.7.1 Bad HELO", "HELO": "550 5.7.1 Bad HELO"}),
        mail_host(NO_SUCH_USER),
    ),
    scenario(
        "hangs up at EHLO",
        "RFC 5321 section 4.5.4.1",
        UNAVAILABLE,
        mail_host(on={"EHLO": CLOSE}),
        known=UNAVAILABLE,
        unknown=UNAVAILABLE,
    ),
    scenario(
        "EHLO with empty lines and unknown keywords",
        "RFC 5321 section 4.1.1.1: unknown keywords are ignored",
        ACCEPTED,
        mail_host(
            on={"EHLO": "250 mx\n250 \n250 X-ODD =\n250 SIZE\n250 AUTH=LOGIN\n250 pipelining"}
        ),
    ),
)

FRENCH = "550 Utilisateur inconnu: cette boîte n'existe pas"
GERMAN = "550 Empfänger unbekannt"
SPANISH = "550 La dirección no existe"
CHINESE = "550 用户不存在"

LANGUAGES = (
    *(
        scenario(
            f"unknown in {language}, {encoding}",
            "rule `not-found-words`",
            REJECTED,
            mail_host(line(text, encoding)),
        )
        for language, text, encodings in (
            ("French", FRENCH, ("utf-8", "latin-1")),
            ("German", GERMAN, ("utf-8", "latin-1")),
            ("Spanish", SPANISH, ("utf-8", "latin-1")),
            ("Chinese", CHINESE, ("utf-8",)),
        )
        for encoding in encodings
    ),
    scenario(
        "unknown in Chinese in an undeclared encoding",
        "a bare refusal: unreadable words are compared as well",
        BLOCKED,
        mail_host(line(CHINESE, "gb18030"), line(CHINESE, "gb18030")),
        unknown=BLOCKED,
    ),
    *(
        scenario(f"full in {language}", "rule `full-words`", FULL, mail_host(line(text, encoding)))
        for language, text, encoding in (
            ("French", "552 Boîte aux lettres pleine", "latin-1"),
            ("German", "552 Das Postfach ist voll", "utf-8"),
            ("Spanish", "552 El buzón está lleno", "latin-1"),
            ("Chinese", "552 邮箱已满", "utf-8"),
        )
    ),
)


@pytest.mark.parametrize("row", [*SHAPES, *TIMES, *HELLO, *LANGUAGES], ids=str)
async def test_wire(row: Scenario) -> None:
    await check(row)
