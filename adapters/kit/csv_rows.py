"""The rows of a CSV text, of which no line is lost where a quote is never closed. Pure."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.kit.decoding import NotCsv
from adapters.kit.marks import find_addresses

MAX_REMARKS = 5
"""Kept with their lines; the others are counted."""
MAX_ROW_CHARACTERS = 1_000_000
"""Of a row with line ends inside quotes."""
MAX_CHARACTERS_READ_AGAIN = 5_000_000
"""For all quotes of a file that are never closed: each can cost as much as its row is long."""
_BETWEEN_CELLS = ",;|\t \x1a"
"""Delimiters, blanks, and the character that ends a file of DOS."""
UNCLOSED_QUOTE = "a quote is never closed; the line was read by itself"


class Remarks:
    """What was done to read a file, for its user."""

    def __init__(self) -> None:
        self.first: list[tuple[int, str]] = []
        """The number of the line, from 1, and what follows "line 7: "."""
        self.count = 0

    def add(self, line: int, text: str) -> None:
        self.count += 1
        if len(self.first) < MAX_REMARKS:
            self.first.append((line, text))


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What a dialect allows a row; None is no limit."""

    max_cells: int | None = None
    max_cell_characters: int | None = None


class RowReader:
    """Iterates rows without blank ones. Raises NotCsv.

    A quoted cell may contain line ends. If its quote is not closed properly before the end of the
    file, the first of its lines is read without quotes, and the others are read again.
    """

    def __init__(
        self,
        lines: Iterator[str],
        delimiter: str,
        *,
        limits: RowLimits | None = None,
        first_line: int = 1,
        width: int = 0,
        remarks: Remarks | None = None,
        escape: str | None = None,
    ) -> None:
        """`delimiter` is empty for one column; `width` is the usual number of cells, if known.

        `escape` makes the next character an ordinary one.
        """
        self._escape = escape
        self._feed = _LineFeed(lines)
        self._delimiter = delimiter
        self._limits = limits or RowLimits()
        self._width = width
        self._remarks = remarks or Remarks()
        self.line = first_line
        """The number of the first line of the next row."""
        self.row_line = first_line
        """That of the row that was read last."""

    def __iter__(self) -> Iterator[list[str]]:
        for row in self._csv_rows() if self._delimiter else self._single_cells():
            if "".join(row).strip(" \t\r\n\x1a"):
                yield row

    def _single_cells(self) -> Iterator[list[str]]:
        for line in self._feed:
            self._feed.start_row()
            cell = line.strip()
            if not cell.strip(_BETWEEN_CELLS):
                cell = ""
            row = [unquoted(cell, self._escape) if cell[:1] == '"' else cell]
            self._check(row)
            self.row_line, self.line = self.line, self.line + 1
            yield row

    def _csv_rows(self) -> Iterator[list[str]]:
        reader = csv.reader(self._feed, delimiter=self._delimiter, escapechar=self._escape)
        while True:
            self._feed.start_row()
            try:
                row = next(reader, None)
            except csv.Error as exc:
                if len(self._feed.row) < 2:
                    raise NotCsv(f"is not CSV: {exc}", self.line) from exc
                row = self._first_line_alone()
            if row is None:
                return
            if self._feed.ended_in_row or self._is_broken(row):
                row = self._first_line_alone()
            self._check(row)
            self.row_line, self.line = self.line, self.line + len(self._feed.row)
            yield row

    def _check(self, row: Sequence[str]) -> None:
        most, longest = self._limits.max_cells, self._limits.max_cell_characters
        if most is not None and len(row) > most:
            raise NotCsv("has too many cells", self.line)
        if longest is not None and row and max(map(len, row)) > longest:
            raise NotCsv("has a cell that is too long", self.line)

    def _is_broken(self, row: Sequence[str]) -> bool:
        """Whether a quote that is not closed swallowed cells of its line, or lines after it.

        Text follows the quote that closes it, or rows are inside.
        """
        lines, few = self._feed.row, len(row) < self._width
        if len(lines) == 1:
            return few and self._has_usual_width(lines[0]) and self._is_misquoted()
        if any(map(self._is_row, lines[1:])) and (few or self._width > 2):
            return True
        return self._is_misquoted()

    def _is_misquoted(self) -> bool:
        try:
            list(
                csv.reader(
                    self._feed.row,
                    delimiter=self._delimiter,
                    escapechar=self._escape,
                    strict=True,
                )
            )
        except csv.Error:
            return True
        return False

    def _has_usual_width(self, line: str) -> bool:
        return line.count(self._delimiter) == self._width - 1

    def _is_row(self, line: str) -> bool:
        cells = line.split(self._delimiter)
        return len(cells) == self._width and any(map(find_addresses, cells))

    def _first_line_alone(self) -> list[str]:
        first = self._feed.keep_first_line()
        if self._feed.characters_again > MAX_CHARACTERS_READ_AGAIN:
            raise NotCsv("has a quote that is never closed", self.line)
        self._remarks.add(self.line, UNCLOSED_QUOTE)
        closed = next(csv.reader([first.rstrip("\r\n") + '"'], delimiter=self._delimiter), [])
        if len(closed) == self._width:
            return closed
        plain = next(csv.reader([first], delimiter=self._delimiter, quoting=csv.QUOTE_NONE))
        return [unquoted(cell) if cell[:1] == '"' else cell for cell in plain]


class _LineFeed:
    """Lines for a CSV reader, which asks for no more of them than the row needs."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._characters = 0
        self.row: list[str] = []
        """The lines of the row."""
        self.ended_in_row = False
        """The lines ended before the row did."""
        self.characters_again = 0
        """Characters that were given back to be read again."""

    def start_row(self) -> None:
        self.row, self._characters, self.ended_in_row = [], 0, False

    def keep_first_line(self) -> str:
        """Give back the lines of the row but the first, which is returned."""
        first, *others = self.row
        self._again.extendleft(reversed(others))
        self.characters_again += sum(map(len, others))
        self.row = [first]
        return first

    def __iter__(self) -> _LineFeed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else ""
        while not line:  # an empty line is a pause in a stream
            following = next(self._lines, None)
            if following is None:
                self.ended_in_row = bool(self.row)
                raise StopIteration
            line = following
        self._characters += len(line)
        if self._characters > MAX_ROW_CHARACTERS and self.row:
            self._again.appendleft(line)
            raise csv.Error("the row is too long")
        self.row.append(line)
        return line


def unquoted(cell: str, escape: str | None = None) -> str:
    """A cell that is quoted as a whole, without its quotes."""
    try:
        row = next(csv.reader([cell], escapechar=escape, strict=True), [cell])
    except csv.Error:
        return cell
    return row[0] if len(row) == 1 else cell
