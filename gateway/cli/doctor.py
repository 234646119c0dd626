"""`veriplex doctor`: finds what prevents verifications, and says how to fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import ConfigFile, Json, read_settings
from gateway.cli.tables import Line, TableRow, print_table
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE, CommandError, run_async
from gateway.observability.printable import printable_json

if TYPE_CHECKING:
    from gateway.doctor.block_lists import BlockList
    from gateway.doctor.finding import Finding

MAX_REFUSERS_SHOWN = 4
"""Operators shown for each cause of refusals."""
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    ctx: typer.Context,
    json: Json = False,
    ip: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Our public IP address, if it cannot be detected.",
            show_default=False,
        ),
    ] = "",
    egress: Annotated[
        str,
        typer.Option(metavar="NAME", help="Examine this egress alone.", show_default=False),
    ] = "",
    block_list: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ZONE",
            help="Another DNS block list to query; can be repeated.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, max=300, help="Time limit for each check.")
    ] = 10.0,
    config: ConfigFile = None,
) -> None:
    """Check everything that verifications depend on, and say how to fix it.

    Checks the settings, DNS, recent refusals, the clock, the database and the
    port to listen on; by each egress outbound port 25, the public address with
    its name and SPF, and block lists. A few well-known mail hosts get EHLO and
    QUIT. The exit code is 1 if a check fails, else 0; warnings do not count.

    Examples:
      veriplex doctor
      veriplex doctor --json
      veriplex doctor --ip 203.0.113.7
      veriplex doctor --egress second-address
    """
    address, lists = _parse_ip(ip), _block_lists(block_list or ())
    findings = _examine(ctx, config, address, egress, lists, timeout)
    if json:
        import orjson

        for finding in findings:
            typer.echo(printable_json(orjson.dumps(_as_json(finding))).decode())
    else:
        print_findings(findings)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


def _examine(
    ctx: typer.Context,
    config: ConfigFile,
    ip: str,
    egress: str,
    lists: Sequence[BlockList],
    timeout_s: float,
) -> list[Finding]:
    from gateway.doctor.examine import examine
    from gateway.doctor.finding import fail, ok
    from gateway.settings.egress import UnknownEgress

    try:
        settings = read_settings(ctx, config, secrets=True)
    except CommandError as refusal:
        mistakes = str(refusal).splitlines()
        to_do = "Correct it as docs/settings.md says; the other checks need valid settings."
        return [fail("settings", "", mistake, to_do) for mistake in mistakes]
    if ip and not egress and len(settings.egress) > 1:
        raise CommandError("--ip: name the egress that has it, with --egress NAME", EXIT_USAGE)
    try:
        found = run_async(
            examine(settings, ip=ip, egress=egress, block_lists=lists, timeout_s=timeout_s)
        )
    except UnknownEgress as exc:
        raise CommandError(f"--egress: {exc}", EXIT_USAGE) from exc
    return [ok("settings", "", "are valid"), *found]


def _as_json(finding: Finding) -> dict[str, Any]:
    row = asdict(finding)
    for name in ("refusals", "egress"):
        if not row[name]:
            del row[name]
    return row


def _parse_ip(text: str) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(text)) if text else ""
    except ValueError as exc:
        raise CommandError(f"--ip: {text!r} is not an IP address", EXIT_USAGE) from exc


def _block_lists(zones: Sequence[str]) -> list[BlockList]:
    from gateway.doctor.block_lists import BLOCK_LISTS, BlockList

    more = [BlockList(zone.strip(".").lower(), "the command line", ipv6=True) for zone in zones]
    known = {entry.zone for entry in BLOCK_LISTS}
    return [*BLOCK_LISTS, *(entry for entry in more if entry.zone not in known)]


def print_findings(findings: Sequence[Finding]) -> None:
    rows = [_table_row(list(same)) for _, same in groupby(findings, key=_words)]
    print_table(rows, first_width=len("fail"))
    typer.echo(_summary(findings))


def _words(finding: Finding) -> tuple[object, ...]:
    """What is printed once of findings that follow each other."""
    return finding.level, finding.check, finding.egress, finding.said, finding.advice


def _table_row(same: Sequence[Finding]) -> TableRow:
    """One row for findings that differ only in what they are about."""
    finding = same[0]
    by = f" ({finding.egress})" if finding.egress else ""
    about = finding.about if len(same) == 1 else f"({len(same)})"
    title = f"{finding.check} {about}".rstrip() + by
    names = [Line(", ".join(one.about for one in same), "dim")] if len(same) > 1 else []
    details = [
        Line(finding.said),
        *names,
        *(Line(line, "dim") for line in _refuser_lines(finding)),
        *([Line(finding.advice, "italic")] if finding.advice else []),
    ]
    return [Line(finding.level, STYLES[finding.level])], title, details


def _refuser_lines(finding: Finding) -> list[str]:
    """The operators that refused us most, and the number of the others."""
    if not finding.refusals:
        return []
    from gateway.doctor.refusals import refuser_lines

    now = time()
    alone = len(finding.refusals) == 1
    shown = [
        text
        for one in finding.refusals[:MAX_REFUSERS_SHOWN]
        for text in refuser_lines(one, now, is_only=alone)
    ]
    more = len(finding.refusals) - MAX_REFUSERS_SHOWN
    return [*shown, f"and {more:,} more, which --json shows"] if more > 0 else shown


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    wrong, doubtful = (counts.get(level, 0) for level in ("fail", "warn"))  # type: ignore[call-overload]
    if not wrong and not doubtful:
        return "Nothing is wrong."
    return f"{wrong or 'nothing'} wrong, {doubtful or 'nothing'} worth a look."
