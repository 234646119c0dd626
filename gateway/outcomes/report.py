"""How right each source was, by what became of the mails."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model import Verdict
from gateway.outcomes.agreements import AgreementFigures
from gateway.outcomes.judging import SCORE_BAND
from gateway.outcomes.records import OutcomeRecords, OutcomeTally, WrongReason
from gateway.outcomes.statistics import ScoreBand, Share


@dataclass(frozen=True, slots=True)
class VerdictFigures:
    """Addresses of one provider that a source gave one verdict."""

    source: str
    provider: str
    """Empty for all providers."""
    verdict: Verdict
    bounced: Share


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """How right each source was."""

    outcomes: Mapping[str, int]
    """How many of each outcome are kept."""
    verdicts: Sequence[VerdictFigures]
    calibration: Mapping[str, Sequence[ScoreBand]]
    """The share delivered by score, for each source."""
    wrong: Sequence[WrongReason]
    agreement: Sequence[AgreementFigures] = ()
    """How often shadow sources agree with those that clients heard."""


async def read_report(records: OutcomeRecords, max_wrong: int) -> OutcomeReport:
    """The report of a database, with so many reasons for wrong verdicts. Raises StoreError."""
    return make_report(
        await records.counts(),
        await records.tallies(),
        await records.wrong_reasons(max_wrong),
        await records.agreements.figures(),
    )


def make_report(
    counts: Mapping[str, int],
    tallies: Iterable[OutcomeTally],
    wrong: Sequence[WrongReason],
    agreement: Sequence[AgreementFigures] = (),
) -> OutcomeReport:
    """The figures of all sources; of each over all providers first, then the largest provider."""
    sent, bounced = Counter[tuple[str, str, Verdict]](), Counter[tuple[str, str, Verdict]]()
    by_band: defaultdict[str, Counter[int]] = defaultdict(Counter)
    delivered: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for each in tallies:
        for provider in ("", each.provider):
            sent[each.source, provider, each.verdict] += each.count
            bounced[each.source, provider, each.verdict] += each.bounced
        by_band[each.source][each.band] += each.count
        delivered[each.source][each.band] += each.count - each.bounced
    per_provider = Counter[tuple[str, str]]()
    for (source, provider, _), count in sent.items():
        per_provider[source, provider] += count
    order = list(Verdict)
    keys = sorted(
        sent,
        key=lambda key: (key[0], key[1] != "", -per_provider[key[:2]], key[1], order.index(key[2])),
    )
    return OutcomeReport(
        outcomes=counts,
        verdicts=[VerdictFigures(*key, bounced=Share(bounced[key], sent[key])) for key in keys],
        calibration={
            source: [_band(low, delivered[source][low], bands[low]) for low in sorted(bands)]
            for source, bands in sorted(by_band.items())
        },
        wrong=wrong,
        agreement=agreement,
    )


def _band(low: int, delivered: int, count: int) -> ScoreBand:
    high = 100 if low + SCORE_BAND == 100 else low + SCORE_BAND - 1
    return ScoreBand(low, high, Share(delivered, count))


def report_as_dict(report: OutcomeReport) -> dict[str, Any]:
    """The report for programs; every share has its count and its interval of 95 %."""
    return {
        "outcomes": dict(report.outcomes),
        "verdicts": [
            {
                "source": row.source,
                "provider": row.provider or None,
                "verdict": row.verdict.value,
                "bounced": share_as_dict(row.bounced),
            }
            for row in report.verdicts
        ],
        "calibration": [
            {
                "source": source,
                "score_from": band.low,
                "score_to": band.high,
                "delivered": share_as_dict(band.delivered),
            }
            for source, bands in report.calibration.items()
            for band in bands
        ],
        "wrong": [
            {
                "source": row.source,
                "verdict": row.verdict.value,
                "reason": row.reason,
                "code": row.code or None,
                "text": row.text or None,
                "count": row.count,
            }
            for row in report.wrong
        ],
        "agreement": [agreement_as_dict(row) for row in report.agreement],
    }


def agreement_as_dict(row: AgreementFigures) -> dict[str, Any]:
    low, high = row.agreement.kappa_interval or (None, None)
    return {
        "shadow": row.shadow,
        "source": row.source,
        "provider": row.provider or None,
        "same": share_as_dict(row.agreement.same),
        "kappa": row.agreement.kappa,
        "kappa_low": low,
        "kappa_high": high,
        "verdicts": [
            {"shadow": shadow.value, "source": source.value, "count": count}
            for (shadow, source), count in sorted(row.verdicts.items())
        ],
    }


def share_as_dict(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {
        "hits": share.hits,
        "count": share.count,
        "share": share.value,
        "low": low,
        "high": high,
        "too_few": share.is_few,
    }
