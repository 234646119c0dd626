"""Whether a bounce says that the mailbox does not exist, by the table of replies. Pure."""

from __future__ import annotations

import re

from engine.model import Meaning
from engine.smtp.reply import classify_rcpt
from gateway.outcomes.terms import Outcome

ABOUT_ADDRESS = frozenset(
    {
        Meaning.MAILBOX_NOT_FOUND,
        Meaning.MAILBOX_DISABLED,
        Meaning.MAILBOX_MOVED,
        Meaning.DOMAIN_NOT_SERVED,
        # a 5xx that says nothing else is taken as the sender of the report took it
        Meaning.REJECTED_UNRECOGNISED,
    }
)
"""Meanings of replies after which mail to an address would bounce again. A full mailbox, a block
list, a policy and a limit of rate say nothing of whether the address exists."""
MAX_CHARACTERS = 1_000
"""Of a reply that is looked at."""
_CODE = re.compile(r"(?<![\d.])([245]\d\d)(?=[ \-:#])")
_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")


def bounce_outcome(email: str, status: str, text: str, *, is_permanent: bool) -> Outcome:
    """Hard if the sender gave up (`is_permanent`) and the reply is about the address, else soft.

    `status` is the reply code or the enhanced status code (RFC 3463); `text` is what the mail
    server said, with or without its codes. Both may be empty.
    """
    if not is_permanent:
        return Outcome.SOFT_BOUNCE
    text = text[:MAX_CHARACTERS]
    code, enhanced = find_codes(status, text)
    if not code:
        return Outcome.HARD_BOUNCE
    reply = text.partition(code)[2].lstrip(" -:#") if code in text else text
    if enhanced and enhanced not in reply:
        reply = f"{enhanced} {reply}"
    if not code.startswith("5"):
        return Outcome.SOFT_BOUNCE  # given up after attempts that might have succeeded
    meaning = classify_rcpt(int(code), reply, email).meaning
    return Outcome.HARD_BOUNCE if meaning in ABOUT_ADDRESS else Outcome.SOFT_BOUNCE


def find_codes(status: str, text: str) -> tuple[str, str]:
    """The reply code and the enhanced status code, of the status or else of the text; empty if
    there is none. A code that only the enhanced one tells is that of its class, as in `550`."""
    status, text = status.strip()[:MAX_CHARACTERS], text[:MAX_CHARACTERS]
    enhanced = next((m[1] for m in map(_ENHANCED.search, (status, text)) if m), "")
    code = next((m[1] for m in map(_CODE.search, (f"{status} ", f"{text} ")) if m), "")
    if not code and enhanced:
        code = f"{enhanced[0]}50"
    return code, enhanced
