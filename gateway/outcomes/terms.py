"""What can become of a mail, in the words of the API."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.model import Address


class Outcome(StrEnum):
    """What became of a mail to an address."""

    DELIVERED = "delivered"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"


ARRIVED = frozenset({Outcome.DELIVERED, Outcome.COMPLAINT, Outcome.UNSUBSCRIBED})
"""Who complains or unsubscribes has got the mail."""
BOUNCED = frozenset({Outcome.HARD_BOUNCE})
"""A soft bounce says nothing about whether the mailbox exists."""


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """What became of one mail."""

    address: Address
    outcome: Outcome
    at: float
    """Unix time in seconds."""
    code: str = ""
    """The reply code, or the enhanced status code (RFC 3463)."""
    text: str = ""
    """What the mail server said, without the address."""
