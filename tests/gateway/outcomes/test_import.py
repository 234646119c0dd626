"""Bounces in mailboxes: reports of RFC 3464 and others, broken and long ones; interrupted runs."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.address.syntax import parse_address
from engine.model import Reason, Verdict
from gateway.outcomes import importing
from gateway.outcomes.answers import SourceAnswer, SourceAnswers
from gateway.outcomes.dsn import read_report, time_of_from_line
from gateway.outcomes.events.terms import MissingExtra
from gateway.outcomes.importing import ImportTallies, MailboxImport
from gateway.outcomes.mailboxes import MAX_MESSAGE_BYTES, NoMailbox, read_messages
from gateway.outcomes.records import OutcomeRecords
from gateway.store import Store, open_store

NOW = 1_780_000_000.0
DATE = "Mon, 04 May 2026 10:00:00 +0000"
AT = 1_777_888_800


def dsn(
    email: str,
    *,
    action: str = "failed",
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 <{}>: user unknown",
    original: str = "",
    date: str = DATE,
) -> bytes:
    """A report in the form of RFC 3464, appendix E."""
    original = f"Original-Recipient: rfc822;{original}\n" if original else ""
    return f"""\
Date: {date}
From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>
Subject: Returned mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b

The mail to {email} failed.

--b
content-type: message/delivery-status

Reporting-MTA: dns; mx.example.net

{original}Final-Recipient: RFC822; {email}
Action: {action}
Status: {status}
Diagnostic-Code: {diagnostic.format(email)}

--b
content-type: message/rfc822

From: sender@example.org
Subject: hello

text
--b--
""".encode()


QMAIL = b"""\
Date: Mon, 04 May 2026 10:00:00 +0000
From: MAILER-DAEMON@example.net
Subject: failure notice

Hi. This is the qmail-send program at example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<ada@example.com>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 no such user
Giving up on 192.0.2.1.

--- Below this line is a copy of the message.

Return-Path: <sender@example.org>
"""


@pytest.mark.parametrize(
    ("content", "outcome", "code"),
    [
        (dsn("ada@b.co"), "hard_bounce", "5.1.1"),
        (dsn("x@y.zz", original="ada@b.co"), "hard_bounce", "5.1.1"),
        (dsn("x@y.zz", original="ad+61@b.co"), "hard_bounce", "5.1.1"),
        (dsn("ada@b.co", action="delayed", status="4.4.1"), "soft_bounce", "4.4.1"),
        (dsn("ada@b.co", status="4.4.7", diagnostic="smtp; 451 later"), "soft_bounce", "4.4.7"),
        (dsn("ada@b.co", action="Delivered (yes)", status="2.0.0"), "delivered", "2.0.0"),
        (
            dsn("ada@b.co", status="5.7.1", diagnostic="smtp; 550 blocked using zen.spamhaus.org"),
            "soft_bounce",
            "5.7.1",
        ),
        (dsn("ada@b.co", status="5.2.2", diagnostic="smtp; 552 full"), "soft_bounce", "5.2.2"),
        (dsn("ada@b.co", diagnostic="x-unix; user unknown"), "hard_bounce", "5.1.1"),
        (QMAIL.replace(b"ada@example.com", b"ada@b.co"), "hard_bounce", "5.1.1"),
    ],
)
def test_reports(content: bytes, outcome: str, code: str) -> None:
    (found,) = read_report(content, 0.0, NOW)
    assert (found.address.normalized, found.outcome.value, found.code) == (
        "ada@b.co",
        outcome,
        code,
    )
    assert found.at == AT
    assert "ada" not in found.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 1000,
        b"Subject: hello\n\nno report\n",
        dsn("nobody"),
        dsn("ada@example.com", action="relayed"),
        dsn("ada@example.com", action="\x00"),
        dsn("ada@example.com")[:300],
        b"Content-Type: multipart/report; boundary=\n\n--\n--\n",
        b"Content-Type: message/delivery-status\n\n\xff\xfe\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n" * 1000,
        b"Content-Type: text/plain; charset=no-such\nContent-Transfer-Encoding: base64\n\n!!!\n",
    ],
)
def test_what_is_no_report(content: bytes) -> None:
    assert read_report(content, 0.0, NOW) == []


def test_a_report_with_bytes_and_a_nul_can_be_stored() -> None:
    content = dsn("ada@example.com").replace(b"user unknown", b"\x00 \xff unknown")
    (found,) = read_report(content, 0.0, NOW)
    assert found.text.isprintable()


def test_a_date_that_cannot_be_is_that_of_the_mailbox() -> None:
    for date in (
        "rubbish",
        "Mon, 04 May 2099 10:00:00 +0000",
        "Mon, 99 May 2026 99:00:00 +9999",
        "",
    ):
        (found,) = read_report(dsn("ada@example.com", date=date), 1000.0, NOW)
        assert found.at == 1000.0


# -- mailboxes ---------------------------------------------------------------------------


def mbox(*messages: bytes) -> bytes:
    return b"".join(b"From x Mon May  4 10:00:00 2026\n" + each + b"\n" for each in messages)


def test_an_mbox_is_read_from_any_position(tmp_path: Path) -> None:
    path = tmp_path / "box"
    contents = [
        dsn("a@b.co"),
        b"Subject: x\n\ntext\nFrom here on\n",
        dsn("c@d.co"),
        b"\n",
        b"x" * 200_000,
    ]
    path.write_bytes(b"\n" + mbox(*contents))
    found = list(read_messages(path, ""))
    assert [each.content.rstrip(b"\n") for each in found] == [c.rstrip(b"\n") for c in contents]
    assert {each.arrived_at for each in found} == {float(AT)}
    for n, each in enumerate(found):
        assert list(read_messages(path, each.next_position)) == found[n + 1 :]
    assert list(read_messages(path, "7")) == found  # no position of this mailbox
    assert list(read_messages(path, "rubbish")) == found


def test_what_is_no_mailbox(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("email\na@b.co\n")
    with pytest.raises(NoMailbox, match="no mbox"):
        list(read_messages(tmp_path / "list.csv", ""))
    with pytest.raises(NoMailbox, match="no Maildir"):
        list(read_messages(tmp_path, ""))
    (tmp_path / "empty").touch()
    assert list(read_messages(tmp_path / "empty", "")) == []


def test_a_maildir_is_read_in_order(tmp_path: Path) -> None:
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cur" / "1.x:2,S").write_bytes(b"first")
    (tmp_path / "new" / "2.x").write_bytes(b"second")
    (tmp_path / "new" / "3.x").symlink_to("nowhere")
    (tmp_path / "tmp" / "4.x").write_bytes(b"not there yet")
    found = list(read_messages(tmp_path, ""))
    assert [(each.content, each.is_readable) for each in found] == [
        (b"first", True),
        (b"second", True),
        (b"", False),
    ]
    assert list(read_messages(tmp_path, found[0].next_position)) == found[1:]


def test_the_memory_is_that_of_one_message(tmp_path: Path) -> None:
    path = tmp_path / "box"
    with path.open("wb") as file:
        file.write(b"From x\n")
        for _ in range(64):
            file.write(b"x" * MAX_MESSAGE_BYTES)  # one line
        file.write(b"\n\n" + mbox(dsn("a@b.co")))
    tracemalloc.start()
    sizes = [len(each.content) for each in read_messages(path, "")]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes[0] == MAX_MESSAGE_BYTES
    assert len(sizes) == 2
    assert peak < 5 * MAX_MESSAGE_BYTES


# -- imports -----------------------------------------------------------------------------


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


class Stopped(Exception):
    """The run is interrupted."""


async def test_an_interrupted_import_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MESSAGES_PER_CHUNK", 3)
    answers = SourceAnswers(store, b"secret")
    records = OutcomeRecords(store, answers)
    address = parse_address("user0@example.com")
    said = SourceAnswer(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, 95, 12, 0, AT - 86_400.0)
    await answers.add_rows([answers.row(answers.digest(address), "one", said, "google")])
    path = tmp_path / "box"
    reports = [dsn(f"user{n}@example.com") for n in range(10)]
    path.write_bytes(mbox(*reports, b"Subject: hello\n\nno report\n", reports[0]))
    task = MailboxImport(store, records, clock=lambda: NOW)

    def stop(tallies: ImportTallies) -> None:
        if tallies.messages >= 6:
            raise Stopped

    with pytest.raises(Stopped):
        await task.run(path, stop)
    seen: list[int] = []
    tallies = await task.run(path, lambda now: seen.append(now.messages))
    assert seen == [6, 9, 12]
    expected = ImportTallies(messages=12, with_outcomes=11, not_understood=1, outcomes=11, joined=2)
    assert tallies == expected
    assert await records.counts() == {"hard_bounce": 10}
    assert await task.run(path, lambda _: None) == expected  # all again
    assert await records.counts() == {"hard_bounce": 10}
    (tally,) = await records.tallies()
    assert (tally.count, tally.bounced) == (1, 1)


async def test_without_the_extra(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flufl.bounce", None)
    records = OutcomeRecords(store, SourceAnswers(store, b"secret"))
    with pytest.raises(MissingExtra, match=r"pip install 'veriplex\[outcomes\]'"):
        await MailboxImport(store, records, clock=lambda: NOW).run(tmp_path, lambda _: None)


def test_a_from_line_before_1970_is_no_time() -> None:
    assert time_of_from_line(b"From x Mon May  4 10:00:00 2026\n") == 1777888800
    assert time_of_from_line(b"From x Mon Jan  1 00:00:00 0001\n") is None
