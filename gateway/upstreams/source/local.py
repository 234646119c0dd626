"""The local engine as a source."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.model import Evidence, Verdict
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.latency import Latency
from gateway.upstreams.source.source import SourceResult
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

ENGINE_RESERVE_S = 0.25
"""The engine's deadline is so much shorter than the time for the question, so that its verdict
`unknown` still arrives in time."""


class LocalSource:
    """The probe engine, or a stand-in."""

    name = "local"
    price = 0
    weight = 1.0
    ready_in_s = last_resort_in_s = fault_age_s = 0.0
    answered_at = returned_at = failed_at = -math.inf
    busy = is_unproven = is_suspected = answers_late = False
    evidence_fields = frozenset(Evidence.__slots__)
    free_verdicts: frozenset[Verdict] = frozenset()

    def __init__(
        self,
        verifier: Verifier,
        *,
        timeout_s: float,
        final: frozenset[Verdict],
        is_only_source: bool,
        pause_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`is_only_source`: no other source can answer in its place, so a bug raises."""
        self._verifier = verifier
        self._is_only_source = is_only_source
        self._pause_of = pause_of
        self.timeout_s = self.patience_s = timeout_s
        self.final = final
        self.latency = Latency()

    @property
    def unusable_fault(self) -> str:
        return self._pause_of(self.name)

    def admit(self) -> Admission:
        return Admission.YES

    def admit_last_resort(self) -> bool:
        return True

    async def try_verify(
        self,
        question: UpstreamQuery,
        *,
        queue_s: float = 0.0,
        is_last_resort: bool = False,
    ) -> SourceResult:
        address, checks = question.address, question.checks
        if self._is_only_source:
            return await self._verifier.verify(address, checks, question.wait_s)
        try:
            async with asyncio.timeout(question.wait_s):
                deadline_s = question.wait_s - min(ENGINE_RESERVE_S, question.wait_s / 4)
                verification = await self._verifier.verify(address, checks, deadline_s)
        except TimeoutError:
            return Fault(FaultKind.TIMED_OUT)
        except Exception:
            extra = {"source": self.name, "domain": question.address.domain}
            log.exception("engine.failed", extra=extra)
            return Fault(FaultKind.SERVER_ERROR)
        self.latency.record(verification.duration_s)
        return verification
