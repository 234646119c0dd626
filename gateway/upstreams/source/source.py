"""What a source of verifications is.

A source is asked once and returns a verification or a fault; which source is asked, and what
follows from a fault, is the policy's business.
"""

from __future__ import annotations

from typing import Protocol

from adapters.contract.upstream import Fault, UpstreamQuery
from engine.model import Verdict, Verification
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.latency import Latency

SourceResult = Verification | Fault


class Source(Protocol):
    """What can be asked for a verification."""

    name: str
    price: int
    """The price of one call, in millionths of the currency of the settings."""
    weight: float
    timeout_s: float
    final: frozenset[Verdict]
    """The verdicts that are accepted from it without asking the next source."""
    free_verdicts: frozenset[Verdict]
    """The verdicts that it does not charge for."""
    evidence_fields: frozenset[str]
    """The fields of `Evidence` that each of its results determines."""
    latency: Latency

    answers_late: bool
    """Whether an answer that comes after its share of the time is still used."""

    @property
    def patience_s(self) -> float:
        """How long it is waited for alone, by its usual latency; at most `timeout_s`."""
        ...

    @property
    def ready_in_s(self) -> float:
        """Seconds until it is in rotation again; 0 if it is now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a request would have to wait for a slot."""
        ...

    @property
    def is_unproven(self) -> bool:
        """Whether it has never answered, and has as many requests in flight as it gets until it
        does."""
        ...

    @property
    def unusable_fault(self) -> str:
        """The fault that takes it out of rotation for too long to wait for; empty without one."""
        ...

    @property
    def is_suspected(self) -> bool:
        """Whether it is out of rotation since its requests in flight are not answered."""
        ...

    @property
    def last_resort_in_s(self) -> float:
        """Seconds until it may be asked while it is out of rotation; infinite if it never may."""
        ...

    answered_at: float
    """When it verified an address last, by the monotonic clock; minus infinity before the first."""

    @property
    def returned_at(self) -> float:
        """When its latest outage ended, by the monotonic clock; minus infinity before the first."""
        ...

    failed_at: float
    """When its latest fault was that takes sources out of rotation, by the monotonic clock; minus
    infinity before the first."""

    @property
    def fault_age_s(self) -> float:
        """How long ago its latest fault was; less if that fault was of a costly kind. Of sources
        out of rotation the one with the oldest fault is asked first."""
        ...

    def admit(self) -> Admission:
        """Whether a request may be sent now. After `YES` one must be, since it may be the trial."""
        ...

    def admit_last_resort(self) -> bool:
        """Whether a request may be sent although the source is out of rotation."""
        ...

    async def try_verify(
        self,
        question: UpstreamQuery,
        *,
        queue_s: float = 0.0,
        is_last_resort: bool = False,
    ) -> SourceResult:
        """The verification, or a fault, within `question.wait_s` after a slot was free, which is
        waited for at most `queue_s`; a source's errors never raise.

        `is_last_resort`: a key that its vendor has paused
        may be used.
        """
        ...
