"""What needs attention now, each with the command or the setting that helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.doctor.facts import RefusalHistory
from gateway.doctor.finding import Finding
from gateway.doctor.finding import Level as FindingLevel
from gateway.doctor.refusals import judge_refusals
from gateway.settings import LOCAL_SOURCE, Settings
from gateway.status.batches import StuckBatch, UndeliveredWebhooks
from gateway.status.sources import SourceState, SourceStatus

if TYPE_CHECKING:
    from engine.smtp.egress import Egress
    from gateway.reputation import RecentRefusals

NEARLY_SPENT = 0.8
"""The share of a budget from which it is mentioned."""
FEW_CREDITS = 500
"""Credits left at an upstream from which they are mentioned."""


class Level(StrEnum):
    """How much a notice matters. The values are classes of the console's styles."""

    BAD = "bad"
    """Verifications fail, or are worse, for it."""
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that needs attention."""

    level: Level
    title: str
    text: str
    command: str = ""
    """A command to run where the server runs, or a line of the settings."""
    section: str = ""
    """Where the console shows more: a path below `/console`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What notices are made of."""

    settings: Settings
    sources: Sequence[SourceStatus] = ()
    egresses: Iterable[Egress] = ()
    refusals: Sequence[RecentRefusals] = ()
    stuck: Sequence[StuckBatch] = ()
    webhooks: UndeliveredWebhooks | None = None
    not_ready: str | None = None
    findings: Sequence[Finding] = ()
    """Of the doctor, when it ran last."""


def find_notices(facts: Facts) -> list[Notice]:
    """The notices, the worst first."""
    found = [
        *_server(facts),
        *(notice for source in facts.sources for notice in _source(source)),
        *(notice for egress in facts.egresses for notice in _egress(egress)),
        *_refusals(facts.refusals),
        *_batches(facts),
        *_doctor(facts.findings),
    ]
    order = tuple(Level)
    return sorted(found, key=lambda notice: order.index(notice.level))


def _server(facts: Facts) -> Iterator[Notice]:
    if facts.not_ready is not None:
        yield Notice(
            Level.BAD,
            "The server is not ready",
            f"{facts.not_ready}.".capitalize(),
            "veriplex check",
        )
    sources = facts.sources
    if sources and all(each.state is SourceState.PAUSED for each in sources if each.routes):
        yield Notice(
            Level.BAD,
            "Every source is paused",
            "No address can be verified until one is resumed.",
            section="/sources",
        )
    uses_engine = any(each.is_local for each in sources)
    if uses_engine and facts.settings.engine.helo == "localhost":
        yield Notice(
            Level.WARN,
            "The engine has no name of its own",
            "It greets mail servers as localhost, which many of them refuse.",
            '[engine]\nhelo = "probe.example.com"',
            "/settings",
        )


def _source(source: SourceStatus) -> Iterator[Notice]:
    name = "The engine" if source.is_local else f"The source {source.name}"
    state = source.state
    match state:
        case SourceState.PAUSED:
            text = "An operator has paused it. Others answer in its place."
            yield Notice(Level.INFO, f"{name} is paused", text, section="/sources")
        case SourceState.RESTING:
            text = f"{source.why} A request tries it again soon."
            command = "veriplex upstreams check"
            yield Notice(Level.WARN, f"{name} rests", text, command, "/sources")
        case SourceState.BANNED | SourceState.KEY_REFUSED:
            word = "refuses us" if state is SourceState.BANNED else "refuses its key"
            text = f"{source.why} Ask the vendor, and check api_key of this upstream."
            yield Notice(Level.BAD, f"{name} {word}", text, "veriplex upstreams check", "/sources")
        case SourceState.NO_CREDITS:
            text = "Its account has no credits left; it is used again soon after they are bought."
            yield Notice(
                Level.BAD, f"{name} has no credits", text, "veriplex upstreams check", "/sources"
            )
    yield from _budgets(source, name)
    credits = source.credits
    if credits is not None and 0 < credits < FEW_CREDITS:
        text = f"The vendor reports {credits:,} credits."
        yield Notice(Level.WARN, f"{name} has few credits left", text, section="/sources")


def _budgets(source: SourceStatus, name: str) -> Iterator[Notice]:
    budgets = ("day", "daily_budget", source.day), ("month", "monthly_budget", source.month)
    for time, setting, budget in budgets:
        if budget.share < NEARLY_SPENT:
            continue
        is_spent = source.state is SourceState.OVER_BUDGET and budget.share > 1 - NEARLY_SPENT
        spent = f"{budget.spent:,.2f} of {budget.cap:,.2f} is spent in this {time} (UTC)."
        word = "has spent its budget" if is_spent and budget.share >= 1 else "nears its budget"
        yield Notice(
            Level.WARN,
            f"{name} {word}",
            f"{spent} Then the next source is asked.",
            f'[[upstreams]]\nname = "{source.name}"\n{setting} = {budget.cap * 2:g}',
            "/sources",
        )


def _egress(egress: Egress) -> Iterator[Notice]:
    health = egress.health
    if not health.left_s:
        return
    text = f"Its last fault: {health.reason or 'no mail host was reached'}."
    if egress.name == "default":
        text += " If port 25 is closed to this machine, no mail server can be asked."
    yield Notice(
        Level.BAD,
        f"The egress {egress.name} does not work",
        text,
        f"veriplex doctor --egress {egress.name}"
        if egress.name != "default"
        else "veriplex doctor",
        "/egress",
    )


def _refusals(refusals: Sequence[RecentRefusals]) -> Iterator[Notice]:
    if not refusals:
        return
    for finding in judge_refusals(RefusalHistory(refusals)):
        if finding.level is FindingLevel.FAIL:
            about = finding.about.replace("_", " ")
            title = f"Mail hosts refuse us: {about}" if about else "We are refused"
            text = f"{finding.said}. {finding.advice}"
            yield Notice(Level.BAD, title, text, "veriplex doctor", "/egress")


def _batches(facts: Facts) -> Iterator[Notice]:
    for batch in facts.stuck:
        text = (
            f"{batch.left:,} of its {batch.rows:,} addresses wait, and nothing of it was verified"
            f" for {batch.waits_s / 60:,.0f} min. The log says what the sources answer."
        )
        yield Notice(Level.WARN, f"Batch {batch.public_id} is stuck", text, section="/batches")
    if facts.webhooks is not None and facts.webhooks.failing:
        text = (
            f"{facts.webhooks.failing:,} have failed several times; the last answer was"
            f" {facts.webhooks.last_word or 'none'}. They are repeated until they are too old."
        )
        yield Notice(Level.WARN, "Webhooks are not delivered", text, section="/batches")


def _doctor(findings: Sequence[Finding]) -> Iterator[Notice]:
    """What the doctor found that nothing else here says."""
    for finding in findings:
        if finding.level is FindingLevel.FAIL and finding.check != "refused":
            about = f" ({finding.about})" if finding.about else ""
            egress = f" by the egress {finding.egress}" if finding.egress else ""
            yield Notice(
                Level.BAD,
                f"The doctor: {finding.check}{about}{egress}",
                f"{finding.said}. {finding.advice}",
                "veriplex doctor",
                "/settings",
            )


def uses_engine(settings: Settings) -> bool:
    """Whether a route has the local engine."""
    routes = (settings.routing, *settings.routes)
    return any(LOCAL_SOURCE in settings.sources_of(route) for route in routes)
