"""What became of mails: events of mail services, lists of outcomes, bounces in mailboxes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import orjson

from gateway.outcomes.dsn import check_installed, read_report
from gateway.outcomes.events import mailgun, postmark, sendgrid, ses, sns
from gateway.outcomes.events.terms import WrongSignature
from gateway.outcomes.mailboxes import NoMailbox, read_messages
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes, read_outcomes
from gateway.outcomes.terms import MailOutcome

NOW = 1_780_000_000.0
TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
MAX_MESSAGES = 200
"""Of a mailbox, which may have one for every 6 bytes."""


def _mailgun(body: bytes) -> ReadOutcomes:
    mailgun.verify(body, ["key"], NOW)  # without a right signature it raises
    return mailgun.read(body, NOW)


def _mailgun_unsigned(body: bytes) -> ReadOutcomes:
    return mailgun.read(body, NOW)


def _sns(body: bytes) -> ReadOutcomes:
    return ses.read(sns.parse_message(body, [TOPIC]).message, NOW)


READERS: Mapping[bytes, Callable[[bytes], ReadOutcomes]] = {
    b"mailgun": _mailgun,
    b"mailgun-unsigned": _mailgun_unsigned,
    b"postmark": lambda body: postmark.read(body, NOW),
    b"sendgrid": lambda body: sendgrid.read(body, NOW),
    b"ses": lambda body: ses.read(body.decode("utf-8", "replace"), NOW),
    b"sns": _sns,
    b"json": lambda body: read_outcomes(body, "application/json", NOW),
    b"csv": lambda body: read_outcomes(body, "text/csv", NOW),
}


def outcomes(data: bytes) -> None:
    """The first line names the service, or the type of a list of our own."""
    name, _, body = data.partition(b"\n")
    reader = READERS.get(name)
    if reader is None:
        return
    try:
        found = reader(body)
    except (UnreadableOutcomes, WrongSignature) as exc:
        _check_text(str(exc))
        return
    for outcome in found.outcomes:
        _check(outcome)
    for _, why in found.refused:
        _check_text(why)


def delivery_reports(data: bytes) -> None:
    check_installed()
    for outcome in read_report(data, NOW - 60, NOW):
        _check(outcome)


def mailboxes(data: bytes) -> None:
    """An mbox: from each position the rest of the messages is found again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mbox"
        path.write_bytes(data)
        try:
            found = list(islice(read_messages(path, ""), MAX_MESSAGES))
        except NoMailbox:
            return
        if found:
            rest = islice(read_messages(path, found[0].next_position), MAX_MESSAGES - 1)
            assert [each.content for each in rest] == [each.content for each in found[1:]]


def _check(outcome: MailOutcome) -> None:
    """It can be stored."""
    assert outcome.address.valid
    assert math.isfinite(outcome.at)
    assert 0 <= outcome.at < NOW + 7 * 86_400
    for text in (outcome.code, outcome.text):
        _check_text(text)


def _check_text(text: str) -> None:
    orjson.dumps(text)
    assert len(text) < 10_000
