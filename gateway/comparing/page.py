"""The report of a comparison as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from engine.model import Verdict
from gateway.comparing.report import Report
from gateway.comparing.words import mix
from gateway.outcomes import words

MAX_ADDRESSES = 2_000
"""In the page's list of differing addresses; the CSV has all."""
MAX_DIFFERENCES = 50


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def report_page(report: Report, differing: Sequence[Mapping[str, Any]]) -> bytes:
    """The page, with its styles and charts in it: it asks nothing from any server."""
    text = _template().render(
        report=report,
        words=words,
        mix=mix(report),
        verdicts=[verdict.value for verdict in Verdict],
        differing=differing[:MAX_ADDRESSES],
        differing_count=len(differing),
        max_differences=MAX_DIFFERENCES,
    )
    return text.encode(errors="replace")
