"""The score, 0..100: how likely mail to an address is to arrive and do no harm. Pure.

Each verdict has a band, so that a score never contradicts its verdict. Each reason has a starting
point within the band, and the weights of the evidence shift it, at most to the edges of the band.
The bands of deliverable (80..100), risky (40..79) and undeliverable (0..39) are those that
vendors publish; the band of unknown ends below that of deliverable.
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
"""The lowest and the highest score of each verdict."""

START_POINTS: dict[tuple[Verdict, Reason], int] = {
    (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL): 100,
    # Most addresses in use at a catch-all domain do reach a mailbox.
    (Verdict.RISKY, Reason.CATCH_ALL): 70,
    (Verdict.RISKY, Reason.MAILBOX_FULL): 55,
    (Verdict.RISKY, Reason.LOW_QUALITY): 45,
    (Verdict.RISKY, Reason.DISPOSABLE): 45,
    # The domain accepts mail; the mailbox was not checked.
    (Verdict.UNKNOWN, Reason.NOT_CHECKED): 60,
    # Most servers refuse unknown names before they greylist.
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
    # For pairs of verdict and reason that only upstreams give.
    Verdict.DELIVERABLE: 90,
    Verdict.RISKY: 55,
    Verdict.UNKNOWN: 40,
    Verdict.UNDELIVERABLE: 10,
}


class Weight(NamedTuple):
    """Points that a fact adds to the starting point or takes from it."""

    name: str
    points: int
    holds: Callable[[Evidence], bool]
    why: str


WEIGHTS: tuple[Weight, ...] = (
    Weight(
        "role",
        -8,
        lambda e: e.role,
        "Several people read it, or none; complaints and unsubscribes are likelier.",
    ),
    Weight("no_reply", -12, lambda e: e.no_reply, "Its mail is not read."),
    Weight("free", -2, lambda e: e.free, "Anyone can open and abandon a free mailbox."),
    Weight("disposable", -5, lambda e: e.disposable, "Its owner soon abandons it."),
    Weight(
        "did_you_mean",
        -12,
        lambda e: e.did_you_mean is not None,
        "Probably a typo, so that another person or no one would read the mail.",
    ),
    Weight(
        "catch_all_unknown",
        -5,
        lambda e: e.catch_all is None and e.smtp is not None and e.smtp.accepted is True,
        "Without the control address the domain may accept every name.",
    ),
    Weight(
        "cannot_verify",
        +10,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.CANNOT_VERIFY,
        "The server will accept mail and attempt delivery (252).",
    ),
    Weight(
        "rate_limited",
        -5,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.MAILBOX_RATE_LIMITED,
        "The mailbox exists, but mail sent now would be deferred.",
    ),
    Weight(
        "implicit_mx",
        -3,
        lambda e: e.dns is Dns.IMPLICIT_MX,
        "The domain was not set up for mail; its web host happens to run a mail server.",
    ),
)

UNDELIVERABLE_WEIGHTS: tuple[Weight, ...] = (
    Weight(
        "domain_not_served",
        15,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.DOMAIN_NOT_SERVED,
        "The configuration of the hosts may be wrong only for now.",
    ),
    Weight(
        "smtputf8_unsupported",
        20,
        lambda e: e.smtp is not None and e.smtp.meaning is Meaning.SMTPUTF8_UNSUPPORTED,
        "The address accepts mail once its server supports SMTPUTF8.",
    ),
    Weight(
        "unresolvable",
        10,
        lambda e: e.dns is Dns.UNRESOLVABLE,
        "The domain names a mail host, so it is meant to accept mail.",
    ),
)
"""Facts that make an undeliverable verdict less certain; all other such verdicts score 0."""


def score(verdict: Verdict, reason: Reason, evidence: Evidence) -> int:
    """The score of an address, within the band of its verdict in `BANDS`."""
    lowest, highest = BANDS[verdict]
    weights = UNDELIVERABLE_WEIGHTS if verdict is Verdict.UNDELIVERABLE else WEIGHTS
    points = START_POINTS.get((verdict, reason), DEFAULT_START_POINTS[verdict])
    points += sum(weight.points for weight in weights if weight.holds(evidence))
    return min(max(points, lowest), highest)
