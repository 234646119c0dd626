"""The score: 0..100, how far to trust an address with mail. Pure, weights as data.

Each verdict has a band, so that a score alone never contradicts its verdict; each reason has a
starting point in it; the weights then shift it, never past the band's edges. Bands of
deliverable (80..100), risky (40..79) and undeliverable (0..39) are those that vendors publish;
unknown stays below the deliverable band.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.model import Dns, Evidence, Meaning, Reason, Verdict

BANDS: dict[Verdict, tuple[int, int]] = {
    Verdict.DELIVERABLE: (80, 100),
    Verdict.RISKY: (40, 79),
    Verdict.UNKNOWN: (0, 79),
    Verdict.UNDELIVERABLE: (0, 39),
}
"""Lowest and highest score of each verdict."""

START_POINTS: dict[tuple[Verdict, Reason], int] = {
    (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL): 100,
    # Most names people really have at a catch-all domain do get their mail.
    (Verdict.RISKY, Reason.CATCH_ALL): 70,
    (Verdict.RISKY, Reason.MAILBOX_FULL): 55,
    (Verdict.RISKY, Reason.LOW_QUALITY): 45,
    (Verdict.RISKY, Reason.DISPOSABLE): 45,
    # The domain takes mail; nobody asked about the mailbox.
    (Verdict.UNKNOWN, Reason.NOT_CHECKED): 60,
    # Servers mostly refuse unknown names before they greylist.
    (Verdict.UNKNOWN, Reason.GREYLISTED): 60,
    (Verdict.UNKNOWN, Reason.BLOCKED): 50,
    (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP): 50,
    (Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR): 40,
    (Verdict.UNKNOWN, Reason.TIMEOUT): 35,
    (Verdict.UNKNOWN, Reason.INVALID_SMTP): 25,
    (Verdict.UNKNOWN, Reason.NO_CONNECT): 20,
    (Verdict.UNKNOWN, Reason.DNS_ERROR): 20,
    (Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL): 0,
    (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN): 0,
    (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL): 0,
}

DEFAULT_START_POINTS: dict[Verdict, int] = {
    # A pair that our own engine never gives, such as an upstream's.
    Verdict.DELIVERABLE: 90,
    Verdict.RISKY: 55,
    Verdict.UNKNOWN: 40,
    Verdict.UNDELIVERABLE: 10,
}


class Weight(NamedTuple):
    """A fact, and what it adds to the starting point."""

    name: str
    points: int
    holds: Callable[[Evidence], bool]
    why: str


WEIGHTS: tuple[Weight, ...] = (
    Weight(
        "role",
        -8,
        lambda e: e.role,
        "Read by several people or nobody; complaints and unsubscribes are likelier.",
    ),
    Weight("no_reply", -12, lambda e: e.no_reply, "Takes mail that nobody reads."),
    Weight("free", -2, lambda e: e.free, "Anyone can open and abandon a free mailbox."),
    Weight("disposable", -5, lambda e: e.disposable, "Gone by tomorrow."),
    Weight(
        "did_you_mean",
        -12,
        lambda e: e.did_you_mean is not None,
        "Probably a slip of the pen: whoever reads it is not who was meant.",
    ),
    Weight(
        "catch_all_unknown",
        -5,
        lambda e: e.catch_all is None and e.smtp is not None and e.smtp.accepted is True,
        "Without the control question an acceptance may be that of every name.",
    ),
    Weight(
        "cannot_verify",
        +10,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.CANNOT_VERIFY,
        "The server says that it will take the mail and try (252).",
    ),
    Weight(
        "rate_limited",
        -5,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.MAILBOX_RATE_LIMITED,
        "It exists, but mail sent now would wait.",
    ),
    Weight(
        "implicit_mx",
        -3,
        lambda e: e.dns is Dns.IMPLICIT_MX,
        "Nobody set the domain up for mail; its web host happens to answer.",
    ),
    Weight("no_spf", -3, lambda e: e.spf is False, "Senders of a domain in use publish SPF."),
    Weight("no_dmarc", -2, lambda e: e.dmarc is False, "As SPF, more weakly."),
)

UNDELIVERABLE_WEIGHTS: tuple[Weight, ...] = (
    Weight(
        "domain_not_served",
        15,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.DOMAIN_NOT_SERVED,
        "The hosts may be set up wrong today and right tomorrow.",
    ),
    Weight(
        "smtputf8_unsupported",
        20,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.SMTPUTF8_UNSUPPORTED,
        "One update of the server away from taking mail.",
    ),
    Weight(
        "unresolvable",
        10,
        lambda e: e.dns is Dns.UNRESOLVABLE,
        "A mail host was named, so mail was meant to work.",
    ),
)
"""What lifts an undeliverable address off 0; all others are certain."""


def score(verdict: Verdict, reason: Reason, evidence: Evidence) -> int:
    """How far to trust the address with mail, within the verdict's band of `BANDS`."""
    lowest, highest = BANDS[verdict]
    weights = UNDELIVERABLE_WEIGHTS if verdict is Verdict.UNDELIVERABLE else WEIGHTS
    points = START_POINTS.get((verdict, reason), DEFAULT_START_POINTS[verdict])
    points += sum(weight.points for weight in weights if weight.holds(evidence))
    return min(max(points, lowest), highest)
