"""What each kind of fault implies for its source, for the money and for the request. One table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from adapters.contract.upstream import FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Implication:
    """What follows from a fault. All are false for a fault that concerns one request alone."""

    opens_circuit: bool = False
    """It counts towards the circuit of its source: the network, or the vendor's server, fails."""
    may_be_billed: bool = False
    """The vendor may have charged all the same: the price counts as spent."""
    may_be_retried: bool = False
    """The request was not sent, or not served: the same source may get it again."""
    may_be_retried_once_well: bool = False
    """It was not served, and the next would not be either: the same source may get it again when it
    has served another one since."""
    may_be_lost: bool = False
    """In an outage that is over, the request was most likely never served: the same source may get
    it again, once, if no other can answer."""
    is_account: bool = False
    """The vendor serves none of our requests: the next source gets a list, too."""
    may_have_created: bool = False
    """A vendor job may exist although its creation failed."""
    may_pass: bool = False
    """The next poll of a vendor job may succeed."""
    recency: float = 0.0
    """Of sources out of rotation the one with the oldest fault is asked first. A fault that costs
    the client time, or us money, counts as so many times as recent. 0: it takes no source out of
    rotation."""


UNCERTAIN = Implication(
    opens_circuit=True, may_be_billed=True, may_have_created=True, may_pass=True, recency=2.0
)

IMPLICATIONS: Mapping[FaultKind, Implication] = {
    FaultKind.UNREACHABLE: Implication(
        opens_circuit=True, may_be_retried=True, may_pass=True, recency=1.0
    ),
    FaultKind.BUSY: Implication(may_be_retried=True, may_pass=True),
    FaultKind.TIMED_OUT: Implication(
        opens_circuit=True,
        may_be_billed=True,
        may_be_lost=True,
        may_have_created=True,
        may_pass=True,
        recency=4.0,
    ),
    FaultKind.BROKEN: UNCERTAIN,
    # A page of a proxy, or of maintenance.
    FaultKind.GARBAGE: replace(UNCERTAIN, may_be_lost=True),
    # It says that it did not serve the request; it may have created a job before it failed.
    FaultKind.SERVER_ERROR: Implication(
        opens_circuit=True,
        may_be_retried_once_well=True,
        may_have_created=True,
        may_pass=True,
        recency=1.0,
    ),
    # The key is paused: the rate is the account's, and the server is well.
    FaultKind.TOO_FAST: Implication(may_be_retried=True, may_pass=True, recency=8.0),
    FaultKind.NO_CREDITS: Implication(),
    FaultKind.DEAD_KEY: Implication(is_account=True),
    FaultKind.BANNED: Implication(is_account=True),
    FaultKind.PENDING: Implication(),
    FaultKind.REFUSED: Implication(),
}
