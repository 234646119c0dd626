"""`veriplex keys`: create, list and revoke API keys, also while the server runs."""

from __future__ import annotations

import contextlib
import getpass
import json as json_
import os
import sys
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.tables import print_table, styled
from gateway.cli.terminal import EXIT_USAGE, CommandError, is_terminal, run_async

if TYPE_CHECKING:
    from gateway.accounts.accounts import Accounts, KeyInfo, NewKey
    from gateway.settings import Settings

MAX_LABEL_LENGTH = 200
MAX_STDIN_CHARACTERS = 4_096
"""That are read of a key on standard input, which is far longer than any."""

KeyOrId = Annotated[
    str,
    typer.Argument(
        metavar="KEY_OR_ID", help="The key's id, its last four characters, or the whole key."
    ),
]

keys = typer.Typer(
    cls=CommandGroup,
    help="Create, list and revoke API keys, also while the server runs.",
    no_args_is_help=True,
    add_completion=False,
)


@keys.command(cls=Command)
def create(
    ctx: typer.Context,
    dialect: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Create a key for this dialect only (default: one for each dialect).",
        ),
    ] = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Create test keys: never charged, answered by the sandbox."),
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Create a new account with this plan (default: limits.plan)."
        ),
    ] = None,
    credits: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Create a new account with N verifications to spend."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the keys are for; shown in lists and logs."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="-",
            help="Take over a key that a client has already: `-` reads it from standard input,"
            " env:NAME and file:PATH from there.",
        ),
    ] = None,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Create keys and print them, only once: their hashes alone are stored.

    They belong to the first account, unless --plan or --credits creates a
    new one. A running server accepts them at once. With --key - a client
    keeps the key that it has from its vendor.

    Examples:
      veriplex keys create
      veriplex keys create --dialect emailable --label "sign-up form"
      veriplex keys create --dialect emailable --key - < vendor-key.txt
      veriplex keys create --dialect generic --plan free --credits 500
      veriplex keys create --test --json
    """
    if label is not None and not 0 < len(label) <= MAX_LABEL_LENGTH:
        raise CommandError(f"--label: should be 1 to {MAX_LABEL_LENGTH} characters", EXIT_USAGE)
    if key is not None and dialect is None:
        raise CommandError("--key: give the key's --dialect as well", EXIT_USAGE)
    settings = read_settings(ctx, config)
    own = None if key is None else read_own_key(key)
    made, plan = run_async(_create(settings, dialect, test, plan, credits, label, own))
    url = settings.server.url()
    if json:
        _print_json(_new_key_json(new, plan, url) for new in made)
        return
    from gateway.cli.key_sheet import key_sheet

    if own is None:
        typer.echo(f"Account {made[0].account_id}, plan {plan}. Its new keys, shown only once:")
    else:
        typer.echo(f"Account {made[0].account_id}, plan {plan}. The key is valid from now on:")
    for line in key_sheet(url, made):
        typer.echo(line)


@keys.command(name="list", cls=Command)
def list_(ctx: typer.Context, json: Json = False, config: ConfigFile = None) -> None:
    """List all keys, revoked ones too, by id and last characters.

    The whole keys cannot be shown again: only their hashes are stored.

    Examples:
      veriplex keys list
      veriplex keys list --json
    """
    found = run_async(_list(read_settings(ctx, config)))
    if json:
        _print_json(map(_key_json, found))
    else:
        _print_table(found)


@keys.command(cls=Command)
def revoke(
    ctx: typer.Context,
    key: KeyOrId,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Revoke a key; a running server refuses it within a second.

    It stays in the list and cannot be restored.

    Examples:
      veriplex keys revoke 3
      veriplex keys revoke live_1f0c5e0d9c5b8a7e6f42
    """
    gone = run_async(_revoke(read_settings(ctx, config), key))
    if json:
        _print_json([_key_json(gone)])
    else:
        typer.echo(f"revoked key {gone.id}: {gone.dialect}, {gone.hint}")


@keys.command(cls=Command)
def suspend(ctx: typer.Context, key: KeyOrId, config: ConfigFile = None) -> None:
    """Suspend the account of a key: all keys of the account are refused.

    Clients get the vendor's reply for a suspended or restricted account,
    such as 403, within a second. `keys resume` ends it.

    Examples:
      veriplex keys suspend 3
      veriplex keys resume 3
    """
    _set_status(read_settings(ctx, config), key, "suspended", "is suspended")


@keys.command(cls=Command)
def unverify(ctx: typer.Context, key: KeyOrId, config: ConfigFile = None) -> None:
    """Make the email address of a key's account unverified.

    Clients get the vendor's reply for an account whose owner has not verified
    the email address, such as 403, within a second. `keys resume` ends it.

    Examples:
      veriplex keys unverify 3
      veriplex keys resume 3
    """
    _set_status(read_settings(ctx, config), key, "unconfirmed", "has an unverified email address")


@keys.command(cls=Command)
def resume(ctx: typer.Context, key: KeyOrId, config: ConfigFile = None) -> None:
    """Accept the keys of an account that was suspended or unverified again.

    Examples:
      veriplex keys resume 3
    """
    _set_status(read_settings(ctx, config), key, "active", "is active")


def read_own_key(reference: str) -> str:
    """The key that `--key` leads to; on a terminal it is asked for without an echo.

    Raises CommandError.
    """
    from gateway.settings.values import key_fault, resolve_reference

    if reference == "-":
        if is_terminal(sys.stdin):
            value = getpass.getpass("Key: ").strip()
        else:
            value = sys.stdin.read(MAX_STDIN_CHARACTERS).strip()
        origin = "the key on standard input"
    else:
        if reference.partition(":")[0] not in ("env", "file"):
            # other users of the machine can read the arguments of a command
            message = "--key: should be -, env:NAME or file:PATH, not the key itself"
            raise CommandError(message, EXIT_USAGE)
        origin = reference
        try:
            value = resolve_reference(reference, os.environ)
        except ValueError as exc:
            raise CommandError(f"--key: {exc}", EXIT_USAGE) from exc
    if fault := key_fault(value):
        raise CommandError(f"--key: {origin}: {fault}", EXIT_USAGE)
    return value


# -- work ------------------------------------------------------------------------


async def _create(
    settings: Settings,
    dialect: str | None,
    test: bool,
    plan: str | None,
    credits: int | None,
    label: str | None,
    own: str | None,
) -> tuple[list[NewKey], str]:
    """The new keys, and the plan of their account."""
    async with _accounts(settings) as accounts:
        dialects = _dialects(dialect)
        account = await accounts.oldest_account_id()
        if account is None or plan is not None or credits is not None:
            account = await accounts.create_account(plan=plan, credits=credits)
        made = [
            await accounts.create_key(account, name, test=test, label=label, key=own)
            for name in dialects
        ]
        plans = {info.account_id: info.plan for info in await accounts.list_keys()}
        return made, plans[account]


async def _list(settings: Settings) -> list[KeyInfo]:
    async with _accounts(settings, must_exist=True) as accounts:
        return await accounts.list_keys()


async def _revoke(settings: Settings, which: str) -> KeyInfo:
    async with _accounts(settings, must_exist=True) as accounts:
        return await accounts.revoke_key(which)


def _set_status(settings: Settings, which: str, status: str, words: str) -> None:
    async def change() -> KeyInfo:
        from gateway.accounts.accounts import AccountStatus

        async with _accounts(settings, must_exist=True) as accounts:
            return await accounts.set_status_of_key(which, AccountStatus(status))

    info = run_async(change())
    typer.echo(f"account {info.account_id} {words}; key {info.id}: {info.dialect}, {info.hint}")


@contextlib.asynccontextmanager
async def _accounts(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[Accounts]:
    """The accounts of the server's database. Their errors become CommandErrors."""
    from adapters.registry import DIALECTS
    from gateway.accounts.accounts import open_accounts
    from gateway.accounts.errors import AccountsError, KeyLooksLikeTest, UnknownDialect, UnknownPlan
    from gateway.cli.database import open_database
    from gateway.settings.problems import suggestion
    from gateway.store import StoreError

    try:
        async with (
            open_database(settings, must_exist=must_exist) as store,
            open_accounts(store, DIALECTS, plan=settings.limits.plan) as accounts,
        ):
            yield accounts
    except (UnknownPlan, UnknownDialect) as exc:
        raise CommandError(f"{exc}{suggestion(exc.name, exc.known)}", EXIT_USAGE) from exc
    except KeyLooksLikeTest as exc:
        raise CommandError(f"{exc}, with --test", EXIT_USAGE) from exc
    except (AccountsError, StoreError) as exc:
        raise CommandError(str(exc)) from exc


def _dialects(wanted: str | None) -> tuple[str, ...]:
    """The dialect of that name or alias; all dialects for None."""
    from adapters.registry import DIALECTS
    from gateway.settings.problems import suggestion

    if wanted is None:
        return tuple(dialect.name for dialect in DIALECTS)
    names = {name: d.name for d in DIALECTS for name in (d.name, *d.aliases)}
    if wanted.lower() not in names:
        known = ", ".join(names)
        message = f"no dialect is named {wanted!r}; there are {known}{suggestion(wanted, names)}"
        raise CommandError(message, EXIT_USAGE)
    return (names[wanted.lower()],)


# -- output ---------------------------------------------------------------------


def _print_json(objects: Iterable[dict[str, Any]]) -> None:
    for one in objects:
        typer.echo(json_.dumps(one))


def _new_key_json(key: NewKey, plan: str, url: str) -> dict[str, Any]:
    from adapters.registry import DIALECTS
    from gateway.cli.key_sheet import base_url

    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == key.dialect)
    return {
        "id": key.id,
        "dialect": key.dialect,
        "key": key.key,
        "test": key.test,
        "plan": plan,
        "account": key.account_id,
        "label": key.label,
        "base_url": base_url(url, dialect),
    }


def _key_json(key: KeyInfo) -> dict[str, Any]:
    return {
        "id": key.id,
        "dialect": key.dialect,
        "key": key.hint,  # only its last characters are stored
        "test": key.test,
        "plan": key.plan,
        "account": key.account_id,
        "label": key.label,
        "credits": key.credits,
        "status": key.status,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
    }


_HEADINGS = ("id", "dialect", "kind", "key", "account", "plan", "credits", "made", "state", "label")


def _print_table(found: list[KeyInfo]) -> None:
    print_table(
        [styled(_row(key), "dim" if key.revoked_at else "") for key in found], headings=_HEADINGS
    )


def _row(key: KeyInfo) -> tuple[str, ...]:
    return (
        str(key.id),
        key.dialect,
        "test" if key.test else "live",
        key.hint,
        str(key.account_id),
        key.plan,
        "no limit" if key.credits is None else str(key.credits),
        f"{key.created_at:%Y-%m-%d}",
        f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else key.status,
        key.label or "",
    )
