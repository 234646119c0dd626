"""A verification for people: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TextIO

from engine.model import Dns, Evidence, Smtp, Step, Verdict, Verification
from engine.smtp.terms import DEFAULT_EGRESS
from gateway.cli.tables import Line, open_console, plain_lines, rich_table
from gateway.observability.printable import printable

COLOURS: dict[Verdict, str] = {
    Verdict.DELIVERABLE: "green",
    Verdict.UNDELIVERABLE: "red",
    Verdict.RISKY: "yellow",
    Verdict.UNKNOWN: "cyan",
}

DNS_WORDS: dict[Dns, str] = {
    Dns.NOT_CHECKED: "not queried",
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


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A label and its text."""

    label: str
    text: str
    style: str = ""


def report_rows(v: Verification) -> Iterator[ReportRow]:
    """The evidence in the order in which the probe gathers it."""
    yield ReportRow("address", v.address.raw, "bold")
    verdict = f"{v.verdict} ({v.reason}), score {v.score} of 100"
    yield ReportRow("verdict", verdict, f"bold {COLOURS[v.verdict]}")
    for label, describe in _EVIDENCE_ROWS:
        text = describe(v.evidence)
        if text:
            yield ReportRow(label, text)
        if label == "dns":
            yield from (ReportRow("", f"{mx.preference:>5} {mx.host}") for mx in v.evidence.mx)
    if v.address.error:
        yield ReportRow("syntax", v.address.error)
    when = v.verified_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    yield ReportRow("checked", f"{when}, in {v.duration_s:.2f} s")
    yield from _transcript_rows(v.evidence.transcript)


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


def _provider(e: Evidence) -> str:
    return e.provider or ""


def _policies(e: Evidence) -> str:
    found = (("SPF", e.spf), ("DMARC", e.dmarc))
    return ", ".join(name if there else f"no {name}" for name, there in found if there is not None)


def _smtp(e: Evidence) -> str:
    return "not queried" if e.smtp is None else _format_smtp(e.smtp)


def _format_smtp(smtp: Smtp) -> str:
    words = [smtp.meaning.replace("_", " "), f"at {smtp.stage.upper()}"]
    if smtp.host:
        words.append(f"by {smtp.host}")
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
        None: "not known",
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


def render_plain(v: Verification) -> str:
    """Plain columns for a pipe or a file, followed by a blank line."""
    rows = ((row.label, row.text) for row in report_rows(v))
    return "".join(f"{line}\n" for line in plain_lines(rows, first_width=_LABEL_WIDTH)) + "\n"


class PanelPrinter:
    """Draws verifications on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = open_console(stream)

    def show(self, v: Verification) -> None:
        from rich.panel import Panel

        rows = [([Line(row.label, "dim")], [Line(row.text, row.style)]) for row in report_rows(v)]
        self._console.print(Panel(rich_table(rows), border_style=COLOURS[v.verdict]))
