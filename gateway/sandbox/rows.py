"""The rows of one batch of a test key: its entries, and what each of them counts towards.

A row is stored as its JSON and one byte more, in a sixth of the memory that objects would take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from adapters.contract.jobs import BatchEntry

ROWS_PER_BLOCK = 250
BLOCK_CHARACTERS = 64 * 1024
"""Rows are stored, and read again, in blocks of so many rows or characters."""


class StoredRows:
    """The entries of a batch, by position."""

    def __init__(self, entries: Iterable[BatchEntry] = ()) -> None:
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        """Position of the first row of each block."""
        self._open: list[BatchEntry] = []
        """The last block, until it is full."""
        self._open_characters = 0
        self._length = 0
        self.size = 0
        """Bytes of all blocks."""
        for entry in entries:
            self.append(entry)

    @classmethod
    def unpack(cls, data: bytes, starts: Sequence[int], length: int) -> StoredRows:
        """Of what `pack` and `starts` returned."""
        rows = cls()
        rows._blocks = data.split(b"\n") if length else []
        rows._starts = list(starts)
        rows._length = length
        rows.size = sum(map(len, rows._blocks))
        return rows

    def pack(self) -> bytes:
        """All rows, in lines of a block each: the JSON of a block has no line break."""
        return b"\n".join([*self._blocks, *([_block_of(self._open)] if self._open else [])])

    @property
    def starts(self) -> list[int]:
        """Position of the first row of each line that `pack` returns."""
        first_open = self._length - len(self._open)
        return [*self._starts, *([first_open] if self._open else [])]

    def __len__(self) -> int:
        return self._length

    def append(self, entry: BatchEntry) -> None:
        self._open.append(entry)
        self._length += 1
        self._open_characters += len(entry.email) + sum(map(len, entry.cells))
        if len(self._open) == ROWS_PER_BLOCK or self._open_characters > BLOCK_CHARACTERS:
            block = bytes(
                memoryview(_block_of(self._open))
            )  # the encoder's buffer may be twice as large
            self._starts.append(self._length - len(self._open))
            self._blocks.append(block)
            self.size += len(block)
            self._open, self._open_characters = [], 0

    def clear(self) -> None:
        """Free the memory. The length stays."""
        self._blocks, self._starts, self._open = [], [], []

    def block_with(self, position: int) -> tuple[int, list[BatchEntry]]:
        """The block with the row at a position, and the position of its first row."""
        first_open = self._length - len(self._open)
        if position >= first_open:
            return first_open, self._open
        number = bisect_right(self._starts, position) - 1
        rows: list[list[str]] = orjson.loads(self._blocks[number])
        return self._starts[number], [BatchEntry(row[0], tuple(row[1:])) for row in rows]


def _block_of(entries: Iterable[BatchEntry]) -> bytes:
    return orjson.dumps([(entry.email, *entry.cells) for entry in entries])


class RowReader:
    """Reads single rows, and keeps the block of the last one."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self._first = 0
        self._block: list[BatchEntry] = []

    def entry(self, position: int) -> BatchEntry:
        """Raises IndexError if the rows were cleared."""
        if not 0 <= position - self._first < len(self._block):
            self._first, self._block = self._rows.block_with(position)
        return self._block[position - self._first]


class RowKind(NamedTuple):
    """What a row counts towards."""

    word: str
    """`BatchRules.row_word`."""
    counters: tuple[str, ...]
    """`BatchRules.extra_counters`."""
    counters_before_start: tuple[str, ...]
    """`BatchRules.counters_before_start`."""


class Tally:
    """The kinds of a batch's rows, and the counters of the first of them.

    The counters are kept from one look to the next, so that a look costs as much as the rows that
    were answered since.
    """

    def __init__(self) -> None:
        self._codes = bytearray()
        """The kind of each row; a vendor's words make a few dozen kinds."""
        self._code_by_kind: dict[RowKind, int] = {}
        self._words: tuple[str, ...] = ()
        """By code, as far as they were asked for."""
        self._done = 0
        self._counts: Counter[str] = Counter()
        """Of the first `_done` rows."""
        self._before_start: Counter[str] = Counter()

    @classmethod
    def of_codes(cls, kinds: Sequence[RowKind], codes: bytes) -> Tally:
        """Of what `kinds` and `codes` returned."""
        tally = cls()
        tally._codes = bytearray(codes)
        tally._code_by_kind = {kind: code for code, kind in enumerate(kinds)}
        for code, kind in enumerate(kinds):
            for name in kind.counters_before_start:
                tally._before_start[name] += codes.count(code)
        return tally

    @property
    def kinds(self) -> list[RowKind]:
        """By code."""
        return list(self._code_by_kind)

    @property
    def codes(self) -> bytes:
        """The kind of each row."""
        return bytes(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def append(self, kind: RowKind) -> None:
        self._codes.append(self._code_by_kind.setdefault(kind, len(self._code_by_kind)))
        self._before_start.update(kind.counters_before_start)

    def counts(self, done: int) -> Counter[str]:
        """The counters of the first `done` rows, and those of all rows that need no result."""
        first, last = sorted((self._done, done))
        sign = 1 if done >= self._done else -1
        for kind, code in self._code_by_kind.items():
            number = sign * self._codes.count(code, first, last)
            if number:
                for name in (kind.word, *kind.counters):
                    self._counts[name] += number
        self._done = done
        return self._counts + self._before_start

    def codes_of(self, words: frozenset[str]) -> frozenset[int]:
        """The codes of the rows that are called by one of these words."""
        return frozenset(code for kind, code in self._code_by_kind.items() if kind.word in words)

    def code(self, position: int) -> int:
        return self._codes[position]

    def word_at(self, position: int) -> str:
        """The word of a row."""
        if len(self._words) < len(self._code_by_kind):
            self._words = tuple(kind.word for kind in self._code_by_kind)
        return self._words[self._codes[position]]
