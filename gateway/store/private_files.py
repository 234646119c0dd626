"""Files with keys or addresses in them, which only their owner may read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

PRIVATE = 0o600


def private_opener(path: str, flags: int) -> int:
    """The `opener` of an `open` whose file, if it is new, its owner alone may read."""
    return os.open(path, flags, PRIVATE)


def create_privately(path: Path) -> None:
    """Make an empty file that its owner alone may read, if there is no file yet. Raises OSError."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE))


def hide_from_others(path: Path) -> None:
    """Take a file's permissions from all but its owner and its group, if it is there and ours.

    A group may be meant to read it, for backups say.
    """
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & stat.S_IRWXO:
            path.chmod(mode & ~stat.S_IRWXO)
