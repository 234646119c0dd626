"""Opens what records answers and outcomes, by the settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace

from engine.model import Verification
from gateway.outcomes.agreements import AgreementRecorder, VerdictPair
from gateway.outcomes.answers import open_answers
from gateway.outcomes.events.receiver import Fetch, MailEvents
from gateway.outcomes.events.tokens import EventTokens
from gateway.outcomes.figures import OutcomeFigures
from gateway.outcomes.recorder import AnswerRecorder, provider_of_either
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.terms import MailOutcome
from gateway.settings.storage import OutcomesSettings
from gateway.store import Store
from gateway.tasks import in_background

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class OutcomeServices:
    """Answers and outcomes of one database."""

    records: OutcomeRecords
    figures: OutcomeFigures
    recorder: AnswerRecorder | None
    """None if nothing is kept."""
    agreement: AgreementRecorder | None
    """Likewise."""
    events: MailEvents | None = None
    """Those of mail services; None if nothing is kept."""

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

    def record_shadow(self, verification: Verification, shadow: Verification) -> None:
        """Record what a shadow source answered about an address of which a client got
        `verification`."""
        if self.recorder is None or self.agreement is None:
            return
        self.recorder.record(shadow)
        pair = VerdictPair(
            shadow=shadow.source,
            source=verification.source,
            provider=provider_of_either(verification, shadow),
            shadow_verdict=shadow.verdict,
            verdict=verification.verdict,
        )
        self.agreement.record(pair)

    async def write(self) -> None:
        """Write what waits. Raises StoreError."""
        if self.recorder is not None:
            await self.recorder.write()
        if self.agreement is not None:
            await self.agreement.write()


@contextlib.asynccontextmanager
async def open_outcomes(
    outcomes: OutcomesSettings, store: Store, fetch: Fetch, *, clock: Callable[[], float]
) -> AsyncIterator[OutcomeServices]:
    """Answers are written, and old ones removed, while inside. Raises StoreError.

    `fetch` fetches the certificates that events are signed with.
    """
    answers = await open_answers(store)
    records = OutcomeRecords(store, answers)
    figures = OutcomeFigures(records)
    if not outcomes.keep_days:
        yield OutcomeServices(records, figures, None, None)
        return
    keep_s = outcomes.keep_days * DAY_S
    recorder = AnswerRecorder(answers, records, keep_s=keep_s, clock=clock)
    agreement = AgreementRecorder(records.agreements, keep_s=keep_s, clock=clock)
    services = OutcomeServices(records, figures, recorder, agreement)
    events = MailEvents(outcomes, services.add, EventTokens(store), fetch, clock=clock)
    async with (
        recorder.periodic_writes().running(),
        agreement.periodic_writes().running(),
        in_background(figures.refresh_periodically()),
    ):
        yield replace(services, events=events)
