"""The report of a comparison as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

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
        ("source", "verdict", "share"),
        [row for source in report.sources for row in _verdict_rows(source)],
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
    # two tables, each of which fits 80 columns
    truth = [t for t in report.truth if t.provider in shown]
    yield (
        f"{report.with_truth:,} addresses have a known outcome, {report.bounced:,} bounced",
        ("source", "provider", "sent, bounced", "undeliverable, bounced"),
        [
            (
                t.source,
                t.provider or "all",
                words.share(t.accuracy.bounced_of_deliverable),
                words.share(t.accuracy.precision),
            )
            for t in truth
        ],
    )
    yield (
        "Bounces that were found",
        ("source", "provider", "found", "F1"),
        [
            (t.source, t.provider or "all", words.share(t.accuracy.recall), words.f1(t.accuracy))
            for t in truth
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


def _verdict_rows(source: SourceFigures) -> Iterator[TableRow]:
    for verdict, share in source.verdicts.items():
        yield source.name, verdict, words.share(share)
    for fault, count in source.faults.items():
        yield source.name, "no answer", f"{count:,} {fault}"


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
