"""Lists that were uploaded and not submitted yet, in files of mode 0600 for an hour.

All processes of a machine share them, so that any of them can show the columns of a list, and
submit it. They are lost with the machine's temporary files, and then uploaded again.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

KEPT_S = 3_600.0
MAX_UPLOADS = 50
"""Further ones replace the oldest."""
CHUNK_BYTES = 64 * 1024
_TOKEN = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """The files in a folder of this user. Every method may raise OSError, and may block."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"veriplex-uploads-{os.getuid()}"

    def save(self, source: BinaryIO) -> str:
        """Store a copy of an open file; returns the token that finds it."""
        self._prepare_folder()
        self._remove_old()
        token = secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(self._folder / token, flags, 0o600), "wb") as file:
            source.seek(0)
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
        return token

    def has(self, token: str) -> bool:
        return bool(_TOKEN.fullmatch(token)) and (self._folder / token).is_file()

    def chunks(self, token: str) -> Iterator[bytes]:
        """The content from its start."""
        with (self._folder / token).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def remove(self, token: str) -> None:
        if self.has(token):
            (self._folder / token).unlink(missing_ok=True)

    def _prepare_folder(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        # another user could have made it first, to read what is put there
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self._folder} is not this user's alone")

    def _remove_old(self) -> None:
        files = sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        oldest = time.time() - KEPT_S
        for number, file in enumerate(files):
            if number >= MAX_UPLOADS - 1 or file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
