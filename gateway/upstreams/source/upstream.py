"""An upstream as a source: its keys, its circuit, its limits, its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    Upstream,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from engine.model import Address, Checks, Verdict, Verification
from engine.verification import verification_from_verdict
from gateway.upstreams.source.circuit import Admission, CircuitBreaker, CircuitState
from gateway.upstreams.source.faults import IMPLICATIONS
from gateway.upstreams.source.keys import NO_CREDITS_PAUSE_S, KeyRing, UpstreamKey
from gateway.upstreams.source.latency import Latency
from gateway.upstreams.source.patience import InFlight, usual_timeout_s
from gateway.upstreams.source.source import SourceResult
from gateway.upstreams.source.throttle import Throttle
from gateway.upstreams.transport.client import (
    MAX_SINGLE_REPLY_BYTES,
    UpstreamClient,
    UpstreamLocation,
)

if TYPE_CHECKING:
    from gateway.upstreams.source.key_files import KeyFiles

log = logging.getLogger(__name__)

SendRequest = Callable[[UpstreamRequest, float], Awaitable[UpstreamReply | Fault]]

MAX_PENDING_PAUSE_S = 5.0
"""The longest pause before an answer that was not ready is asked for again."""
MIN_TOO_FAST_PAUSE_S = 0.05
"""The shortest pause of a key after `TOO_FAST`."""
CONNECT_TIMEOUT_S = 5.0
THROTTLED_TRIAL_INTERVAL_S = 1.0
"""Between two requests of last resort with a key that its vendor has paused."""
OUT_OF_ROTATION = frozenset({CircuitState.OPEN, CircuitState.HALF_OPEN})
NO_SLOT = Fault(FaultKind.BUSY, "no free slot in time")
NO_KEY = Fault(FaultKind.BUSY, "no key can be used now")
"""All keys were paused while it waited for a slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRules:
    """The settings of one upstream that bear on its requests."""

    name: str
    price: int
    weight: float
    timeout_s: float
    min_timeout_s: float
    """It is never waited for less; 0 is what its vendor calls normal."""
    final: frozenset[Verdict]
    min_job_size: int | None
    """The fewest addresses that make a vendor job; None if it gets none."""
    max_job_size: int
    """The most addresses of one vendor job."""
    job_deadline_s: float
    """How long a vendor job may take."""


class Recorder(Protocol):
    """Records exchanges. It must take out the key that they contain."""

    def __call__(
        self,
        key: str,
        question: UpstreamQuery,
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
    ) -> None: ...

    def record_job_step(
        self,
        key: str,
        job_id: str,
        addresses: Sequence[Address],
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
        kind: str,
    ) -> None:
        """One step of a vendor job; `kind` names what the reply held."""
        ...


class AdmittedRequest:
    """A request that the circuit admitted, whose outcome has to be reported."""

    def __init__(self, source: UpstreamSource, sent_at: float) -> None:
        """`sent_at` by the source's clock; later, if it has to wait for a slot."""
        self._source = source
        self.sent_at = sent_at
        self.is_reported = False

    def report(self, fault: Fault | None) -> None:
        """The outcome; None is a success."""
        self._source.record_outcome(fault, self.sent_at)
        self.is_reported = True


class UpstreamSource:
    """One upstream: its keys, its circuit, its limits, its connections."""

    def __init__(
        self,
        rules: UpstreamRules,
        vendor_api: UpstreamLocation,
        client: UpstreamClient,
        *,
        keys: KeyRing,
        circuit: CircuitBreaker,
        throttle: Throttle,
        clock: Callable[[], float],
        rng: random.Random,
        key_files: KeyFiles | None = None,
        recorder: Recorder | None = None,
        on_return: Callable[[], None] = lambda: None,
        pause_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`on_return` is called when it has answered for the first time, or again with a key.

        `pause_of` gives the fault that stands for an operator's pause; empty without one.
        """
        self._on_return = on_return
        self._pause_of = pause_of
        assert vendor_api.dialect.upstream is not None
        self.name = rules.name
        self.price = rules.price
        self.weight = rules.weight
        self.timeout_s = rules.timeout_s
        self.final = rules.final
        self.min_job_size = rules.min_job_size
        self.max_job_size = rules.max_job_size
        self.job_deadline_s = rules.job_deadline_s
        self.vendor_api = vendor_api
        self.keys = keys
        self.key_files = key_files
        self.circuit = circuit
        self.latency = Latency()
        self._upstream: Upstream = vendor_api.dialect.upstream
        self.answers_late = True
        self.evidence_fields = self._upstream.always_reports
        self.free_verdicts = self._upstream.free_verdicts
        self._client = client
        self._throttle = throttle
        self._clock = clock
        self._rng = rng
        self._min_timeout_s = rules.min_timeout_s or self._upstream.usual_answer_s
        self._in_flight = InFlight(self.latency, clock=clock, on_first_answer=on_return)
        self._throttled_trial_at = 0.0
        self.answered_at = self.failed_at = -math.inf
        self._fault_recency = 1.0
        self.last_fault: Fault | None = None
        self.recorder = recorder

    @property
    def min_wait_s(self) -> float:
        """The pause after a 429 without `Retry-After`."""
        return self._upstream.default_retry_after_s

    @property
    def patience_s(self) -> float:
        return usual_timeout_s(
            self.latency, shortest_s=self._min_timeout_s, longest_s=self.timeout_s
        )

    @property
    def ready_in_s(self) -> float:
        self._watch_requests()
        return max(self.circuit.reopens_in_s, self.keys.ready_in_s)

    @property
    def busy(self) -> bool:
        return self._throttle.busy

    @property
    def is_unproven(self) -> bool:
        return self._in_flight.is_unproven

    @property
    def unusable_fault(self) -> str:
        if paused := self._pause_of(self.name):
            return paused
        if self.circuit.is_banned and self.circuit.reopens_in_s > 0:
            return FaultKind.BANNED
        return FaultKind.DEAD_KEY if self.keys.all_dead else ""

    @property
    def is_suspected(self) -> bool:
        return self.circuit.is_stalled

    @property
    def last_resort_in_s(self) -> float:
        circuit_s = self.circuit.last_resort_in_s
        if self.keys.ready_in_s <= 0:
            return circuit_s
        if self.keys.throttled is None:
            return math.inf
        return max(circuit_s, self._throttled_trial_at - self._clock())

    @property
    def returned_at(self) -> float:
        return self.circuit.returned_at

    @property
    def fault_age_s(self) -> float:
        return (self._clock() - self.failed_at) / self._fault_recency

    def admit(self) -> Admission:
        if self.keys.ready_in_s > 0:
            return Admission.NO
        return self.circuit.admit(self.timeout_s + CONNECT_TIMEOUT_S)

    def admit_last_resort(self) -> bool:
        if self.last_resort_in_s > 0 or not self.circuit.admit_last_resort():
            return False
        self._throttled_trial_at = self._clock() + THROTTLED_TRIAL_INTERVAL_S
        return True

    def _watch_requests(self) -> None:
        """Take it out of rotation once its requests in flight have stopped being answered, whose
        places others may have then."""
        if self._in_flight.has_stalled:
            was_open = self.circuit.state is CircuitState.OPEN
            self.circuit.record_stall()
            self._in_flight.record_stall()
            if not was_open:
                log.info("upstream.suspected", extra={"source": self.name})

    async def try_verify(
        self,
        question: UpstreamQuery,
        *,
        queue_s: float = 0.0,
        is_last_resort: bool = False,
    ) -> SourceResult:
        with self.admitted_request() as request:
            async with self._throttle.slot(queue_s) as slot:
                if slot is None:
                    return NO_SLOT
                request.sent_at = self._clock()
                give_up_at = request.sent_at + question.wait_s
                with self._in_flight.request(slot.give_up):
                    result = await self._try_keys(question, give_up_at, is_last_resort)
                if isinstance(result, Verification):
                    self.latency.record(result.duration_s)
            request.report(result if isinstance(result, Fault) else None)
            return result

    def end_rest(self) -> None:
        """Let the next request try it, whatever it rests for."""
        self.circuit.end_rest()
        self.keys.end_pauses()
        self._on_return()

    @contextlib.contextmanager
    def admitted_request(self) -> Iterator[AdmittedRequest]:
        """Around a request after `admit`. Without a report, it says nothing of the source."""
        request = AdmittedRequest(self, self._clock())
        try:
            yield request
        finally:
            if not request.is_reported:
                self.circuit.record_neutral()

    def record_outcome(self, fault: Fault | None, sent_at: float | None = None) -> None:
        """Let the circuit know the outcome of an admitted request; None is a success."""
        before = self.circuit.state
        self._record_outcome(fault, sent_at)
        after = self.circuit.state
        if after is CircuitState.OPEN and before is not CircuitState.OPEN and fault is not None:
            if fault.kind is not FaultKind.BANNED:  # which has an event of its own
                paused_s = round(self.circuit.reopens_in_s, 1)
                extra = {"source": self.name, "fault": fault.kind.value, "paused_s": paused_s}
                log.warning("upstream.paused", extra=extra)
        elif before in OUT_OF_ROTATION and after not in OUT_OF_ROTATION:
            log.info("upstream.resumed", extra={"source": self.name})

    def _record_outcome(self, fault: Fault | None, sent_at: float | None) -> None:
        if fault is None:
            self._in_flight.record_answer()
            self.answered_at = self._clock()
            self.circuit.record_success(sent_at)
            return
        self.last_fault = fault
        implied = IMPLICATIONS[fault.kind]
        if implied.recency:
            self._fault_recency, self.failed_at = implied.recency, self._clock()
        if implied.opens_circuit:
            self.circuit.record_failure(fault.retry_after_s, sent_at)
        elif fault.kind is FaultKind.BANNED:
            self.report_ban(fault)
        else:
            self.circuit.record_neutral()

    def report_ban(self, fault: Fault) -> None:
        """Take it out of rotation for long, since it refused our account or IP address."""
        if self.circuit.record_ban():
            log.warning(
                "upstream.banned",
                extra={
                    "source": self.name,
                    "status": fault.status,
                    "paused_s": round(self.circuit.reopens_in_s),
                },
            )

    async def _try_keys(
        self, question: UpstreamQuery, give_up_at: float, is_last_resort: bool
    ) -> SourceResult:
        """Ask with one key after the other, as long as the fault is the key's."""
        result: SourceResult = NO_KEY
        tried: list[UpstreamKey] = []
        pick = self.keys.pick_throttled if is_last_resort else self.keys.pick
        while (key := pick()) is not None and key not in tried:
            tried.append(key)
            sent_at = self._clock()
            result = await self._try_key(question, key, give_up_at)
            if isinstance(result, Verification):
                if self.keys.mark_accepted(key, sent_at):
                    self._on_return()
                return result
            result = await self.explain_refusal(result, key, give_up_at - self._clock())
            match result.kind:
                case FaultKind.DEAD_KEY:
                    if self.keys.mark_refused(key):
                        extra = {"source": self.name, "key": key.number, "status": result.status}
                        log.warning("upstream_key.refused", extra=extra)
                    if self.key_files is not None:
                        # The operator may have exchanged it, in the file as at the vendor.
                        await self.key_files.reread()
                case FaultKind.NO_CREDITS:
                    self.keys.pause(key, result.retry_after_s or NO_CREDITS_PAUSE_S)
                case FaultKind.TOO_FAST:
                    after_s = result.retry_after_s
                    pause_s = self._upstream.default_retry_after_s if after_s is None else after_s
                    self.keys.throttle(key, max(pause_s, MIN_TOO_FAST_PAUSE_S))
                case _:
                    return result
        return result

    async def _try_key(
        self, question: UpstreamQuery, key: UpstreamKey, give_up_at: float
    ) -> SourceResult:
        """Ask with one key, again while the answer is not ready: those repeats are free."""
        began = self._clock()
        while True:
            left_s = give_up_at - self._clock()
            if left_s <= 0:
                return Fault(FaultKind.PENDING, "not ready in time")
            request = self._upstream.verify.build(key.value, question)
            reply = await self._client.send(
                self.vendor_api,
                request,
                connect_timeout_s=min(CONNECT_TIMEOUT_S, left_s),
                timeout_s=left_s,
            )
            if self.recorder is not None:
                self.recorder(key.value, question, request, reply)
            if isinstance(reply, Fault):
                return reply
            self._in_flight.record_answer()
            found = self._upstream.verify.parse(reply, question)
            if isinstance(found, UpstreamResult):
                duration_s = self._clock() - began
                return self.to_verification(
                    question.address, question.checks, found, reply.received_at, duration_s
                )
            if isinstance(found, Fault):
                return found
            await self._wait_pending(found, give_up_at)

    async def _wait_pending(self, pending: Pending, give_up_at: float) -> None:
        pause_s = min(pending.retry_after_s, MAX_PENDING_PAUSE_S)
        pause_s *= self._rng.uniform(0.8, 1.2)
        await asyncio.sleep(max(min(pause_s, give_up_at - self._clock()), 0.0))

    def to_verification(
        self,
        address: Address,
        checks: Checks,
        result: UpstreamResult,
        received_at: float,
        duration_s: float,
    ) -> Verification:
        """The vendor's result in our vocabulary; `received_at` is Unix time in seconds."""
        return verification_from_verdict(
            address,
            result.verdict,
            result.reason,
            result.evidence,
            checks,
            verified_at=result.verified_at or datetime.fromtimestamp(received_at, UTC),
            duration_s=duration_s,
            source=self.name,
            source_score=None if result.score is None else min(max(result.score, 0), 100),
        )

    async def fetch_balance(self, key: UpstreamKey, timeout_s: float) -> int | Fault | None:
        """The verifications that are left to the key; None if the vendor has no such request.

        A vendor without balances has its health endpoint called, which takes no key. Both are free.
        """
        return await self._fetch_balance(key, timeout_s, self.send_request)

    async def _fetch_balance(
        self, key: UpstreamKey, timeout_s: float, send: SendRequest
    ) -> int | Fault | None:
        balance, health = self._upstream.balance, self._upstream.health
        if balance is not None:
            reply = await send(balance.build(key.value), timeout_s)
            found = reply if isinstance(reply, Fault) else balance.parse(reply)
            if isinstance(found, Fault) and found.ask_balance:
                # A balance costs nothing, so only the key can be refused.
                return replace(found, kind=FaultKind.DEAD_KEY)
            return found
        if health is not None:
            reply = await send(health, timeout_s)
            if isinstance(reply, Fault):
                return reply
            if reply.status != 200:
                # Without a key there is only our IP address to refuse.
                banned = reply.status == 403
                kind = FaultKind.BANNED if banned else FaultKind.SERVER_ERROR
                return Fault(kind, status=reply.status)
        return None

    async def explain_refusal(self, fault: Fault, key: UpstreamKey, timeout_s: float) -> Fault:
        """Tell a refused key from an account without credits, where the vendor's words do not.

        A fault without `Fault.ask_balance` is returned as it is.
        """
        if not fault.ask_balance or self._upstream.balance is None or timeout_s <= 0:
            return fault
        # In the slot of the request that was refused: to wait for another might deadlock.
        balance = await self._fetch_balance(key, timeout_s, self._send)
        if isinstance(balance, Fault) and balance.kind is FaultKind.DEAD_KEY:
            return replace(fault, kind=FaultKind.DEAD_KEY)
        if isinstance(balance, int) and balance <= 0:
            return replace(fault, kind=FaultKind.NO_CREDITS)
        return fault

    async def send_request(
        self,
        request: UpstreamRequest,
        timeout_s: float,
        max_body_bytes: int = MAX_SINGLE_REPLY_BYTES,
    ) -> UpstreamReply | Fault:
        """Send any other request than a single verification, within the limits of this upstream."""
        async with self._throttle.slot(timeout_s) as has_slot:
            if not has_slot:
                return NO_SLOT
            return await self._send(request, timeout_s, max_body_bytes)

    async def _send(
        self,
        request: UpstreamRequest,
        timeout_s: float,
        max_body_bytes: int = MAX_SINGLE_REPLY_BYTES,
    ) -> UpstreamReply | Fault:
        return await self._client.send(
            self.vendor_api,
            request,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            timeout_s=timeout_s,
            max_body_bytes=max_body_bytes,
        )
