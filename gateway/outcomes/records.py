"""Outcomes in the database, and the answers that they prove right or wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, func, select, text

from engine.model import Verdict
from gateway.outcomes.agreements import AgreementRecords
from gateway.outcomes.answers import LOOKED_UP_AT_ONCE, SourceAnswers, remove_rows_before
from gateway.outcomes.judging import SCORE_BAND, judge
from gateway.outcomes.reply_texts import reply_text
from gateway.outcomes.terms import MailOutcome
from gateway.settings import LOCAL_SOURCE
from gateway.store import Store
from gateway.store.tables import judged_answers, outcomes, source_answers

IS_WRONG = text("wrong = 1")
"""As the index has it that only rows with wrong verdicts are in."""
ROWS_PER_WRITE = 500
"""Outcomes in one transaction, which other writers wait for."""


@dataclass(frozen=True, slots=True)
class OutcomeTally:
    """Addresses of which one source said the same, and what became of mail to them."""

    source: str
    provider: str
    verdict: Verdict
    band: int
    """The lowest score of its band."""
    count: int
    bounced: int


@dataclass(frozen=True, slots=True)
class WrongReason:
    """A reason that one source gave for a verdict which mails proved wrong."""

    source: str
    verdict: Verdict
    reason: str
    code: str
    text: str
    """What the mail server said when the mail bounced; without addresses."""
    count: int


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """A reply that led to a verdict of the engine, and what became of mail to the addresses."""

    reply: str
    """Its code and its text, without what is an address's own."""
    verdict: Verdict
    reason: str
    count: int
    bounced: int


@dataclass(frozen=True, slots=True)
class BounceReply:
    """What mail servers said when mail to addresses bounced that the engine called deliverable."""

    code: str
    text: str
    count: int


class OutcomeRecords:
    """Every method may raise StoreError."""

    def __init__(self, store: Store, answers: SourceAnswers) -> None:
        self._store = store
        self._answers = answers
        self.agreements = AgreementRecords(store)

    async def add(self, given: Iterable[MailOutcome], service: str) -> int:
        """Keep outcomes that a service told; returns of how many an answer is known.

        The same outcome, told twice, is kept once.
        """
        # in a thread, since a hundred thousand take a second
        rows = await asyncio.to_thread(self._rows, given, service)
        for start in range(0, len(rows), ROWS_PER_WRITE):
            await self._add_rows(rows[start : start + ROWS_PER_WRITE])
        return await self._count_known({row["address"] for row in rows})

    def _rows(self, given: Iterable[MailOutcome], service: str) -> list[dict[str, object]]:
        rows: dict[tuple[bytes, str, datetime], dict[str, object]] = {}
        for each in given:
            digest = self._answers.digest(each.address)
            at = datetime.fromtimestamp(int(each.at), UTC)
            rows[digest, each.outcome.value, at] = {
                "address": digest,
                "outcome": each.outcome.value,
                "at": at,
                "service": service,
                "code": each.code,
                "text": reply_text(each.text, each.address.normalized),
            }
        return [rows[key] for key in sorted(rows)]

    async def _add_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        digests = list(dict.fromkeys(row["address"] for row in rows))
        async with self._store.write() as connection:
            await self._store.insert_rows(connection, outcomes, rows, or_update=True)
            await judge(self._store, connection, digests)

    async def judge_since(self, since: float, digests: Set[object]) -> None:
        """Judge the answers about these addresses anew that have an outcome since a Unix time."""
        moment = datetime.fromtimestamp(since, UTC)
        query = select(outcomes.c.address).where(outcomes.c.at >= moment).distinct()
        recent = {bytes(row.address) for row in await self._store.fetch_all(query)}
        both = sorted(digest for digest in recent if digest in digests)
        for start in range(0, len(both), ROWS_PER_WRITE):
            async with self._store.write() as connection:
                await judge(self._store, connection, both[start : start + ROWS_PER_WRITE])

    async def _count_known(self, digests: Iterable[object]) -> int:
        known, every = 0, list(digests)
        for at in range(0, len(every), LOOKED_UP_AT_ONCE):
            some = every[at : at + LOOKED_UP_AT_ONCE]
            column = source_answers.c.address
            query = select(func.count(column.distinct())).where(column.in_(some))
            known += int((await self._store.fetch_all(query))[0][0])
        return known

    async def count_joined(self, given: Iterable[MailOutcome]) -> int:
        """How many of these outcomes are of addresses that an answer is known of."""
        number = Counter(self._answers.digest(each.address) for each in given)
        digests, column = list(number), source_answers.c.address
        joined = 0
        for at in range(0, len(digests), LOOKED_UP_AT_ONCE):
            query = (
                select(column).where(column.in_(digests[at : at + LOOKED_UP_AT_ONCE])).distinct()
            )
            rows = await self._store.fetch_all(query)
            joined += sum(number[bytes(row.address)] for row in rows)
        return joined

    async def tallies(self) -> list[OutcomeTally]:
        """What became of mail to the addresses of each source, provider, verdict and score."""
        j = judged_answers.c
        groups = (j.source, j.provider, j.verdict, j.band)
        query = select(
            *groups, func.count().label("number"), func.sum(j.bounced).label("bounces")
        ).group_by(*groups)
        return [
            OutcomeTally(
                source=row.source,
                provider=row.provider,
                verdict=Verdict(row.verdict),
                band=row.band * SCORE_BAND,
                count=int(row.number),
                bounced=int(row.bounces),
            )
            for row in await self._store.fetch_all(query)
        ]

    async def answer_counts(self) -> dict[tuple[str, str, Verdict], int]:
        """How often each source gave each verdict, by source, provider and verdict."""
        groups = (source_answers.c.source, source_answers.c.provider, source_answers.c.verdict)
        query = select(*groups, func.count().label("number")).group_by(*groups)
        return {
            (row.source, row.provider, Verdict(row.verdict)): int(row.number)
            for row in await self._store.fetch_all(query)
        }

    async def wrong_reasons(self, limit: int) -> list[WrongReason]:
        """The reasons for verdicts that were wrong, the most frequent first."""
        j = judged_answers.c
        groups = (j.source, j.verdict, j.reason, j.code, j.text)
        query = (
            select(*groups, func.count().label("number"))
            .where(IS_WRONG)
            .group_by(*groups)
            .order_by(func.count().desc(), *groups)
            .limit(limit)
        )
        return [
            WrongReason(
                row.source, Verdict(row.verdict), row.reason, row.code, row.text, int(row.number)
            )
            for row in await self._store.fetch_all(query)
        ]

    async def wrong_replies(self, limit: int) -> list[JudgedReply]:
        """The replies that led the engine to "undeliverable" although mail arrived, or to no
        decision although the outcome is known; those with most of these addresses first."""
        j = judged_answers.c
        groups = (j.reply, j.verdict, j.reason)
        is_undeliverable = j.verdict == Verdict.UNDELIVERABLE.value
        wrong = func.sum(case((is_undeliverable, 1 - j.bounced), else_=1))
        query = (
            select(*groups, func.count().label("number"), func.sum(j.bounced).label("bounces"))
            .where(j.source == LOCAL_SOURCE, j.reply.is_not(None))
            .group_by(*groups)
            .having(wrong > 0)
            .order_by(wrong.desc(), *groups)
            .limit(limit)
        )
        return [
            JudgedReply(
                row.reply, Verdict(row.verdict), row.reason, int(row.number), int(row.bounces)
            )
            for row in await self._store.fetch_all(query)
        ]

    async def missed_bounces(self, limit: int) -> list[BounceReply]:
        """What mail servers said about addresses that the engine called deliverable."""
        j = judged_answers.c
        groups = (j.code, j.text)
        query = (
            select(*groups, func.count().label("number"))
            .where(
                IS_WRONG,
                j.source == LOCAL_SOURCE,
                j.verdict == Verdict.DELIVERABLE.value,
                j.text != "",
            )
            .group_by(*groups)
            .order_by(func.count().desc(), *groups)
            .limit(limit)
        )
        return [
            BounceReply(row.code, row.text, int(row.number))
            for row in await self._store.fetch_all(query)
        ]

    async def counts(self) -> Mapping[str, int]:
        """How many of each outcome are kept."""
        number = func.count().label("number")
        query = select(outcomes.c.outcome, number).group_by(outcomes.c.outcome)
        return {row.outcome: int(row.number) for row in await self._store.fetch_all(query)}

    async def remove_older(self, before: float) -> None:
        """Remove the outcomes from before a Unix time."""
        await remove_rows_before(self._store, outcomes, before)
        await remove_rows_before(self._store, judged_answers, before)
