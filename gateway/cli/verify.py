"""`veriplex verify`: verifies addresses by the local probe, without a server."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.address_input import AddressInput, Asked, ListChoice
from gateway.cli.hints import NetworkHints
from gateway.cli.lists import check_encoding
from gateway.cli.options import Column, ConfigFile, Encoding, Json, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError, is_terminal, print_error, run_async
from gateway.observability.printable import printable_json

if TYPE_CHECKING:
    from engine.model import Checks, Verification
    from engine.probe import ProbeConfig
    from engine.smtp.egress import EgressSet
    from gateway.settings import Settings

Write = Callable[["Asked", "Verification"], None]


def verify(
    ctx: typer.Context,
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDRESS",
            help="Addresses; - reads a list from standard input: text, CSV or JSON.",
        ),
    ],
    json: Json = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show all evidence, with every command and reply."),
    ] = False,
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
    column: Column = None,
    encoding: Encoding = None,
    config: ConfigFile = None,
) -> None:
    """Verify addresses by DNS and SMTP, and show the evidence.

    One address has a report of a few lines, of several each has one line; -v
    shows every step, as does a report whose verdict is unknown. Addresses are
    verified concurrently; results come in the order given. A hundred addresses
    or more are verified as a list, without a transcript. The exit code is 0
    whatever the verdict. No mail is ever sent. Mail servers judge their
    clients: set engine.helo and engine.mail_from, and make sure that outbound
    port 25 is open.

    Examples:
      veriplex verify ada@example.com
      veriplex verify --json - < addresses.txt > verdicts.jsonl
      veriplex verify --no-smtp ada@example.com grace@example.org
    """
    from engine.model import Checks

    settings = read_settings(ctx, config, probing=True)
    checks = Checks(
        smtp=not no_smtp,
        catch_all=not (no_smtp or no_catch_all),
        policies=json or "-" not in addresses,  # plain lines do not show them
    )
    probe = _probe_config(settings, egress)
    given = AddressInput(addresses, ListChoice(column, check_encoding(encoding)))
    write = _json_writer() if json else _text_writer(one_line=given.several, verbose=verbose)
    run_async(_verify_all(settings, probe, given, checks, timeout, write))


def _probe_config(settings: Settings, egress: str) -> ProbeConfig:
    from gateway.settings.egress import UnknownEgress, probe_config

    try:
        return probe_config(settings, only=egress)
    except UnknownEgress as exc:
        raise CommandError(f"--egress: {exc}", EXIT_USAGE) from exc


async def _verify_all(
    settings: Settings,
    config: ProbeConfig,
    given: AddressInput,
    checks: Checks,
    timeout_s: float | None,
    write: Write,
) -> None:
    from engine.address.syntax import parse_address
    from engine.probe import ProbeEngine
    from gateway.cli.grouping import GroupingVerifier
    from gateway.cli.progress import MAX_WAITED_FOR
    from gateway.cli.stream import map_in_order

    engine = ProbeEngine.open(config)
    hints = NetworkHints(config)
    done = 0
    in_progress: Counter[str] = Counter()
    try:
        async with (
            GroupingVerifier(engine, checks, timeout_s) as verifier,
            given.progress() as progress,
        ):

            async def one(asked: Asked) -> tuple[Asked, Verification]:
                nonlocal done
                address = parse_address(asked.text)
                in_progress[address.domain] += 1
                try:
                    return asked, await verifier.verify(address)
                finally:
                    done += 1
                    in_progress[address.domain] -= 1
                    few = given.is_read and in_progress.total() <= MAX_WAITED_FOR
                    progress.update(done, waiting_for=in_progress.elements() if few else ())

            def show(result: tuple[Asked, Verification]) -> None:
                with progress.hidden():
                    write(*result)
                hints.observe(result[1])

            await map_in_order(given.addresses(), one, show)
    finally:
        await engine.aclose()
        await _save_refusals(settings, engine.egresses)
    hints.observe_egresses(engine.egresses)
    given.report()
    for line in hints.lines():
        print_error(line)


async def _save_refusals(settings: Settings, egresses: EgressSet) -> None:
    """Store which operators refused us, for the server and the doctor."""
    reputations = egresses.reputations
    if any(one.refusal_count for each in reputations.values() for one in each.operators()):
        from gateway.reputation import add_refusals_once

        await add_refusals_once(settings.storage.full_url, reputations)


def _json_writer() -> Write:
    from orjson import dumps

    from gateway.verdicts.as_json import verification_as_dict

    out = sys.stdout.buffer

    def write(asked: Asked, verification: Verification) -> None:
        fields = verification_as_dict(verification)
        if asked.written != asked.text:
            fields["input"] = asked.written
        out.write(printable_json(dumps(fields)) + b"\n")
        out.flush()

    return write


def _text_writer(*, one_line: bool, verbose: bool) -> Write:
    from gateway.cli.report import TerminalPrinter, render_line, render_plain

    one_line = one_line and not verbose
    if is_terminal(sys.stdout):
        printer = TerminalPrinter(sys.stdout, verbose=verbose)
        show = printer.show_line if one_line else printer.show
        return lambda _, verification: show(verification)

    def write(_: Asked, verification: Verification) -> None:
        report = f"{render_line(verification)}\n" if one_line else ""
        sys.stdout.write(report or render_plain(verification, verbose=verbose))
        sys.stdout.flush()

    return write
