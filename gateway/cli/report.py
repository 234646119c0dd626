"""A verification for people: a panel on a terminal, plain columns elsewhere, or one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from engine.model import Step, Verdict, Verification
from gateway.cli.tables import Line, open_console, plain_lines, rich_table
from gateway.observability.printable import printable
from gateway.verdicts.in_words import (
    EVIDENCE_ROWS,
    NOT_KNOWN,
    NOT_QUERIED,
    dns_with_hosts,
    spelling,
)

if TYPE_CHECKING:
    from rich.text import Text

COLOURS: dict[Verdict, str] = {
    Verdict.DELIVERABLE: "green",
    Verdict.UNDELIVERABLE: "red",
    Verdict.RISKY: "yellow",
    Verdict.UNKNOWN: "cyan",
}

_LABEL_WIDTH = 10
"""Width of the labels in plain columns."""
_VERBOSE_ROWS = frozenset({"policies"})
"""Rows of evidence that no verdict depends on."""
_MAX_DETAIL = 100
"""Characters of what a line adds to its reason."""
_LINE_INDENT = 20
"""Where the address of a line begins, after verdict and score."""
_STEP_INDENT = 11
"""Where the text of a step begins, after its time."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A label and its text."""

    label: str
    text: str
    style: str = ""


def report_rows(v: Verification, *, verbose: bool) -> Iterator[ReportRow]:
    """The evidence that decides, in the order in which it was gathered; all with `verbose`."""
    yield ReportRow("address", v.address.raw, "bold")
    verdict = f"{v.verdict} ({v.reason}), score {v.score} of 100"
    yield ReportRow("verdict", verdict, f"bold {COLOURS[v.verdict]}")
    for label, describe in EVIDENCE_ROWS:
        text = describe(v.evidence)
        if not verbose and (label in _VERBOSE_ROWS or text in (NOT_QUERIED, NOT_KNOWN)):
            continue
        if label == "dns" and not verbose:
            text = dns_with_hosts(v.evidence)
        if text:
            yield ReportRow(label, text)
        if label == "dns" and verbose:
            yield from (ReportRow("", f"{mx.preference:>5} {mx.host}") for mx in v.evidence.mx)
    if v.address.error:
        yield ReportRow("syntax", v.address.error)
    if verbose:
        when = v.verified_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        yield ReportRow("checked", f"{when}, in {v.duration_s:.2f} s")


def _shows_transcript(v: Verification, verbose: bool) -> bool:
    """An unknown verdict is explained by what was said."""
    return verbose or v.verdict is Verdict.UNKNOWN


def _transcript_rows(steps: tuple[Step, ...]) -> Iterator[ReportRow]:
    widest = max((len(printable(step.who)) for step in steps), default=0)
    for number, step in enumerate(steps):
        style = "cyan" if step.said.startswith(">") else ""
        text = f"{step.at_ms:>5} ms  {printable(step.who):<{widest}}  {step.said}"
        yield ReportRow("" if number else "transcript", text, style)


def render_plain(v: Verification, *, verbose: bool = False) -> str:
    """Plain columns for a pipe or a file, followed by a blank line."""
    rows = [(row.label, row.text) for row in report_rows(v, verbose=verbose)]
    if _shows_transcript(v, verbose):
        rows += [(row.label, row.text) for row in _transcript_rows(v.evidence.transcript)]
    return "".join(f"{line}\n" for line in plain_lines(rows, first_width=_LABEL_WIDTH)) + "\n"


def render_line(v: Verification) -> str:
    """Verdict, score, address and reason on one line, and what is known beyond the reason."""
    detail = v.address.error or spelling(v.evidence)
    smtp = v.evidence.smtp
    if not detail and smtp is not None and v.verdict is not Verdict.DELIVERABLE:
        detail = f"{smtp.code or ''} {smtp.text or smtp.enhanced or ''}".strip()
    shown = printable(detail)
    if len(shown) > _MAX_DETAIL:
        shown = f"{shown[:_MAX_DETAIL].rstrip()}…"
    reason = f"{v.reason}: {shown}" if shown else v.reason
    return f"{v.verdict:<13}  {v.score:>3}  {printable(v.address.raw)}  {reason}"


class TerminalPrinter:
    """Draws verifications on a terminal, in any width."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._console = open_console(stream)
        self._verbose = verbose

    def show(self, v: Verification) -> None:
        """A panel, and the transcript below it."""
        from rich.panel import Panel

        shown = report_rows(v, verbose=self._verbose)
        rows = [([Line(row.label, "dim")], [Line(row.text, row.style)]) for row in shown]
        self._console.print(Panel(rich_table(rows), border_style=COLOURS[v.verdict]))
        if _shows_transcript(v, self._verbose):
            self._show_transcript(v.evidence.transcript)

    def show_line(self, v: Verification) -> None:
        """A line, wrapped below its address."""
        from rich.text import Text

        for number, line in enumerate(self._wrapped(render_line(v), _LINE_INDENT)):
            text = Text(line)
            if not number:
                text.stylize(COLOURS[v.verdict], 0, len(v.verdict))
            self._print(text)

    def _show_transcript(self, steps: tuple[Step, ...]) -> None:
        """The steps below the name of the host that they are with."""
        from rich.text import Text

        who = None
        for step in steps:
            if step.who != who:
                self._print(Text(f"  {printable(step.who)}", "dim"))
                who = step.who
            style = "cyan" if step.said.startswith(">") else ""
            line = f"{step.at_ms:>7} ms {printable(step.said)}"
            for part in self._wrapped(line, _STEP_INDENT):
                self._print(Text(part, style))

    def _wrapped(self, text: str, indent: int) -> list[str]:
        from textwrap import wrap

        return wrap(
            text,
            max(self._console.width, 2 * indent),
            subsequent_indent=" " * indent,
            replace_whitespace=False,
            break_on_hyphens=False,
        )

    def _print(self, text: Text) -> None:
        self._console.print(text, no_wrap=True, overflow="ignore", crop=False)
