"""Renders the templates. Every value is escaped, since addresses, labels and replies are strangers'
text."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.outcomes.words import percent
from gateway.web.console.assets import asset_url

NOTHING = "\N{EN DASH}"
"""In the place of a value that is not known."""


def render(template: str, values: dict[str, Any]) -> str:
    """The text of a template of `templates`."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gateway.web.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": share,
        "duration": duration,
        "ms": milliseconds,
        "money": money,
        "when": when,
        "words": words,
        "prose": prose,
        "zip": lambda first, second: list(zip(first, second, strict=True)),
    }
    environment.globals |= {"asset": asset_url, "version": version("veriplex")}
    return environment


def number(value: float | None) -> str:
    """`12,345`; nothing is a dash."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def share(part: float, whole: float) -> str:
    """`12.3 %`; of nothing it is a dash."""
    if not whole:
        return NOTHING
    return percent(part / whole)


def duration(seconds: float | None) -> str:
    """`40 s`, `3 min`, `5 h`, `2 days`."""
    if seconds is None:
        return NOTHING
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length * (2 if unit == "days" else 1):
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds:.2f} s"


def milliseconds(value: float | None) -> str:
    """`12 ms`, `1.2 s`."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def money(value: float | None) -> str:
    """Two decimals, and more of a small amount; the currency is the operator's."""
    if value is None:
        return NOTHING
    return f"{value:,.2f}" if value >= 0.1 or not value else f"{value:,.4f}"


def when(at: datetime | float | None) -> Markup | str:
    """A point in time, which a script shows in the reader's time zone."""
    if at is None:
        return NOTHING
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.strftime("%Y-%m-%d %H:%M")
    )


def prose(text: str) -> Markup:
    """Text of ours in which backticks mark code."""
    parts = text.split("`")
    if not len(parts) % 2:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def words(name: str) -> str:
    """`rate_limited` as `rate limited`."""
    return name.replace("_", " ")
