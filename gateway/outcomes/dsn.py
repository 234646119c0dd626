"""Reads what became of mails from the reports that mail servers send (RFC 3464). Pure.

Reports without the part for machines are read by flufl.bounce, which knows the forms of many mail
servers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from email.utils import parsedate_to_datetime

from gateway.outcomes.events.terms import MissingExtra
from gateway.outcomes.reading import WrongRow, read_row
from gateway.outcomes.replies import bounce_outcome, find_codes
from gateway.outcomes.terms import MailOutcome, Outcome

MAX_RECIPIENTS = 1_000
"""Of one report."""
MAX_TEXT_LINES = 400
"""Of a report for people, in which the reply of the mail server is looked for."""
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


def check_installed() -> None:
    """Raises MissingExtra."""
    try:
        import flufl.bounce  # noqa: F401
    except ImportError as exc:
        raise MissingExtra(
            "Reading bounces needs the extra `outcomes`: pip install 'veriplex[outcomes]'"
        ) from exc
    # it logs each message that one of its many readers stumbles over, with the traceback
    logging.getLogger("flufl.bounce").disabled = True


def read_report(content: bytes, arrived_at: float, now: float) -> list[MailOutcome]:
    """The outcomes in one message; none if it is no report, or one that is not understood.

    `arrived_at` (Unix time) is taken if the report has no time of its own; the same message must
    always get the same one, since it would count twice otherwise.
    """
    try:
        message = message_from_bytes(content)
        at = _time(message, arrived_at, now)
        found = list(_of_machine_part(message, at))
        if not found:
            found = list(_of_text(message, at))
    except Exception:  # both parsers raise what they like for broken messages
        return []
    outcomes = []
    for row in found[:MAX_RECIPIENTS]:
        try:
            outcomes.append(read_row(row, now))
        except WrongRow:
            continue
    return outcomes


def _of_machine_part(message: Message, at: float) -> Iterator[dict[str, object]]:
    for part in message.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        blocks = part.get_payload()
        if not isinstance(blocks, list):
            continue
        for block in blocks:
            if not isinstance(block, Message):
                continue
            email = _recipient(block)
            action = str(block.get("Action", "")).partition("(")[0].strip().lower()
            if not email or not action:
                continue  # the block about the whole message
            status = str(block.get("Status", "")).partition("(")[0].strip()
            _, _, text = str(block.get("Diagnostic-Code", "")).partition(";")
            text = " ".join(text.split())
            if action == "delivered":
                yield _row(email, Outcome.DELIVERED, at, status, "")
            elif action == "delayed":
                yield _row(email, Outcome.SOFT_BOUNCE, at, status, text)
            elif action == "failed":
                # 4.4.7: given up after attempts that might have succeeded
                is_permanent = not status.startswith("4")
                outcome = bounce_outcome(email, status, text, is_permanent=is_permanent)
                yield _row(email, outcome, at, status, text)


def _recipient(block: Message) -> str:
    """The address that the mail was sent to, or else the one that failed."""
    for name in ("Original-Recipient", "Final-Recipient"):
        kind, separator, email = str(block.get(name, "")).partition(";")
        if not separator:
            continue
        email = email.strip().strip("<>")
        if name == "Original-Recipient" and kind.strip().lower() == "rfc822":
            email = _XTEXT.sub(lambda found: chr(int(found[1], 16)), email)
        if "@" in email:
            return email
    return ""


def _of_text(message: Message, at: float) -> Iterator[dict[str, object]]:
    from flufl.bounce import all_failures

    temporary, permanent = all_failures(message)
    for found, is_permanent in ((permanent, True), (temporary - permanent, False)):
        for each in sorted(found):
            email = each.decode("utf-8", "replace")
            text = _reply_in_text(message, email)
            outcome = bounce_outcome(email, "", text, is_permanent=is_permanent)
            code, enhanced = find_codes("", text)
            yield _row(email, outcome, at, enhanced or code, text)


def _reply_in_text(message: Message, email: str) -> str:
    """The first line with a reply code, after the address if it is there."""
    for part in message.walk():
        if part.get_content_type() != "text/plain":
            continue
        body = part.get_payload(decode=True)
        lines = body.decode("utf-8", "replace").splitlines() if isinstance(body, bytes) else []
        lines = lines[:MAX_TEXT_LINES]
        start = next((n for n, line in enumerate(lines) if email in line), 0)
        for n in range(start, len(lines)):
            if any(find_codes("", lines[n])):
                return " ".join(lines[n].split())
    return ""


def _row(email: str, outcome: Outcome, at: float, code: str, text: str) -> dict[str, object]:
    return {"email": email, "outcome": outcome.value, "at": at, "code": code, "text": text}


def _time(message: Message, arrived_at: float, now: float) -> float:
    try:
        moment = parsedate_to_datetime(str(message.get("Date", "")))
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return arrived_at
    return at if 0 < at <= now else arrived_at


def time_of_from_line(line: bytes) -> float | None:
    """When a message came, by the line before it in an mbox: `From x Mon Jan  1 10:00:00 2026`."""
    words = line.decode("latin-1").split()
    try:
        moment = datetime.strptime(f"{' '.join(words[-5:])} +0000", "%a %b %d %H:%M:%S %Y %z")
    except ValueError:
        return None
    at = moment.timestamp()
    return at if at > 0 else None
