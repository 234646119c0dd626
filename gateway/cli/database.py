"""The server's database, for commands that show or change what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.cli.terminal import CommandError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.store import Store


@contextlib.asynccontextmanager
async def open_database(settings: Settings, *, must_exist: bool = True) -> AsyncIterator[Store]:
    """The server's database. Raises CommandError if there is none, or it cannot be used."""
    from gateway.store import StoreError, open_store

    _check(settings.storage.url, must_exist=must_exist)
    try:
        storage = settings.storage
        async with open_store(storage.full_url, migrate_rule=storage.migrate) as store:
            yield store
    except StoreError as exc:
        raise CommandError(str(exc)) from exc


def _check(url: str, *, must_exist: bool) -> None:
    from gateway.store.urls import IN_MEMORY, sqlite_file

    if url == IN_MEMORY:
        raise CommandError("storage.url is in memory: it ends with this command")
    path = sqlite_file(url)
    if must_exist and path is not None and not path.exists():
        raise CommandError(f"there is no database {path} yet; `serve` or `keys create` creates it")
