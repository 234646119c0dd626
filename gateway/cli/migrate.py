"""`veriplex migrate`: brings the database's tables up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import EXIT_FAILURE, CommandError, run_async

if TYPE_CHECKING:
    from gateway.settings import Settings


def migrate(
    ctx: typer.Context,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit 1 unless the tables are up to date."),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Bring the tables of the database up to date, or create them.

    Run it before the processes of a new version start. Those of the last
    version go on meanwhile: a migration adds, and what is no longer used is
    removed by a later version. A SQLite file is migrated by any start, too.

    Examples:
      veriplex migrate
      veriplex migrate --check
    """
    settings = read_settings(ctx, config, secrets=True)
    run_async(_check(settings) if check else _migrate(settings))


async def _migrate(settings: Settings) -> None:
    from gateway.settings.storage import MigrateRule
    from gateway.store import StoreError, open_store
    from gateway.store.tables import REVISION

    try:
        async with open_store(
            settings.storage.full_url, migrate_rule=MigrateRule.ALWAYS, pool_size=1
        ) as store:
            typer.echo(f"{store.where}: up to date (tables at {REVISION})")
    except StoreError as exc:
        raise CommandError(str(exc)) from exc


async def _check(settings: Settings) -> None:
    from gateway.store import StoreError, StoreTooOld, open_store
    from gateway.store.schema import revision_of
    from gateway.store.tables import REVISION

    try:
        async with (
            open_store(settings.storage.full_url, existing_only=True, pool_size=1) as store,
            store.read() as connection,
        ):
            revision = await connection.run_sync(revision_of, store.where)
        if revision is None or revision < REVISION:
            raise StoreTooOld(store.where, revision or "empty")
    except StoreTooOld as exc:
        raise CommandError(str(exc), EXIT_FAILURE) from exc
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
    newer = "" if revision == REVISION else f", newer than this version's {REVISION}"
    typer.echo(f"{store.where}: up to date (tables at {revision}{newer})")
