"""Opens what records answers and outcomes, by the settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from engine.model import Verification
from gateway.outcomes.answers import open_answers
from gateway.outcomes.recorder import AnswerRecorder
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.terms import MailOutcome
from gateway.settings.model import OutcomesSettings
from gateway.store import Store

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class OutcomeServices:
    """Answers and outcomes of one database."""

    records: OutcomeRecords
    recorder: AnswerRecorder | None
    """None if nothing is kept."""

    @property
    def is_kept(self) -> bool:
        return self.recorder is not None

    def record_answer(self, verification: Verification) -> None:
        """Record a new verification, a little later."""
        if self.recorder is not None:
            self.recorder.record(verification)

    async def add(self, outcomes: Iterable[MailOutcome], service: str) -> int:
        """Keep outcomes; returns of how many an answer is known. Raises StoreError."""
        await self.write()  # an outcome is joined with the answers that are stored
        return await self.records.add(outcomes, service)

    async def write(self) -> None:
        """Write what waits. Raises StoreError."""
        if self.recorder is not None:
            await self.recorder.write()


@contextlib.asynccontextmanager
async def open_outcomes(
    outcomes: OutcomesSettings, store: Store, *, clock: Callable[[], float]
) -> AsyncIterator[OutcomeServices]:
    """Answers are written, and old ones removed, while inside. Raises StoreError."""
    answers = await open_answers(store)
    records = OutcomeRecords(store, answers)
    if not outcomes.keep_days:
        yield OutcomeServices(records, None)
        return
    keep_s = outcomes.keep_days * DAY_S
    recorder = AnswerRecorder(answers, records, keep_s=keep_s, clock=clock)
    async with recorder.periodic_writes().running():
        yield OutcomeServices(records, recorder)
