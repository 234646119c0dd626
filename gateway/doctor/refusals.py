"""Findings about recent refusals, one for each cause, since a cause has one remedy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.model import Meaning
from engine.smtp.meanings import REFUSAL_WEIGHTS
from engine.smtp.reputation import REFUSALS_UNTIL_HOST_PAUSED
from engine.smtp.terms import DEFAULT_EGRESS
from gateway.doctor.facts import RefusalHistory
from gateway.doctor.finding import Finding, Level, ok, warn
from gateway.doctor.remedies import ADVICE, REMOVAL_PAGES, removal_advice
from gateway.reputation import RECENT_DAYS, RecentRefusals

CHECK = "refused"
MAX_CAUSES = 15
"""Most findings; the most severe come first."""

_DESCRIPTIONS: dict[Meaning, str] = {
    Meaning.IP_BLOCKED: "our address is blocked, and no list is named",
    Meaning.RDNS_REQUIRED: "our address has no acceptable PTR record",
    Meaning.HELO_REJECTED: "engine.helo is not accepted",
    Meaning.SENDER_AUTH_FAILED: "SPF is said to forbid our address to use engine.mail_from",
    Meaning.SENDER_REJECTED: "engine.mail_from is not accepted",
    Meaning.POLICY: "a local policy rejects us, or the recipients",
    Meaning.AUTH_REQUIRED: "authentication is required",
    Meaning.TLS_REQUIRED: "TLS is required",
    Meaning.THROTTLED: "we are rate limited",
}


def judge_refusals(fact: RefusalHistory) -> list[Finding]:
    """A finding for each cause of refusals in the last days; the most severe first."""
    days = f"in the last {RECENT_DAYS} days"
    if fact.error:
        text = f"the counts could not be read: {fact.error}"
        return [warn(CHECK, "", text, "See the database below, then run the doctor again.")]
    if not fact.is_kept:
        return [ok(CHECK, "", f"no refusals are counted yet: {fact.not_kept_because}")]
    if not fact.recent:
        return [ok(CHECK, "", f"no mail host refused us {days}")]
    causes: dict[str, list[RecentRefusals]] = {}
    for one in fact.recent:
        causes.setdefault(_cause(one), []).append(one)
    found = [_finding(cause, refused) for cause, refused in causes.items()]
    found.sort(key=_severity, reverse=True)
    if more := found[MAX_CAUSES:]:
        text = f"{len(more)} more causes"
        found[MAX_CAUSES:] = [warn(CHECK, "", text, "See /veriplex/v1/standing for all of them.")]
    return found


def refuser_lines(refuser: RecentRefusals, now: float, *, is_only: bool) -> list[str]:
    """One operator's refusals: how many, since when, whether it is paused, and its last reply.

    `now` is Unix time in seconds. With `is_only` the finding is about no other operator, and has
    its name and counts already.
    """
    ago = _format_ago(now - refuser.last_at.timestamp())
    pieces = [] if is_only else [f"{refuser.operator} {_format_counts(refuser.day, refuser.week)}"]
    if refuser.egress != DEFAULT_EGRESS:
        pieces.append(f"by the egress {refuser.egress}")
    if refuser.since < refuser.last_at:
        pieces.append(f"since {refuser.since:%Y-%m-%d %H:%M} UTC, last {ago}")
    else:
        pieces.append(ago)
    if refuser.paused_s:
        whom = {0: "", 1: "one host "}.get(refuser.paused_hosts, f"{refuser.paused_hosts} hosts ")
        pieces.append(f"{whom}paused for {_format_span(refuser.paused_s)} more")
    words = [f"  {refuser.host}: {refuser.text}"] if refuser.text else []
    return ["; ".join(pieces), *words]


def _severity(finding: Finding) -> tuple[bool, int, int]:
    refused = finding.refusals
    fails = finding.level is Level.FAIL
    return fails, sum(one.day for one in refused), sum(one.week for one in refused)


def _cause(one: RecentRefusals) -> str:
    if one.block_list:
        return one.block_list
    if one.meaning is Meaning.IP_BLOCKED and one.operator in REMOVAL_PAGES:
        return one.operator
    return one.meaning.value


def _finding(cause: str, refused: Sequence[RecentRefusals]) -> Finding:
    first = refused[0]
    day, week = sum(r.day for r in refused), sum(r.week for r in refused)
    operators = len({r.operator for r in refused})
    who = first.operator if operators == 1 else f"{operators:,} operators"
    if cause == first.meaning:
        what, advice = _DESCRIPTIONS[first.meaning], ADVICE[first.meaning]
    else:
        own = cause == first.operator
        what = "it blocks our address" if own else f"our address is on the list {cause}"
        advice = removal_advice(cause)
    stopping = any(REFUSAL_WEIGHTS[r.meaning] == 1 for r in refused)
    bad = stopping and (day >= REFUSALS_UNTIL_HOST_PAUSED or any(r.paused_s for r in refused))
    level = Level.FAIL if bad else Level.WARN
    return Finding(
        CHECK,
        cause,
        level,
        f"{who} refused us {_format_counts(day, week)}: {what}",
        advice,
        tuple(refused),
    )


def _format_counts(day: int, week: int) -> str:
    often = "once" if (day or week) == 1 else f"{day or week:,} times"
    if not day:
        return f"{often} in {RECENT_DAYS} days, not in the last 24 hours"
    return f"{often} in 24 hours" + (f", {week:,} in {RECENT_DAYS} days" if week > day else "")


_UNITS: tuple[tuple[int, str], ...] = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def _format_span(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 d`."""
    unit_s, unit = next((u for u in _UNITS if seconds >= 2 * u[0]), _UNITS[-1])
    return f"{math.ceil(seconds / unit_s)} {unit}"


def _format_ago(seconds: float) -> str:
    return "just now" if seconds < 5 else f"{_format_span(seconds)} ago"
