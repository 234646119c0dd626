"""What a source of verifications is, and what its faults imply.

A source is asked once and returns a verification or a fault; which source is asked, and what
follows from a fault, is the policy's business.
"""

from __future__ import annotations

from typing import Protocol

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.model import Verdict, Verification
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.latency import Latency

SourceResult = Verification | Fault

SOURCE_FAILURES = frozenset(
    {
        FaultKind.UNREACHABLE,
        FaultKind.TIMED_OUT,
        FaultKind.BROKEN,
        FaultKind.GARBAGE,
        FaultKind.SERVER_ERROR,
    }
)
"""Faults that open a circuit. The others are about the key, the pace or the request."""

POSSIBLY_BILLED = frozenset({FaultKind.TIMED_OUT, FaultKind.BROKEN, FaultKind.GARBAGE})
"""Faults after which the vendor may have charged all the same: they count as spent."""

SAFE_TO_RETRY = frozenset({FaultKind.UNREACHABLE, FaultKind.TOO_FAST, FaultKind.BUSY})
"""Faults after which the same source may be asked again: nothing was sent, or nothing done."""


class Source(Protocol):
    """Somebody who can be asked."""

    name: str
    price: int
    """Of one call, in millionths of the settings' currency."""
    weight: float
    timeout_s: float
    final: frozenset[Verdict]
    """The verdicts that it is believed without asking on."""
    evidence_fields: frozenset[str]
    """The fields of `Evidence` that all its answers speak of."""
    latency: Latency

    @property
    def ready_in_s(self) -> float:
        """Seconds until it makes sense to ask; 0 is now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a question would have to wait for its turn."""
        ...

    @property
    def unusable_fault(self) -> str:
        """The fault for which nobody should wait for it; empty if there is none."""
        ...

    def admit(self) -> Admission:
        """Ask to ask: `YES` must be followed by `ask`."""
        ...

    async def try_verify(self, question: UpstreamQuery) -> SourceResult:
        """What it finds out within `question.wait_s`; never raises for what it does wrong."""
        ...
