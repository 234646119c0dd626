"""What a `storage.url` says by itself. Imports no driver."""

from __future__ import annotations

from pathlib import Path

SQLITE = "sqlite:///"
IN_MEMORY = "sqlite:///:memory:"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for one in memory, or on a server."""
    if url == IN_MEMORY or not url.startswith(SQLITE):
        return None
    return Path(url.removeprefix(SQLITE))
