"""Outcomes in the database, and the answers that they prove right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, Join, Select, and_, case, delete, func, select

from engine.model import Verdict
from gateway.outcomes.answers import LOOKED_UP_AT_ONCE, SourceAnswers
from gateway.outcomes.terms import ARRIVED, BOUNCED, MailOutcome
from gateway.store import Store
from gateway.store.tables import outcomes, source_answers

SCORE_BAND = 10
"""The width of the bands of scores in which outcomes are counted."""


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


class OutcomeRecords:
    """Every method may raise StoreError."""

    def __init__(self, store: Store, answers: SourceAnswers) -> None:
        self._store = store
        self._answers = answers

    async def add(self, given: Iterable[MailOutcome], service: str) -> int:
        """Keep outcomes that a service told; returns of how many an answer is known.

        The same outcome, told twice, is kept once.
        """
        rows = {}
        for each in given:
            digest = self._answers.digest(each.address)
            at = datetime.fromtimestamp(int(each.at), UTC)
            rows[digest, each.outcome.value, at] = {
                "address": digest,
                "outcome": each.outcome.value,
                "at": at,
                "service": service,
                "code": each.code,
                "text": each.text,
            }
        async with self._store.write() as connection:
            ordered = [rows[key] for key in sorted(rows)]
            await self._store.insert_rows(connection, outcomes, ordered, or_update=True)
        return await self._count_known({row["address"] for row in rows.values()})

    async def _count_known(self, digests: Iterable[object]) -> int:
        known, every = 0, list(digests)
        for at in range(0, len(every), LOOKED_UP_AT_ONCE):
            some = every[at : at + LOOKED_UP_AT_ONCE]
            column = source_answers.c.address
            query = select(func.count(column.distinct())).where(column.in_(some))
            known += int((await self._store.fetch_all(query))[0][0])
        return known

    async def tallies(self) -> list[OutcomeTally]:
        """What became of mail to the addresses of each source, provider, verdict and score."""
        judged = _judged().subquery()
        query = select(
            judged.c.source,
            judged.c.provider,
            judged.c.verdict,
            judged.c.band,
            func.count().label("count"),
            func.sum(judged.c.bounced).label("bounced"),
        ).group_by(judged.c.source, judged.c.provider, judged.c.verdict, judged.c.band)
        async with self._store.read() as connection:
            return [
                OutcomeTally(
                    source=row.source,
                    provider=row.provider,
                    verdict=Verdict(row.verdict),
                    band=row.band * SCORE_BAND,
                    count=int(row[4]),
                    bounced=int(row[5]),
                )
                for row in await connection.execute(query)
            ]

    async def wrong_reasons(self, limit: int) -> list[WrongReason]:
        """The reasons for verdicts that were wrong, the most frequent first."""
        wrongly_bad = and_(
            source_answers.c.verdict == Verdict.UNDELIVERABLE.value,
            outcomes.c.outcome.in_([each.value for each in ARRIVED]),
        )
        wrongly_good = and_(
            source_answers.c.verdict == Verdict.DELIVERABLE.value,
            outcomes.c.outcome.in_([each.value for each in BOUNCED]),
        )
        columns = (
            source_answers.c.source,
            source_answers.c.verdict,
            source_answers.c.reason,
            outcomes.c.code,
            outcomes.c.text,
        )
        count = func.count(outcomes.c.address.distinct())
        query = (
            select(*columns, count)
            .select_from(_joined())
            .where(wrongly_bad | wrongly_good)
            .group_by(*columns)
            .order_by(count.desc(), *columns)
            .limit(limit)
        )
        async with self._store.read() as connection:
            return [
                WrongReason(row[0], Verdict(row[1]), row[2], row[3], row[4], int(row[5]))
                for row in await connection.execute(query)
            ]

    async def counts(self) -> Mapping[str, int]:
        """How many of each outcome are kept."""
        number = func.count().label("number")
        query = select(outcomes.c.outcome, number).group_by(outcomes.c.outcome)
        return {row.outcome: int(row.number) for row in await self._store.fetch_all(query)}

    async def remove_older(self, before: float) -> None:
        """Remove the outcomes from before a Unix time."""
        moment = datetime.fromtimestamp(before, UTC)
        async with self._store.write() as connection:
            await connection.execute(delete(outcomes).where(outcomes.c.at < moment))


def _joined() -> Join:
    """Each outcome with the newest answer of each source from before it."""
    earlier = source_answers.alias()
    newest = (
        select(func.max(earlier.c.at))
        .where(
            earlier.c.address == outcomes.c.address,
            earlier.c.source == source_answers.c.source,
            earlier.c.at <= outcomes.c.at,
        )
        .scalar_subquery()
    )
    return outcomes.join(
        source_answers,
        and_(source_answers.c.address == outcomes.c.address, source_answers.c.at == newest),
    )


def _judged() -> Select[Any]:
    """A row an address and source: an address bounced if any mail to it did."""
    answer = source_answers.c
    bounced = case((outcomes.c.outcome.in_([each.value for each in BOUNCED]), 1), else_=0)
    band = case(
        (answer.score >= 100, 100 // SCORE_BAND - 1), else_=answer.score // SCORE_BAND
    ).cast(Integer)
    conclusive = [each.value for each in ARRIVED | BOUNCED]
    return (
        select(
            answer.source,
            answer.provider,
            answer.verdict,
            band.label("band"),
            func.max(bounced).label("bounced"),
        )
        .select_from(_joined())
        .where(outcomes.c.outcome.in_(conclusive))
        .group_by(outcomes.c.address, answer.source, answer.provider, answer.verdict, band)
    )
