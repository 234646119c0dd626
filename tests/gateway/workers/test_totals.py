"""The metrics of several processes as those of one."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from gateway.workers.totals import GAUGES, Families, FamiliesCollector, Totals, to_families


def process(requests: int, memory: float, credits: float, rows_left: float) -> Families:
    """The report of a process, as it comes through the channel."""
    registry = CollectorRegistry()
    counter = Counter("requests", "Requests.", ("status",), registry=registry)
    seconds = Histogram("seconds", "Time.", buckets=(1, 2), registry=registry)
    for _ in range(requests):
        counter.labels("200").inc()
        seconds.observe(1.5)
    for name, value in (
        ("process_resident_memory_bytes", memory),
        ("veriplex_upstream_credits", credits),
        ("veriplex_batch_rows_left", rows_left),
    ):
        Gauge(name, "A gauge.", registry=registry).set(value)
    Info("veriplex_build", "Version.", registry=registry).info({"version": "1"})
    families: Families = orjson.loads(orjson.dumps(to_families(registry.collect())))
    return families


def lines(totals: Totals) -> list[str]:
    text = generate_latest(FamiliesCollector(totals.families()))
    return [line for line in text.decode().splitlines() if "_created" not in line]


def test_what_is_counted_is_added_and_gauges_by_what_they_say() -> None:
    text = lines(Totals([process(3, 100, 7, 50), process(4, 10, 9, 50)]))
    assert 'requests_total{status="200"} 7.0' in text
    assert 'seconds_bucket{le="1.0"} 0.0' in text
    assert 'seconds_bucket{le="2.0"} 7.0' in text
    assert "seconds_sum 10.5" in text
    assert "process_resident_memory_bytes 110.0" in text
    assert "veriplex_upstream_credits 7.0" in text
    assert "veriplex_batch_rows_left 50.0" in text  # of the database that both share
    assert 'veriplex_build_info{version="1"} 1.0' in text


def test_one_process_is_written_as_it_would_write_itself() -> None:
    registry = CollectorRegistry()
    Counter("requests", 'With "quotes"\nand lines.', ("a",), registry=registry).labels('x"y').inc()
    Histogram("seconds", "Time.", registry=registry).observe(0.3)
    own = generate_latest(registry).decode()
    assert "\n".join(lines(Totals([to_families(registry.collect())]))) == "\n".join(
        line for line in own.splitlines() if "_created" not in line
    )


def test_of_a_process_that_ended_only_what_it_counted_stays() -> None:
    totals = Totals([process(1, 100, 7, 50)])
    totals.add(process(2, 1_000, 3, 90), ended=True)
    text = lines(totals)
    assert 'requests_total{status="200"} 3.0' in text
    assert "seconds_count 3.0" in text
    assert "process_resident_memory_bytes 100.0" in text
    assert "veriplex_upstream_credits 7.0" in text
    assert "veriplex_batch_rows_left 50.0" in text


GREATEST = {
    "veriplex_batch_rows_left",
    "veriplex_batches",
    "veriplex_circuit",
    "veriplex_egress_resting",
    "veriplex_judged_addresses",
    "veriplex_paused_operators",
    "veriplex_processes",
    "veriplex_shadow_agreement",
    "veriplex_upstream_banned",
    "veriplex_upstream_dead_keys",
}
"""Gauges of which the greatest value is the right one: what is in the database that all share, and
what is the case in some process."""


def test_somebody_has_decided_how_each_gauge_is_combined() -> None:
    packages = (Path(__file__).parents[3] / name for name in ("engine", "gateway"))
    sources = [file.read_text() for package in packages for file in package.rglob("*.py")]
    pattern = re.compile(r"Gauge(?:MetricFamily)?\(\s*\"(\w+)\"")
    gauges = {name for source in sources for name in pattern.findall(source)}
    assert len(gauges) >= 10
    assert gauges - GREATEST == GAUGES.keys() - {name for name in GAUGES if "process_" in name[:8]}
