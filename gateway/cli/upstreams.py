"""`veriplex upstreams check`: whether each upstream answers and takes its keys."""

from __future__ import annotations

import asyncio
import json as json_
import random
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.tables import print_table, styled
from gateway.cli.terminal import EXIT_FAILURE, run_async

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.upstreams.source.keys import UpstreamKey
    from gateway.upstreams.source.upstream import UpstreamSource

TIMEOUT_S = 10.0
"""Time limit for one answer."""
BANNED = "banned"
"""`FaultKind.BANNED`, without its import."""

upstreams = typer.Typer(
    cls=CommandGroup,
    help="Check the upstream vendors: whether they answer, and their credits.",
    no_args_is_help=True,
    add_completion=False,
)


@upstreams.callback()
def _root() -> None:
    """Makes `check` a subcommand, although it is the only one."""


@dataclass(frozen=True, slots=True)
class UpstreamCheck:
    """The result of asking one upstream with one of its keys."""

    name: str
    dialect: str
    key: int
    """Number among the upstream's keys; the key itself is never shown."""
    ok: bool
    says: str
    """`good`, `reachable` if the vendor has no free call with a key, or the kind of failure."""
    credits: int | None
    latency_ms: int
    detail: str


@upstreams.command(cls=Command)
def check(ctx: typer.Context, json: Json = False, config: ConfigFile = None) -> None:
    """Ask each upstream for its balance with each of its keys, and print the answers.

    This costs nothing: no address is verified. For a vendor without a balance
    call only the connection is tested. A vendor that refuses our account or IP
    address is sent no further key. The exit code is 0 if all answers are good,
    else 1.

    Examples:
      veriplex upstreams check
      veriplex upstreams check --json
    """
    settings = read_settings(ctx, config, secrets=True)
    rows = run_async(_check_all(settings))
    if json:
        for row in rows:
            typer.echo(json_.dumps(asdict(row)))
    elif rows:
        print_table(
            [styled(_cells(row), "" if row.ok else "red") for row in rows], headings=COLUMNS
        )
    else:
        typer.echo("No upstreams are configured.")
    if not all(row.ok for row in rows):
        raise typer.Exit(EXIT_FAILURE)


async def _check_all(settings: Settings) -> list[UpstreamCheck]:
    from adapters.registry import DIALECTS
    from gateway.upstreams.opening import open_upstreams

    async with open_upstreams(
        settings,
        DIALECTS,
        clock=time.time,
        monotonic=time.monotonic,
        rng=random.SystemRandom(),
    ) as sources:
        checks = await asyncio.gather(*(_check_keys(source) for source in sources))
        return [row for rows in checks for row in rows]


async def _check_keys(source: UpstreamSource) -> list[UpstreamCheck]:
    """Ask with one key after the other, since some vendors count failed attempts."""
    rows: list[UpstreamCheck] = []
    for key in source.keys.keys:
        if rows and rows[-1].says == BANNED:
            rows.append(replace(rows[-1], key=key.number, latency_ms=0, detail="not asked"))
        else:
            rows.append(await _check_key(source, key))
    return rows


async def _check_key(source: UpstreamSource, key: UpstreamKey) -> UpstreamCheck:
    began = time.monotonic()
    answer = await source.fetch_balance(key, TIMEOUT_S)
    says, credits, detail = "reachable", None, "this vendor has no balance call that checks the key"
    ok = True
    if isinstance(answer, int):
        says, credits, detail = "good", answer, ""
        if answer <= 0:
            ok, says = False, "no_credits"
    elif answer is not None:
        status = "" if answer.status is None else f"HTTP {answer.status} "
        ok, says, detail = False, answer.kind, status + answer.detail
    return UpstreamCheck(
        name=source.name,
        dialect=source.vendor_api.dialect.name,
        key=key.number,
        ok=ok,
        says=says,
        credits=credits,
        latency_ms=round((time.monotonic() - began) * 1000),
        detail=detail.strip(),
    )


WORDS = {
    "gaierror": "the host name was not found in DNS",
    "ConnectionRefusedError": "the connection was refused",
    "ConnectionResetError": "the connection was closed",
    "closed": "the connection was closed",
    "TimeoutError": f"no answer within {TIMEOUT_S:g} s",
    "SSLError": "the host does not speak TLS on that port",
    "SSLCertVerificationError": "the certificate is not valid for that host",
}
"""For people; `--json` has the kind of the error itself."""
NOT_FOUND = "HTTP 404"


def _describe(detail: str) -> str:
    if detail.startswith(NOT_FOUND):
        return f"{NOT_FOUND}: there is no such path; see base_url"
    status, found, page = detail.partition(" <")
    return f"{status} and a web page" if found and page else WORDS.get(detail, detail)


COLUMNS = ("upstream", "dialect", "key", "says", "credits", "ms", "detail")


def _cells(row: UpstreamCheck) -> tuple[str, ...]:
    credits = "" if row.credits is None else str(row.credits)
    detail = _describe(row.detail)
    return (row.name, row.dialect, str(row.key), row.says, credits, str(row.latency_ms), detail)
