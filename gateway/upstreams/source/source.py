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
"""Faults that open a circuit. The others concern the key, the rate or the request."""

POSSIBLY_BILLED = frozenset({FaultKind.TIMED_OUT, FaultKind.BROKEN, FaultKind.GARBAGE})
"""Faults after which the vendor may have charged all the same: the price counts as spent."""

SAFE_TO_RETRY = frozenset({FaultKind.UNREACHABLE, FaultKind.TOO_FAST, FaultKind.BUSY})
"""Faults of a request that was not sent or not served: the same source may be asked again."""


class Source(Protocol):
    """What can be asked for a verification."""

    name: str
    price: int
    """The price of one call, in millionths of the currency of the settings."""
    weight: float
    timeout_s: float
    final: frozenset[Verdict]
    """The verdicts that are accepted from it without asking the next source."""
    evidence_fields: frozenset[str]
    """The fields of `Evidence` that each of its results determines."""
    latency: Latency

    @property
    def ready_in_s(self) -> float:
        """Seconds until it is in rotation again; 0 if it is now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a request would have to wait for a slot."""
        ...

    @property
    def unusable_fault(self) -> str:
        """The fault that takes it out of rotation for too long to wait for; empty without one."""
        ...

    def admit(self) -> Admission:
        """Whether a request may be sent now. After `YES` one must be, since it may be the trial."""
        ...

    async def try_verify(self, question: UpstreamQuery) -> SourceResult:
        """The verification, or a fault, within `question.wait_s`; a source's errors never raise."""
        ...
