"""Records what sources answer, a little later and together, so that outcomes can be joined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from engine.model import Verification
from engine.smtp.mail_domains import provider_of_domain
from engine.smtp.providers import provider_of
from gateway.errors import StorageUnavailable
from gateway.outcomes.answers import SourceAnswers
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.reply_texts import reply_text
from gateway.settings import LOCAL_SOURCE
from gateway.store import StoreError
from gateway.tasks import PeriodicWrites

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
PURGE_EVERY_S = 3600.0
MAX_UNWRITTEN = 50_000
"""Answers that wait to be written; further ones are counted, logged and not recorded."""
OTHER_PROVIDER = "other"
"""Of mail hosts whose operator is not known."""
MIN_REFUSAL = 400
"""The lowest code of a refusal."""
NO_PROVIDER = "no mail host"
NOT_LOOKED_UP = "not known"
"""Of domains whose mail hosts were not looked up, or DNS did not answer."""


def provider_name(verification: Verification) -> str:
    """The operator of the mail hosts of an address, as reports name it."""
    # of a well-known domain first: each source has to count for the same provider, and vendors name
    # other hosts, or none
    if known := provider_of_domain(verification.address.ascii_domain):
        return known
    evidence = verification.evidence
    if evidence.provider:
        return evidence.provider
    if evidence.mx:
        return provider_of(evidence.mx[0].host) or OTHER_PROVIDER
    return NO_PROVIDER if evidence.dns.can_receive is False else NOT_LOOKED_UP


def provider_of_either(first: Verification, second: Verification) -> str:
    """The operator of an address that two sources were asked about, if one of them tells it."""
    name = provider_name(first)
    return provider_name(second) if name == NOT_LOOKED_UP else name


class AnswerRecorder:
    """Collects answers. `clock` is Unix time in seconds."""

    def __init__(
        self,
        answers: SourceAnswers,
        outcomes: OutcomeRecords,
        *,
        keep_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._answers = answers
        self._outcomes = outcomes
        self._keep_s = keep_s
        self._clock = clock
        self._waiting: list[tuple[Verification, int]] = []
        self._left_out = 0
        self._writing = asyncio.Lock()

    def record(self, verification: Verification) -> None:
        """Record a verification with the next write, if a source was asked about the mailbox."""
        if not verification.checks.smtp:
            return  # it says nothing of how right a source is, and comparisons would use it
        if len(self._waiting) < MAX_UNWRITTEN:
            self._waiting.append((verification, int(self._clock())))
        else:
            self._left_out += 1

    def periodic_writes(self) -> PeriodicWrites:
        """What writes the answers that wait, and removes those that are too old."""
        return PeriodicWrites(
            self.write,
            self._report_failure,
            every_s=WRITE_EVERY_S,
            purge=self.purge,
            purge_every_s=PURGE_EVERY_S,
        )

    def _report_failure(self, error: StorageUnavailable, is_last: bool) -> None:
        extra = {"rows": len(self._waiting), "error": str(error)}
        if is_last:
            log.warning("answers.lost", extra=extra)
        else:
            log.warning("answers.write_delayed", extra=extra)

    async def purge(self) -> None:
        """Remove answers and outcomes that are too old. Raises StoreError."""
        before = self._clock() - self._keep_s
        await self._answers.remove_older(before)
        await self._outcomes.remove_older(before)

    async def write(self) -> None:
        """Write the answers that wait, after a write that is under way. Raises StoreError."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        if self._left_out:
            log.warning("answers.left_out", extra={"rows": self._left_out})
            self._left_out = 0
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            rows = await asyncio.to_thread(self._rows, waiting)
            await self._answers.add_rows(rows)
        except StoreError:
            self._waiting = [*waiting, *self._waiting][:MAX_UNWRITTEN]
            raise
        # another process may have been told outcomes before these answers were stored
        first = min(at for _, at in waiting)
        await self._outcomes.judge_since(first, {row["address"] for row in rows})

    def _rows(self, waiting: list[tuple[Verification, int]]) -> list[dict[str, object]]:
        rows = {}
        for verification, at in waiting:
            digest = self._answers.digest(verification.address)
            # of two in one second the later one counts
            rows[digest, verification.source, at] = {
                "address": digest,
                "source": verification.source,
                "at": _moment(at),
                "provider": provider_name(verification),
                "verdict": verification.verdict.value,
                "reason": verification.reason.value,
                "score": verification.score,
                "latency_ms": round(verification.duration_s * 1000),
                "micros": _cost_micros(verification) if verification.attempts else 0,
                "reply": _reply(verification),
            }
        return [rows[key] for key in sorted(rows)]


@lru_cache(maxsize=64)
def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _reply(verification: Verification) -> str | None:
    """The refusal that led to a verdict of the engine, without what is the address's own."""
    smtp = verification.evidence.smtp
    if verification.source != LOCAL_SOURCE or smtp is None or not smtp.text:
        return None
    if smtp.code is None or smtp.code < MIN_REFUSAL:
        return None
    text = reply_text(smtp.text, verification.address.normalized)
    enhanced = f"{smtp.enhanced} " if smtp.enhanced and smtp.enhanced not in text else ""
    return f"{smtp.code} {enhanced}{text}"


def _cost_micros(verification: Verification) -> int:
    """What the source was paid for it, of all attempts."""
    paid = (a.cost for a in verification.attempts if a.source == verification.source)
    return round(1_000_000 * sum(paid))
