"""The figures of a comparison as words. Pure."""

from __future__ import annotations

from gateway.comparing.report import Report
from gateway.outcomes.words import money, percent, share


def mix(report: Report) -> str:
    """The cheapest mix that reaches the wished bounce rate, or that none does; empty without it."""
    if report.wished_bounce_rate is None:
        return ""
    wished = percent(report.wished_bounce_rate)
    found = report.mix
    if found is None:
        return f"No mix of these sources surely stays below a bounce rate of {wished}."
    return (
        f"Cheapest mix that surely stays below a bounce rate of {wished}:"
        f" {', then '.join(found.sources)}. It sends to {share(found.sent)} addresses,"
        f" of which bounced {share(found.bounced)}, for {money(found.cost)} an address."
    )
