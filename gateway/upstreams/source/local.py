"""The local engine as a source."""

from __future__ import annotations

import asyncio
import logging

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.model import Evidence, Verdict
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.latency import Latency
from gateway.upstreams.source.source import SourceResult
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

ENGINE_RESERVE_S = 0.25
"""Of its time, what the engine is not told of: it says unknown when its time is over, and has
to be heard."""


class LocalSource:
    """The probe engine, or what stands in for it."""

    name = "local"
    price = 0
    weight = 1.0
    ready_in_s = 0.0
    busy = False
    unusable_fault = ""
    evidence_fields = frozenset(Evidence.__slots__)

    def __init__(
        self,
        verifier: Verifier,
        *,
        timeout_s: float,
        final: frozenset[Verdict],
        is_only_source: bool,
    ) -> None:
        """`alone`: there is nobody to ask in its place, so that a bug may be seen as one."""
        self._verifier = verifier
        self._is_only_source = is_only_source
        self.timeout_s = timeout_s
        self.final = final
        self.latency = Latency()

    def admit(self) -> Admission:
        return Admission.YES

    async def try_verify(self, question: UpstreamQuery) -> SourceResult:
        address, checks = question.address, question.checks
        if self._is_only_source:
            return await self._verifier.verify(address, checks, question.wait_s)
        try:
            async with asyncio.timeout(question.wait_s):
                told_s = question.wait_s - min(ENGINE_RESERVE_S, question.wait_s / 4)
                found = await self._verifier.verify(address, checks, told_s)
        except TimeoutError:
            return Fault(FaultKind.TIMED_OUT)
        except Exception:
            extra = {"source": self.name, "domain": question.address.domain}
            log.exception("engine.failed", extra=extra)
            return Fault(FaultKind.SERVER_ERROR)
        self.latency.record(found.duration_s)
        return found
