"""How replies travel, in combinations: split, joined, dripping, endless, unreadable, missing."""

from __future__ import annotations

import pytest

from tests.engine.combined import (
    ALL,
    BABBLE,
    BLOCK,
    BUSY,
    FULL,
    LATE,
    NO,
    NOBODY,
    OK,
    Row,
    alone,
    check,
    says,
)
from tests.fakes.smtp import CLOSE, HANG, RESET, Delay, Raw, Slowly

YES = "250 2.1.5 Ok"
UNPIPELINED = ("8BITMIME",)
PATIENT = {"command_timeout_s": 2.0}


def line(text: str, encoding: str = "utf-8") -> Raw:
    return Raw(text.encode(encoding) + b"\r\n")


SHAPES = (
    alone(
        "replies octet by octet",
        "RFC 5321 section 4.2: a reply ends with its line",
        NO,
        says(Slowly(b"550-5.1.1 No such\r\n550 5.1.1 user\r\n"), Slowly(b"550 5.1.1 No\r\n")),
    ),
    alone(
        "an acceptance octet by octet",
        "RFC 5321 section 4.2",
        OK,
        says(Slowly(b"250-2.1.5 it is\r\n250 2.1.5 fine\r\n", 0.002)),
    ),
    alone(
        "a banner octet by octet, and catch-all",
        "RFC 5321 section 4.2",
        ALL,
        says(others=YES, banner=Slowly(b"220-mx.fake.test\r\n220-no spam\r\n220 ready\r\n", 0.001)),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "EHLO octet by octet behind TLS",
        "RFC 5321 section 4.2; RFC 3207",
        OK,
        says(
            tls=True,
            on={"EHLO": Slowly(b"250-mx.fake.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n")},
        ),
    ),
    alone(
        "lines without carriage return",
        "RFC 5321 section 2.3.8 forbids them, and they are read all the same",
        NO,
        says(Raw(b"550-5.1.1 No\n550 5.1.1 such user\n"), Raw(b"550 5.1.1 No\n"), Raw(b"250 Ok\n")),
    ),
    alone("a code without text", "RFC 5321 section 4.2: text may be left out", OK, says("250")),
    alone(
        "a refusal without text for everybody",
        "table row 25",
        BLOCK,
        says("550", "550"),
        strangers=BLOCK,
    ),
    alone(
        "a line of 3000 characters",
        "RFC 5321 section 4.5.3.1.5: 512 octets, and longer ones are read all the same",
        NO,
        says("550 5.1.1 No such user " + "x" * 3000, "550 5.1.1 No such user " + "y" * 3000),
    ),
    alone(
        "a banner line of 3000 characters, and catch-all",
        "RFC 5321 section 4.5.3.1.5",
        ALL,
        says(others=YES, banner="220 mx.fake.test " + "x" * 3000),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "a hundred lines",
        "RFC 5321 section 4.2.1",
        NO,
        says("\n".join(["550 5.1.1 No such user, and more of it"] * 100)),
    ),
    alone(
        "a line without end",
        "a bound on what is read",
        BABBLE,
        says(Raw(b"250 " + b"x" * 60_000)),
    ),
    alone(
        "lines without end",
        "a bound on what is read",
        BABBLE,
        says(Raw(b"250-and more\r\n", octets=60_000)),
    ),
    alone(
        "NUL and bells in a refusal",
        "RFC 5321 section 4.2: printable text, and others are read all the same",
        NO,
        says(Raw(b"550 5.1.1 No such\x00 user\x07\x1b[31m\r\n")),
    ),
    alone(
        "codes of two kinds in one reply, the last is yes",
        "RFC 5321 section 4.2.1: the code must be the same on each line",
        BABBLE,
        says(Raw(b"550-5.1.1 No such user\r\n250 2.1.5 Ok\r\n")),
    ),
    alone(
        "codes of two kinds in one reply, the last is no",
        "RFC 5321 section 4.2.1: the code must be the same on each line",
        BABBLE,
        says(Raw(b"250-2.1.5 Ok\r\n550 5.1.1 No such user\r\n")),
    ),
    alone(
        "no blank after the code",
        "RFC 5321 section 4.2: a blank or a hyphen",
        BABBLE,
        says(Raw(b"250Ok\r\n")),
    ),
    alone("a code that there is not", "RFC 5321 section 4.2.1", BABBLE, says(line("650 Ok"))),
    alone("a code in letters", "RFC 5321 section 4.2.1", BABBLE, says(line("OK fine"))),
    alone(
        "one reply too many to MAIL, without pipelining",
        "RFC 5321 section 4.2: one reply a command; whose the others are cannot be told",
        BABBLE,
        says(NOBODY, extensions=UNPIPELINED, on={"MAIL": Raw(b"250 Ok\r\n250 Ok\r\n")}),
        people=None,
        strangers=BABBLE,
    ),
    alone(
        "one banner too many",
        "RFC 5321 section 4.3.1: one greeting",
        BABBLE,
        says(banner=Raw(b"220 mx.fake.test\r\n220 mx.fake.test again\r\n")),
        people=BABBLE,
        strangers=BABBLE,
    ),
)

TIMES = (
    alone(
        "a banner that drips, within its time",
        "RFC 5321 section 4.5.3.2.1",
        OK,
        says(banner=Slowly(b"220-slow\r\n220 mail host\r\n", 0.01)),
        config=PATIENT,
    ),
    alone(
        "a banner that drips without end",
        "every wait has a deadline",
        LATE,
        says(banner=Slowly(b"220-wait\r\n", 0.005, forever=True)),
        people=LATE,
        strangers=LATE,
    ),
    alone(
        "a reply to RCPT that drips without end",
        "every wait has a deadline",
        LATE,
        says(Slowly(b"250-wait\r\n", 0.005, forever=True)),
    ),
    alone(
        "a reply to RCPT that takes its time",
        "RFC 5321 section 4.5.3.2.3",
        OK,
        says((Delay(0.5), YES)),
        config=PATIENT,
    ),
    alone(
        "every reply takes its time, and catch-all",
        "RFC 5321 section 4.5.3.2.3; table row 27",
        ALL,
        says(*[(Delay(0.02), YES)] * 3),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "a first host that accepts and never speaks, then unknown",
        "RFC 5321 section 5.1: the next host",
        NO,
        says(banner=HANG),
        says(NOBODY),
    ),
    alone(
        "a first host that never answers EHLO, then a full mailbox",
        "RFC 5321 section 5.1",
        FULL,
        says(on={"EHLO": HANG}),
        says("552 5.2.2 Over quota"),
    ),
    alone(
        "the connection is reset at RCPT",
        "table row 1: a lost connection says nothing",
        BUSY,
        says(RESET),
    ),
    alone(
        "the connection is reset at RCPT, the second host knows",
        "RFC 5321 section 5.1",
        OK,
        says(RESET, RESET, RESET),
        says(),
    ),
    alone(
        "the connection is reset at the banner, the second host refuses",
        "RFC 5321 section 5.1",
        NO,
        says(banner=RESET),
        says(NOBODY),
    ),
    alone(
        "the connection is reset at the control",
        "table row 27",
        OK,
        says(others=RESET),
        strangers=BUSY,
    ),
    alone(
        "half a reply and the end",
        "RFC 5321 section 4.2: a reply ends with its line",
        BUSY,
        says((Raw(b"250 2.1.5 O"), CLOSE)),
    ),
    alone(
        "the first line of an acceptance and the end",
        "RFC 5321 section 4.2.1: more was to come",
        BUSY,
        says((Raw(b"250-2.1.5 Ok\r\n"), CLOSE)),
    ),
    alone(
        "pipelining that is offered and forgotten",
        "RFC 2920 section 3: a lost reply is no answer",
        LATE,
        says(forgets=True),
        people=LATE,
        strangers=LATE,
    ),
)

HELLO = (
    alone(
        "EHLO refused in lines, HELO accepted in lines, an unknown user in lines",
        "RFC 5321 section 3.2; table row 18",
        NO,
        says(
            "550 No\n550 such\n550 user here",
            on={"EHLO": "500 What\n500 is\n500 that?", "HELO": "250 mx\n250  \n250 hello"},
        ),
    ),
    alone(
        "HELO only, and catch-all",
        "RFC 5321 section 3.2; table row 27",
        ALL,
        says(others=YES, on={"EHLO": "502 5.5.1 Command not implemented"}),
        people=ALL,
        strangers=ALL,
    ),
    alone(
        "HELO only, one recipient, no RSET",
        "RFC 5321 section 3.2",
        OK,
        says(on={"EHLO": "500 What?", "RSET": "500 What?"}, most_recipients=1),
    ),
    alone(
        "421 to EHLO on the first host",
        "table row 2: next MX",
        OK,
        says(on={"EHLO": ("421 4.7.0 Not now", CLOSE)}),
        says(),
    ),
    alone(
        "HELO names refused on the first host, unknown on the second",
        "table rows 3 and 18",
        NO,
        says(on={"EHLO": "550 5.7.1 Bad HELO", "HELO": "550 5.7.1 Bad HELO"}),
        says(NOBODY),
    ),
    alone(
        "hangs up at EHLO",
        "table row 1",
        BUSY,
        says(on={"EHLO": CLOSE}),
        people=BUSY,
        strangers=BUSY,
    ),
    alone(
        "EHLO with empty lines and odd words",
        "RFC 5321 section 4.1.1.1: unknown keywords are ignored",
        OK,
        says(on={"EHLO": "250 mx\n250 \n250 X-ODD =\n250 SIZE\n250 AUTH=LOGIN\n250 pipelining"}),
    ),
)

FRENCH = "550 Utilisateur inconnu: cette boîte n'existe pas"
GERMAN = "550 Empfänger unbekannt"
SPANISH = "550 La dirección no existe"
CHINESE = "550 用户不存在"

TONGUES = (
    *(
        alone(f"unknown in {tongue}, {encoding}", "table row 18", NO, says(line(text, encoding)))
        for tongue, text, encodings in (
            ("French", FRENCH, ("utf-8", "latin-1")),
            ("German", GERMAN, ("utf-8", "latin-1")),
            ("Spanish", SPANISH, ("utf-8", "latin-1")),
            ("Chinese", CHINESE, ("utf-8",)),
        )
        for encoding in encodings
    ),
    alone(
        "unknown in Chinese of a code page that is not told",
        "table row 25: words that cannot be read are compared",
        BLOCK,
        says(line(CHINESE, "gb18030"), line(CHINESE, "gb18030")),
        strangers=BLOCK,
    ),
    *(
        alone(f"full in {tongue}", "table row 13", FULL, says(line(text, encoding)))
        for tongue, text, encoding in (
            ("French", "552 Boîte aux lettres pleine", "latin-1"),
            ("German", "552 Das Postfach ist voll", "utf-8"),
            ("Spanish", "552 El buzón está lleno", "latin-1"),
            ("Chinese", "552 邮箱已满", "utf-8"),
        )
    ),
)


@pytest.mark.parametrize("row", [*SHAPES, *TIMES, *HELLO, *TONGUES], ids=str)
async def test_wire(row: Row) -> None:
    await check(row)
