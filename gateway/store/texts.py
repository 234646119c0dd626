"""Texts as PostgreSQL can store them: a client may send U+0000, which no text of its has."""

from __future__ import annotations

import psycopg
from psycopg.adapt import Buffer
from psycopg.types.string import StrBinaryDumper, StrDumper, StrDumperUnknown

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class _Dumper(StrDumper):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_storable(obj))


class _UnknownDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_storable(obj))


class _BinaryDumper(StrBinaryDumper):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_storable(obj))


def replace_unstorable(connection: psycopg.AsyncConnection) -> None:
    """Let all statements of a connection send U+FFFD for U+0000, as a list in a batch has it.

    Of psycopg's dumpers in C a subclass is not called, so these are those in Python.
    """
    for dumper in (_BinaryDumper, _Dumper, _UnknownDumper):  # the last is the default
        connection.adapters.register_dumper(str, dumper)


def _storable(text: str) -> str:
    return text.replace("\0", REPLACEMENT)
