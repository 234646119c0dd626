"""A verification for people: a panel on a terminal, plain columns elsewhere, or one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from engine.model import Dns, Evidence, Meaning, Smtp, Step, Verdict, Verification
from engine.smtp.terms import DEFAULT_EGRESS
from gateway.cli.tables import Line, open_console, plain_lines, rich_table
from gateway.observability.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

NOT_QUERIED = "not queried"
NOT_KNOWN = "not known"

COLOURS: dict[Verdict, str] = {
    Verdict.DELIVERABLE: "green",
    Verdict.UNDELIVERABLE: "red",
    Verdict.RISKY: "yellow",
    Verdict.UNKNOWN: "cyan",
}

DNS_WORDS: dict[Dns, str] = {
    Dns.NOT_CHECKED: NOT_QUERIED,
    Dns.MX: "mail exchangers",
    Dns.IMPLICIT_MX: "no MX record; the address record stands in for it",
    Dns.NULL_MX: "a null MX record: the domain accepts no mail",
    Dns.NXDOMAIN: "the domain does not exist",
    Dns.NODATA: "the domain has neither MX nor address records",
    Dns.UNRESOLVABLE: "MX records, none of whose hosts has an address",
    Dns.SERVFAIL: "the domain's name servers fail (SERVFAIL)",
    Dns.REFUSED: "the resolver refuses to answer (REFUSED)",
    Dns.TIMEOUT: "no answer in time",
}

_LABEL_WIDTH = 10
"""Width of the labels in plain columns."""
_VERBOSE_ROWS = frozenset({"policies"})
"""Rows of evidence that no verdict depends on."""
_MAX_HOSTS_SHOWN = 2
"""Mail hosts in a short report."""
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
    for label, describe in _EVIDENCE_ROWS:
        text = describe(v.evidence)
        if not verbose and (label in _VERBOSE_ROWS or text in (NOT_QUERIED, NOT_KNOWN)):
            continue
        if label == "dns" and not verbose:
            text = _dns_with_hosts(v.evidence)
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


_UNNAMED = (None, DEFAULT_EGRESS)


def _kind(e: Evidence) -> str:
    kinds = {
        "disposable domain": e.disposable,
        "free provider": e.free,
        "role account": e.role,
        "no-reply address": e.no_reply,
        "spam trap": e.spamtrap,
    }
    return ", ".join(kind for kind, true in kinds.items() if true)


def _spelling(e: Evidence) -> str:
    return f"did you mean {e.did_you_mean}?" if e.did_you_mean else ""


def _owner(e: Evidence) -> str:
    if e.person is None or not e.person.full:
        return ""
    gender = f", {e.person.gender}" if e.person.gender else ""
    return f"perhaps {e.person.full}{gender} (accuracy {e.person.accuracy:.2f})"


def _dns(e: Evidence) -> str:
    return DNS_WORDS[e.dns]


def _dns_with_hosts(e: Evidence) -> str:
    hosts = ", ".join(mx.host for mx in e.mx[:_MAX_HOSTS_SHOWN])
    more = len(e.mx) - _MAX_HOSTS_SHOWN
    return ": ".join(filter(None, (_dns(e), hosts))) + (f" and {more} more" if more > 0 else "")


def _provider(e: Evidence) -> str:
    return e.provider or ""


def _policies(e: Evidence) -> str:
    found = (("SPF", e.spf), ("DMARC", e.dmarc))
    return ", ".join(name if there else f"no {name}" for name, there in found if there is not None)


def _smtp(e: Evidence) -> str:
    return NOT_QUERIED if e.smtp is None else _format_smtp(e.smtp)


_PREPOSITIONS = {
    Meaning.UNREACHABLE: "to",
    Meaning.NOT_ALLOWED: "to",
    Meaning.TIMED_OUT: "with",
}
"""How a host stands to what it did not do itself; others do by themselves what is said of them."""


def _format_smtp(smtp: Smtp) -> str:
    words = [smtp.meaning.replace("_", " "), f"at {smtp.stage.upper()}"]
    if smtp.host:
        words.append(f"{_PREPOSITIONS.get(smtp.meaning, 'by')} {smtp.host}")
    if smtp.ip:
        words.append(f"[{smtp.ip}]")
    text = smtp.text or smtp.enhanced or ""  # the text begins with the enhanced code
    reply = f"{smtp.code} {text}".rstrip() if smtp.code else text
    extras = [
        f"after {smtp.latency_ms} ms" if smtp.latency_ms is not None else "",
        f"by the egress {smtp.egress}" if smtp.connected and smtp.egress not in _UNNAMED else "",
        "over TLS" if smtp.tls else "",
        f"named list: {smtp.block_list}" if smtp.block_list else "",
        f"asks to wait {smtp.retry_after_s} s" if smtp.retry_after_s is not None else "",
    ]
    suffix = f": {reply}" if reply else ""
    return " ".join(words) + suffix + "".join(f"; {extra}" for extra in extras if extra)


def _catch_all(e: Evidence) -> str:
    return {
        True: "yes: a made-up mailbox was accepted too",
        False: "no: a made-up mailbox was refused",
        None: NOT_KNOWN,
    }[e.catch_all]


def _mailbox(e: Evidence) -> str:
    states = {"full": e.mailbox_full, "disabled": e.mailbox_disabled}
    return ", ".join(state for state, true in states.items() if true)


_EVIDENCE_ROWS: tuple[tuple[str, Callable[[Evidence], str]], ...] = (
    ("kind", _kind),
    ("spelling", _spelling),
    ("owner", _owner),
    ("dns", _dns),
    ("provider", _provider),
    ("policies", _policies),
    ("smtp", _smtp),
    ("catch-all", _catch_all),
    ("mailbox", _mailbox),
)


def render_plain(v: Verification, *, verbose: bool = False) -> str:
    """Plain columns for a pipe or a file, followed by a blank line."""
    rows = [(row.label, row.text) for row in report_rows(v, verbose=verbose)]
    if _shows_transcript(v, verbose):
        rows += [(row.label, row.text) for row in _transcript_rows(v.evidence.transcript)]
    return "".join(f"{line}\n" for line in plain_lines(rows, first_width=_LABEL_WIDTH)) + "\n"


def render_line(v: Verification) -> str:
    """Verdict, score, address and reason on one line, and what is known beyond the reason."""
    detail = v.address.error or _spelling(v.evidence)
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
