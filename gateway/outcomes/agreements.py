"""How often the verdicts of shadow sources agree with those that clients got."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select

from engine.model import Verdict
from gateway.errors import StorageUnavailable
from gateway.outcomes.statistics import Agreement, agreement_of_counts
from gateway.store import Store, StoreError
from gateway.store.tables import shadow_agreement
from gateway.tasks import PeriodicWrites

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
PURGE_EVERY_S = 3600.0


class VerdictPair(NamedTuple):
    """What a shadow source and the source that a client heard made of one address."""

    shadow: str
    source: str
    provider: str
    """The operator of the mail hosts."""
    shadow_verdict: Verdict
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """How often a shadow source agrees with a source, about addresses of one provider."""

    shadow: str
    source: str
    provider: str
    """Empty for all providers."""
    agreement: Agreement
    verdicts: Mapping[tuple[Verdict, Verdict], int]
    """How often each pair of verdicts occurred, that of the shadow source first."""


class AgreementRecords:
    """The agreement in a database. Every method may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, counts: Mapping[tuple[str, VerdictPair], int]) -> None:
        """Add up pairs of verdicts, by day (`YYYY-MM-DD`) and pair."""
        columns = [column.name for column in shadow_agreement.columns]
        async with self._store.write() as connection:
            for (day, pair), count in sorted(counts.items()):
                row = dict(zip(columns, (day, *map(str, pair), count), strict=True))
                insert = self._store.insert(shadow_agreement).values(row)
                await connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=columns[:-1],
                        set_={"count": shadow_agreement.c.count + insert.excluded.count},
                    )
                )

    async def counts(self) -> dict[VerdictPair, int]:
        """How often each pair of verdicts occurred, on all days that are kept."""
        key = [shadow_agreement.c[name] for name in VerdictPair._fields]
        query = select(*key, func.sum(shadow_agreement.c.count).label("n")).group_by(*key)
        return {
            VerdictPair(
                row.shadow,
                row.source,
                row.provider,
                Verdict(row.shadow_verdict),
                Verdict(row.verdict),
            ): int(row.n)
            for row in await self._store.fetch_all(query)
        }

    async def figures(self) -> list[AgreementFigures]:
        """The agreement of all shadow sources."""
        return make_agreement(await self.counts())

    async def remove_older(self, before: float) -> None:
        """Remove the days that ended before a Unix time."""
        old = shadow_agreement.c.day < _day(before)
        async with self._store.write() as connection:
            await connection.execute(delete(shadow_agreement).where(old))


class AgreementRecorder:
    """Collects pairs of verdicts, and writes them together. `clock` is Unix time in seconds."""

    def __init__(
        self, records: AgreementRecords, *, keep_s: float, clock: Callable[[], float]
    ) -> None:
        self._records = records
        self._keep_s = keep_s
        self._clock = clock
        self._waiting = Counter[tuple[str, VerdictPair]]()
        self._writing = asyncio.Lock()

    def record(self, pair: VerdictPair) -> None:
        """Count a pair with the next write."""
        self._waiting[_day(self._clock()), pair] += 1

    def periodic_writes(self) -> PeriodicWrites:
        """What writes the pairs that wait, and removes those that are too old."""
        return PeriodicWrites(
            self.write,
            self._report_failure,
            every_s=WRITE_EVERY_S,
            purge=self.purge,
            purge_every_s=PURGE_EVERY_S,
        )

    async def write(self) -> None:
        """Write the pairs that wait, after a write that is under way. Raises StoreError."""
        async with self._writing:
            waiting, self._waiting = self._waiting, Counter()
            if not waiting:
                return
            try:
                await self._records.add(waiting)
            except StoreError:
                self._waiting.update(waiting)
                raise

    async def purge(self) -> None:
        """Remove what is too old. Raises StoreError."""
        await self._records.remove_older(self._clock() - self._keep_s)

    def _report_failure(self, error: StorageUnavailable, is_last: bool) -> None:
        extra = {"pairs": self._waiting.total(), "error": str(error)}
        if is_last:
            log.warning("agreement.lost", extra=extra)
        else:
            log.warning("agreement.write_delayed", extra=extra)


def make_agreement(counts: Mapping[VerdictPair, int]) -> list[AgreementFigures]:
    """The figures of each pair of sources; over all providers first, then the largest provider."""
    cells: defaultdict[tuple[str, str, str], Counter[tuple[Verdict, Verdict]]]
    cells = defaultdict(Counter)
    for pair, count in counts.items():
        for provider in ("", pair.provider):
            cells[pair.shadow, pair.source, provider][pair.shadow_verdict, pair.verdict] += count
    order = sorted(
        cells, key=lambda key: (key[0], key[1], key[2] != "", -cells[key].total(), key[2])
    )
    return [AgreementFigures(*key, _agreement(cells[key]), cells[key]) for key in order]


def _agreement(cells: Mapping[tuple[Verdict, Verdict], int]) -> Agreement:
    return agreement_of_counts(Counter[tuple[Hashable, Hashable]](cells))


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
