"""The report of a comparison as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from engine.model import Verdict
from gateway.cli.tables import TableRow, print_table
from gateway.comparing.report import Report, SourceFigures
from gateway.comparing.words import mix
from gateway.outcomes import words

MAX_DIFFERENCES = 15
MAX_PROVIDERS = 8


def print_report(report: Report) -> None:
    """Print every part of it that has something to say."""
    for title, headings, rows in _parts(report):
        if rows:
            sys.stdout.write(f"\n{title}\n")
            print_table(rows, headings=headings)
    for line in _last_lines(report):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parts(report: Report) -> Iterator[tuple[str, Sequence[str], Sequence[TableRow]]]:
    yield (
        f"{report.addresses:,} addresses. Shares have their 95 % interval in brackets.",
        ("source", *(verdict.value for verdict in Verdict), "no answer"),
        [_verdict_cells(source) for source in report.sources],
    )
    yield (
        "Speed and cost",
        ("source", "median", "95 of 100", "cost", "per decided address", "known before"),
        [_cost_cells(source) for source in report.sources],
    )
    yield (
        "Agreement: the share with the same verdict, and Cohen's kappa (0: as by chance, 1: full)",
        ("sources", "same verdict", "kappa"),
        [
            (f"{p.first}, {p.second}", words.share(p.agreement.same), words.kappa(p.agreement))
            for p in report.pairs
        ],
    )
    yield (
        "Where they differ most",
        ("count", "provider", "sources", "say"),
        [
            (
                f"{d.count:,}",
                d.provider,
                f"{d.first}, {d.second}",
                f"{d.first_says}, {d.second_says}",
            )
            for d in report.differences[:MAX_DIFFERENCES]
        ],
    )
    shown = {"", *list(report.providers)[:MAX_PROVIDERS]}
    yield (
        f"{report.with_truth:,} addresses have a known outcome, {report.bounced:,} bounced",
        ("source", "provider", "undeliverable and bounced", "bounces found", "F1", "sent, bounced"),
        [
            (
                t.source,
                t.provider or "all",
                words.share(t.accuracy.precision),
                words.share(t.accuracy.recall),
                words.f1(t.accuracy),
                words.share(t.accuracy.bounced_of_deliverable),
            )
            for t in report.truth
            if t.provider in shown
        ],
    )
    yield (
        "Calibration: the share delivered by the source's score",
        ("source", "score", "delivered"),
        [
            (t.source, f"{band.low}-{band.high}", words.share(band.delivered))
            for t in report.truth
            for band in t.calibration
        ],
    )


def _verdict_cells(source: SourceFigures) -> TableRow:
    faults = ", ".join(f"{count:,} {fault}" for fault, count in source.faults.items())
    return (source.name, *map(words.share, source.verdicts.values()), faults or "-")


def _cost_cells(source: SourceFigures) -> TableRow:
    return (
        source.name,
        words.milliseconds(source.latency_p50_ms),
        words.milliseconds(source.latency_p95_ms),
        words.money(source.cost),
        words.money(source.cost_per_decided),
        f"{source.kept:,}",
    )


def _last_lines(report: Report) -> Iterator[str]:
    yield ""
    if chosen := mix(report):
        yield chosen
    for remark in report.remarks:
        yield f"Note: {remark}."
    for source in report.sources:
        if source.stopped_by:
            yield f"Note: {source.name} stopped answering: {source.stopped_by}."
    yield f"Spent in this run: {words.money(report.spent)}."
