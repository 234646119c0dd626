"""Figures as words, for terminals and pages. Pure."""

from __future__ import annotations

from gateway.outcomes.statistics import Accuracy, Agreement, Share

TOO_FEW = "too few"


def percent(value: float) -> str:
    """`2.1 %`, with as many digits as say something."""
    shown = 100 * value
    return f"{shown:.0f} %" if shown in (0, 100) or shown >= 99.95 else f"{shown:.1f} %"


def share(found: Share) -> str:
    """`98.2 % of 1,204 (97.3 to 98.8)`; of few cases their numbers, and that they are few."""
    if not found.count:
        return "none"
    low, high = (100 * limit for limit in found.interval)
    if found.is_few:
        return f"{found.hits:,} of {found.count:,}, {TOO_FEW}"
    return f"{percent(found.hits / found.count)} of {found.count:,} ({low:.1f} to {high:.1f})"


def kappa(found: Agreement) -> str:
    """`0.82 of 500 (0.78 to 0.86)`."""
    if found.kappa is None or found.kappa_interval is None:
        return "not defined: one verdict alone" if found.count else "none"
    low, high = found.kappa_interval
    few = f", {TOO_FEW}" if found.same.is_few else ""
    shown = found.kappa + 0.0 if abs(found.kappa) >= 0.005 else 0.0
    return f"{shown:.2f} of {found.count:,} ({low:.2f} to {high:.2f}){few}"


def money(amount: float | None) -> str:
    """Six digits are enough for a price of a verification."""
    return "-" if amount is None else f"{amount:.6f}".rstrip("0").rstrip(".")


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def f1(found: Accuracy) -> str:
    """`0.91 of 212 (0.88 to 0.94)`."""
    if found.f1 is None:
        return "none"
    low, high = found.f1_interval
    few = f", {TOO_FEW}" if found.f1_too_few else ""
    return f"{found.f1:.2f} of {found.f1_count:,} ({low:.2f} to {high:.2f}){few}"
