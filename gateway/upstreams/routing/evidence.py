"""How right each source was, read from the database periodically for the strategy `measured`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from engine.model import Verdict
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.statistics import Share
from gateway.store import StoreError
from gateway.tasks import in_background

log = logging.getLogger(__name__)

REFRESH_EVERY_S = 10.0
PAUSE_PER_READ = 50
"""The next reading begins after so many times what the last one took, at the earliest."""
MAX_START_S = 2.0
"""How long a start waits for the first reading."""
JUDGED = (Verdict.DELIVERABLE, Verdict.UNDELIVERABLE)
"""The verdicts that mail can prove wrong."""


@dataclass(slots=True)
class SourceEvidence:
    """What is known of one source, about addresses of one provider."""

    answers: Counter[Verdict] = field(default_factory=Counter)
    """Its answers, by verdict."""
    judged: Counter[Verdict] = field(default_factory=Counter)
    """Of these the addresses whose mail arrived or bounced."""
    wrong: Counter[Verdict] = field(default_factory=Counter)
    """Of these, those of which mail proved the verdict wrong."""

    @property
    def wrong_share(self) -> Share:
        """Of all addresses that it called deliverable or undeliverable."""
        return Share(
            sum(self.wrong[verdict] for verdict in JUDGED),
            sum(self.judged[verdict] for verdict in JUDGED),
        )

    @property
    def undecided_share(self) -> Share:
        """The answers that were neither deliverable nor undeliverable."""
        count = self.answers.total()
        return Share(count - sum(self.answers[verdict] for verdict in JUDGED), count)


Evidence = Mapping[str, Mapping[str, SourceEvidence]]
"""By provider (empty: all together) and source."""


class EvidenceReader:
    """The evidence of a database, as last read."""

    def __init__(self, records: OutcomeRecords) -> None:
        self._records = records
        self.current: Evidence = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read periodically while inside. The first reading is waited for, for a moment."""
        has_read = asyncio.Event()
        async with in_background(self._read_periodically(has_read)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAX_START_S):
                    await has_read.wait()
            yield

    async def read(self) -> None:
        """Read anew. Raises StoreError."""
        evidence: defaultdict[str, defaultdict[str, SourceEvidence]]
        evidence = defaultdict(lambda: defaultdict(SourceEvidence))
        for tally in await self._records.tallies():
            if tally.verdict not in JUDGED:
                continue
            is_good = tally.verdict is Verdict.DELIVERABLE
            wrong = tally.bounced if is_good else tally.count - tally.bounced
            for provider in ("", tally.provider):
                each = evidence[provider][tally.source]
                each.judged[tally.verdict] += tally.count
                each.wrong[tally.verdict] += wrong
        for (source, provider, verdict), count in (await self._records.answer_counts()).items():
            for name in ("", provider):
                evidence[name][source].answers[verdict] += count
        self.current = {provider: dict(sources) for provider, sources in evidence.items()}

    async def _read_periodically(self, has_read: asyncio.Event) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.read()
            except StoreError as exc:
                log.warning("evidence.unread", extra={"error": str(exc)})
            has_read.set()
            took_s = time.monotonic() - began
            await asyncio.sleep(max(REFRESH_EVERY_S, PAUSE_PER_READ * took_s))
