"""The sources of answers: the local engine, and each upstream.

A source is asked once and says what it found, or why it found nothing; which source to ask,
and what to do about a fault, is the policy's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    Question,
    Told,
    Upstream,
    UpstreamReply,
    UpstreamRequest,
)
from engine.model import Address, Checks, Evidence, Verdict, Verification
from engine.score import score
from gateway.upstreams.source.circuit import Admission, Circuit
from gateway.upstreams.source.keys import EMPTY_PAUSE_S, Key, KeyRing
from gateway.upstreams.source.latency import Latency
from gateway.upstreams.source.throttle import Throttle
from gateway.verdicts.verifier import Verifier

if TYPE_CHECKING:
    from gateway.upstreams.source.key_files import KeyFiles
    from gateway.upstreams.transport.sender import Place, Sender

log = logging.getLogger(__name__)

Finding = Verification | Fault

AGAINST_THE_SOURCE = frozenset(
    {
        FaultKind.UNREACHABLE,
        FaultKind.TIMED_OUT,
        FaultKind.BROKEN,
        FaultKind.GARBAGE,
        FaultKind.SERVER_ERROR,
    }
)
"""Faults that open a circuit. The others are about the key, the pace or the request."""

PERHAPS_BILLED = frozenset({FaultKind.TIMED_OUT, FaultKind.BROKEN, FaultKind.GARBAGE})
"""Faults after which the vendor may have charged all the same: they count as spent."""

SAFE_TO_REPEAT = frozenset({FaultKind.UNREACHABLE, FaultKind.TOO_FAST, FaultKind.BUSY})
"""Faults after which the same source may be asked again: nothing was sent, or nothing done."""

LONGEST_PENDING_PAUSE_S = 5.0
CLOSING_S = 0.25
"""Of its time, what the engine is not told of: it says unknown when its time is over, and has
to be heard."""
CONNECT_TIMEOUT_S = 5.0


class Source(Protocol):
    """Somebody who can be asked."""

    name: str
    price: int
    """Of one call, in millionths of the settings' currency."""
    weight: float
    timeout_s: float
    final: frozenset[Verdict]
    """The verdicts that it is believed without asking on."""
    tells: frozenset[str]
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
    def out_of_use(self) -> str:
        """The fault for which nobody should wait for it; empty if there is none."""
        ...

    def admit(self) -> Admission:
        """Ask to ask: `YES` must be followed by `ask`."""
        ...

    async def ask(self, question: Question) -> Finding:
        """What it finds out within `question.wait_s`; never raises for what it does wrong."""
        ...


class LocalSource:
    """The probe engine, or what stands in for it."""

    name = "local"
    price = 0
    weight = 1.0
    ready_in_s = 0.0
    busy = False
    out_of_use = ""
    tells = frozenset(Evidence.__slots__)

    def __init__(
        self, verifier: Verifier, *, timeout_s: float, final: frozenset[Verdict], alone: bool
    ) -> None:
        """`alone`: there is nobody to ask in its place, so that a bug may be seen as one."""
        self._verifier = verifier
        self._alone = alone
        self.timeout_s = timeout_s
        self.final = final
        self.latency = Latency()

    def admit(self) -> Admission:
        return Admission.YES

    async def ask(self, question: Question) -> Finding:
        text, checks = question.address.raw, question.checks
        if self._alone:
            return await self._verifier.verify(text, checks, question.wait_s)
        try:
            async with asyncio.timeout(question.wait_s):
                told_s = question.wait_s - min(CLOSING_S, question.wait_s / 4)
                found = await self._verifier.verify(text, checks, told_s)
        except TimeoutError:
            return Fault(FaultKind.TIMED_OUT)
        except Exception:
            log.exception("the local engine failed")
            return Fault(FaultKind.SERVER_ERROR)
        self.latency.note(found.duration_s)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRules:
    """What the settings say of one upstream."""

    name: str
    price: int = 0
    weight: float = 1.0
    timeout_s: float = 10.0
    final: frozenset[Verdict] = frozenset(Verdict)
    list_from: int | None = None
    """Addresses that are given to it as a list of its own; None never."""
    list_size: int = 10_000
    """The most in one such list."""
    list_deadline_s: float = 21_600.0
    """How long such a list may take."""


class Recorder(Protocol):
    """Takes exchanges with a key in them, which it must not keep."""

    def __call__(
        self, key: str, question: Question, request: UpstreamRequest, reply: UpstreamReply | Fault
    ) -> None: ...

    def of_list(
        self,
        key: str,
        job_id: str,
        addresses: Sequence[Address],
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
        kind: str,
    ) -> None:
        """One step of a list; `kind` is what was read in it."""
        ...


class UpstreamSource:
    """One upstream: its keys, its circuit, its limits, its connections."""

    def __init__(
        self,
        rules: UpstreamRules,
        place: Place,
        sender: Sender,
        *,
        keys: KeyRing,
        circuit: Circuit,
        throttle: Throttle,
        clock: Callable[[], float],
        rng: random.Random,
        key_files: KeyFiles | None = None,
        record: Recorder | None = None,
    ) -> None:
        assert place.dialect.upstream is not None
        self.name = rules.name
        self.price = rules.price
        self.weight = rules.weight
        self.timeout_s = rules.timeout_s
        self.final = rules.final
        self.list_from = rules.list_from
        self.list_size = rules.list_size
        self.list_deadline_s = rules.list_deadline_s
        self.place = place
        self.keys = keys
        self.key_files = key_files
        self.circuit = circuit
        self.latency = Latency()
        self._upstream: Upstream = place.dialect.upstream
        self.tells = self._upstream.tells
        self._sender = sender
        self._throttle = throttle
        self._clock = clock
        self._rng = rng
        self.record = record

    @property
    def min_wait_s(self) -> float:
        """After a 429 that names no time."""
        return self._upstream.min_wait_s

    @property
    def ready_in_s(self) -> float:
        return max(self.circuit.reopens_in_s, self.keys.ready_in_s)

    @property
    def busy(self) -> bool:
        return self._throttle.busy

    @property
    def out_of_use(self) -> str:
        if self.circuit.is_banned and self.circuit.reopens_in_s > 0:
            return FaultKind.BANNED
        return FaultKind.DEAD_KEY if self.keys.all_dead else ""

    def admit(self) -> Admission:
        if self.keys.ready_in_s > 0:
            return Admission.NO
        return self.circuit.admit(self.timeout_s + CONNECT_TIMEOUT_S)

    async def ask(self, question: Question) -> Finding:
        settled = False
        give_up_at = self._clock() + question.wait_s
        if not await self._enter(question.wait_s):
            self.circuit.left()
            return Fault(FaultKind.BUSY, "no free place in time")
        try:
            finding = await self._with_keys(question, give_up_at)
            self._settle(finding)
            settled = True
            return finding
        finally:
            self._throttle.leave()
            if not settled:
                self.circuit.left()

    async def _enter(self, wait_s: float) -> bool:
        """Whether there was a place in time."""
        if not self._throttle.busy:
            await self._throttle.enter()
            return True
        try:
            async with asyncio.timeout(wait_s):
                await self._throttle.enter()
        except TimeoutError:
            return False
        return True

    def _settle(self, finding: Finding) -> None:
        """Tell the circuit."""
        if isinstance(finding, Verification):
            self.latency.note(finding.duration_s)
        self.settle(finding if isinstance(finding, Fault) else None)

    def settle(self, fault: Fault | None) -> None:
        """Tell the circuit how a request ended that was let through; None is well."""
        if fault is None:
            self.circuit.succeeded()
        elif fault.kind in AGAINST_THE_SOURCE:
            self.circuit.failed(fault.retry_after_s)
        elif fault.kind is FaultKind.BANNED:
            self.refused_here(fault)
        else:
            self.circuit.left()

    def refused_here(self, fault: Fault) -> None:
        """Our account or address was refused: leave it alone for long, and say so once."""
        if self.circuit.banned():
            log.warning(
                "upstream refuses our account or address",
                extra={
                    "source": self.name,
                    "status": fault.status,
                    "rests_s": round(self.circuit.reopens_in_s),
                },
            )

    async def _with_keys(self, question: Question, give_up_at: float) -> Finding:
        """Ask with one key after the other while it is the key that is at fault."""
        finding: Finding = Fault(FaultKind.DEAD_KEY, "no key can be used now")
        tried: list[Key] = []
        while (key := self.keys.pick()) is not None and key not in tried:
            tried.append(key)
            finding = await self._with_key(question, key, give_up_at)
            if isinstance(finding, Verification):
                self.keys.works(key)
                return finding
            match finding.kind:
                case FaultKind.DEAD_KEY:
                    if self.keys.refused(key):
                        extra = {"source": self.name, "key": key.place, "status": finding.status}
                        log.warning("key refused", extra=extra)
                    if self.key_files is not None:
                        # it may have been exchanged, here as at the vendor
                        await self.key_files.reread()
                case FaultKind.NO_CREDITS:
                    self.keys.rest(key, finding.retry_after_s or EMPTY_PAUSE_S)
                case FaultKind.TOO_FAST:
                    after_s = finding.retry_after_s
                    pause_s = self._upstream.min_wait_s if after_s is None else after_s
                    self.keys.rest(key, max(pause_s, 0.05))
                case _:
                    return finding
        return finding

    async def _with_key(self, question: Question, key: Key, give_up_at: float) -> Finding:
        """Ask, and ask again while the answer is being worked on: those repeats are free."""
        began = self._clock()
        while True:
            left_s = give_up_at - self._clock()
            if left_s <= 0:
                return Fault(FaultKind.PENDING, "not ready in time")
            request = self._upstream.build_verify(key.value, question)
            reply = await self._sender.send(
                self.place,
                request,
                connect_s=min(CONNECT_TIMEOUT_S, left_s),
                timeout_s=left_s,
            )
            if self.record is not None:
                self.record(key.value, question, request, reply)
            if isinstance(reply, Fault):
                return reply
            told = self._upstream.parse_verify(question, reply)
            if isinstance(told, Told):
                duration_s = self._clock() - began
                return self.verification(
                    question.address, question.checks, told, reply.at, duration_s
                )
            if isinstance(told, Fault):
                return told
            await self._pause(told, give_up_at)

    async def _pause(self, pending: Pending, give_up_at: float) -> None:
        pause_s = min(pending.retry_after_s, LONGEST_PENDING_PAUSE_S)
        pause_s *= self._rng.uniform(0.8, 1.2)
        await asyncio.sleep(max(min(pause_s, give_up_at - self._clock()), 0.0))

    def verification(
        self, address: Address, checks: Checks, told: Told, at: float, duration_s: float
    ) -> Verification:
        """What it told at `at` (Unix time, s), as one of ours."""
        points = told.score
        if points is None:
            points = score(told.verdict, told.reason, told.evidence)
        return Verification(
            address=address,
            verdict=told.verdict,
            reason=told.reason,
            score=min(max(points, 0), 100),
            evidence=told.evidence,
            checks=checks,
            verified_at=told.verified_at or datetime.fromtimestamp(at, UTC),
            duration_s=duration_s,
            source=self.name,
        )

    async def balance(self, key: Key, timeout_s: float) -> int | Fault | None:
        """What is left to pay with, without paying; None where the vendor cannot be asked.

        A vendor without a balance gets its health address called, which shows no key.
        """
        if self._upstream.build_balance is not None:
            assert self._upstream.parse_balance is not None
            request = self._upstream.build_balance(key.value)
            reply = await self._get(request, timeout_s)
            return reply if isinstance(reply, Fault) else self._upstream.parse_balance(reply)
        if self._upstream.build_health is not None:
            reply = await self._get(self._upstream.build_health(), timeout_s)
            if isinstance(reply, Fault):
                return reply
            if reply.status != 200:
                # without a key there is only our address to refuse
                banned = reply.status == 403
                kind = FaultKind.BANNED if banned else FaultKind.SERVER_ERROR
                return Fault(kind, status=reply.status)
        return None

    async def call(
        self, request: UpstreamRequest, timeout_s: float, most_bytes: int
    ) -> UpstreamReply | Fault:
        """Send what is no single question, within this upstream's limits."""
        if not await self._enter(timeout_s):
            return Fault(FaultKind.BUSY, "no free place in time")
        try:
            return await self._sender.send(
                self.place,
                request,
                connect_s=CONNECT_TIMEOUT_S,
                timeout_s=timeout_s,
                most_bytes=most_bytes,
            )
        finally:
            self._throttle.leave()

    async def _get(self, request: UpstreamRequest, timeout_s: float) -> UpstreamReply | Fault:
        return await self._sender.send(
            self.place, request, connect_s=CONNECT_TIMEOUT_S, timeout_s=timeout_s
        )
