"""The file that a command writes: never one that is still needed, and never a part of one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.cli.terminal import EXIT_USAGE, CommandError, discard_output
from gateway.store.private_files import private_opener

PART_SUFFIX = ".part"
"""The database of an unfinished run has the output's name with this suffix."""
FOREIGN_SUFFIXES = frozenset({".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".pdf"})
"""Of files that their programs would not open if CSV were in them."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """Where a result is written; `-` is standard output."""

    name: str
    force: bool = False
    """An existing file may be replaced."""

    @property
    def is_stdout(self) -> bool:
        return self.name == "-"

    @property
    def is_kept(self) -> bool:
        """Whether it is a file, beside which an unfinished run is kept."""
        return not self.is_stdout and not self._is_device

    @property
    def part(self) -> str:
        """The database beside it; empty if there is none."""
        return self.name + PART_SUFFIX if self.is_kept else ""

    @property
    def shown(self) -> str:
        return "standard output" if self.is_stdout else self.name

    @property
    def _is_device(self) -> bool:
        """Such as /dev/null or a named pipe, which is written to and never replaced."""
        path = Path(self.name)
        return path.exists() and not path.is_file() and not path.is_dir()

    def check(self, source: BinaryIO) -> None:
        """Raise CommandError if it cannot be the output of a command that reads `source`."""
        path = Path(self.name)
        if self.is_stdout or self._is_device:
            return
        if path.suffix.lower() in FOREIGN_SUFFIXES:
            raise CommandError(
                f"{self.name}: only CSV and JSON lines are written; name it"
                f" {path.with_suffix('.csv')}, which spreadsheets open",
                EXIT_USAGE,
            )
        if not path.absolute().parent.is_dir():
            raise CommandError(f"{self.name}: there is no folder {path.parent}", EXIT_USAGE)
        if path.is_dir():
            raise CommandError(f"{self.name}: is a folder", EXIT_USAGE)
        if self.force or not os.path.lexists(path):
            return
        if path.exists() and os.path.samestat(path.stat(), os.fstat(source.fileno())):
            raise CommandError(
                f"{self.name} is the list itself; name another file, or replace it with --force",
                EXIT_USAGE,
            )
        raise CommandError(f"{self.name} exists; --force replaces it", EXIT_USAGE)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it for writing; a file appears only when it is complete. Raises CommandError."""
        try:
            if self.is_stdout:
                yield sys.stdout.buffer
                sys.stdout.flush()
            elif self._is_device:
                with open(self.name, "wb") as device:
                    yield device
            else:
                with self._complete_file() as file:
                    yield file
        except OSError as exc:
            if self.is_stdout:
                discard_output()
            raise CommandError(f"{self.shown}: cannot write: {exc.strerror}") from exc

    @contextlib.contextmanager
    def _complete_file(self) -> Iterator[BinaryIO]:
        unfinished = Path(self.name + ".tmp")
        unfinished.unlink(missing_ok=True)  # of an earlier run, with permissions of its own
        try:
            with open(unfinished, "xb", opener=private_opener) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if os.path.lexists(self.name) and not self.force:
                raise CommandError(
                    f"{self.name} was made by another program meanwhile; move it, and give the"
                    " same command again"
                )
            unfinished.replace(self.name)
        finally:
            unfinished.unlink(missing_ok=True)
