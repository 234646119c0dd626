"""`veriplex verify`: verifies addresses by the local probe, without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ConfigFile, Json, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError, is_terminal, print_error, run_async
from gateway.observability.printable import printable_json

if TYPE_CHECKING:
    from engine.model import Checks, Verification
    from engine.probe import ProbeConfig
    from engine.smtp.egress import EgressSet
    from gateway.settings import Settings

Write = Callable[["Verification"], None]


def verify(
    ctx: typer.Context,
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDRESS", help="Addresses; - reads them from standard input, one a line."
        ),
    ],
    json: Json = False,
    no_smtp: Annotated[
        bool, typer.Option("--no-smtp", help="Stop after DNS; contact no mail server.")
    ] = False,
    no_catch_all: Annotated[
        bool,
        typer.Option(
            "--no-catch-all", help="Do not test whether the domain accepts every address."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            max=86_400,
            help="Time limit for each address (default: engine.deadline_s).",
            show_default=False,
        ),
    ] = None,
    egress: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Use this egress alone, for all mail servers.",
            show_default=False,
        ),
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Verify addresses by DNS and SMTP, and show the evidence step by step.

    Addresses are verified concurrently; results come in the order given. A
    hundred addresses or more are verified as a list, without a transcript.
    The exit code is 0 whatever the verdict. No mail is ever sent. Mail
    servers judge their clients: set engine.helo and engine.mail_from, and
    make sure that outbound port 25 is open.

    Examples:
      veriplex verify ada@example.com
      veriplex verify --json - < addresses.txt > verdicts.jsonl
      veriplex verify --no-smtp ada@example.com grace@example.org
    """
    from engine.model import Checks

    settings = read_settings(ctx, config, probing=True)
    checks = Checks(smtp=not no_smtp, catch_all=not (no_smtp or no_catch_all))
    probe = _probe_config(settings, egress)
    write = _json_writer() if json else _text_writer()
    run_async(_verify_all(settings, probe, addresses, checks, timeout, write))


def _probe_config(settings: Settings, egress: str) -> ProbeConfig:
    from gateway.settings.egress import UnknownEgress, probe_config

    try:
        return probe_config(settings, only=egress)
    except UnknownEgress as exc:
        raise CommandError(f"--egress: {exc}", EXIT_USAGE) from exc


async def _verify_all(
    settings: Settings,
    config: ProbeConfig,
    given: list[str],
    checks: Checks,
    timeout_s: float | None,
    write: Write,
) -> None:
    from engine.address.syntax import parse_address
    from engine.probe import ProbeEngine
    from gateway.cli.grouping import GroupingVerifier
    from gateway.cli.progress import ProgressDisplay
    from gateway.cli.stream import map_in_order, read_addresses

    engine = ProbeEngine.open(config)
    advice = _HeloHint({egress.identity.helo for egress in config.effective_egresses})
    done = in_progress = 0
    total = None if "-" in given else len(given)
    try:
        async with (
            GroupingVerifier(engine, checks, timeout_s) as verifier,
            ProgressDisplay(sys.stderr, total=total) as progress,
        ):

            def count(begun: int, ended: int) -> None:
                nonlocal done, in_progress
                done += ended
                in_progress += begun - ended
                progress.update(done, f"{in_progress} in progress")

            async def one(text: str) -> Verification:
                count(1, 0)
                try:
                    return await verifier.verify(parse_address(text))
                finally:
                    count(0, 1)

            def show(verification: Verification) -> None:
                with progress.hidden():
                    write(verification)
                advice.observe(verification)

            await map_in_order(read_addresses(given), one, show)
    finally:
        await engine.aclose()
        await _save_refusals(settings, engine.egresses)
    advice.print_if_due()


async def _save_refusals(settings: Settings, egresses: EgressSet) -> None:
    """Store which operators refused us, for the server and the doctor."""
    reputations = egresses.reputations
    if any(one.refusal_count for each in reputations.values() for one in each.operators()):
        from gateway.reputation import add_refusals_once

        await add_refusals_once(settings.storage.full_url, reputations)


def _json_writer() -> Write:
    from gateway.verdicts.as_json import verification_as_json

    out = sys.stdout.buffer

    def write(verification: Verification) -> None:
        out.write(printable_json(verification_as_json(verification)) + b"\n")
        out.flush()

    return write


def _text_writer() -> Write:
    from gateway.cli.report import PanelPrinter, render_plain

    if is_terminal(sys.stdout):
        return PanelPrinter(sys.stdout).show

    def write(verification: Verification) -> None:
        sys.stdout.write(render_plain(verification))
        sys.stdout.flush()

    return write


class _HeloHint:
    """A line at the end if remote mail servers were greeted as localhost."""

    def __init__(self, helo_names: set[str]) -> None:
        self._helo_is_localhost = "localhost" in helo_names
        self._due = False

    def observe(self, verification: Verification) -> None:
        smtp = verification.evidence.smtp
        if self._helo_is_localhost and smtp is not None and smtp.ip is not None:
            from ipaddress import ip_address

            self._due = self._due or not ip_address(smtp.ip).is_loopback

    def print_if_due(self) -> None:
        if self._due:
            print_error(
                "hint: mail servers were greeted as localhost, which many refuse; set"
                " engine.helo to a name that resolves to this machine and back"
            )
