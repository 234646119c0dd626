"""The text of a file from somewhere: its encoding, and its lines. Pure, and a piece at a time."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from itertools import chain

MAX_LINE_CHARACTERS = 1_000_000

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its first half
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LONGEST_MARK = 4
NAMES = {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}

FOREIGN_FILES = (
    (b"PK\x03\x04", "is a ZIP or Excel file; save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel or Word file; save the sheet as CSV"),
    (b"%PDF", "is a PDF file; a list is CSV, text or JSON"),
    (b"{\\rtf", "is rich text; save it as plain text"),
    (b"\x1f\x8b", "is compressed; unpack it first"),
    (b"BZh", "is compressed; unpack it first"),
    (b"\xfd7zXZ", "is compressed; unpack it first"),
    (b"(\xb5/\xfd", "is compressed; unpack it first"),
    (b"7z\xbc\xaf", "is compressed; unpack it first"),
    (b"SQLite format 3", "is a database; export the table as CSV"),
)
"""First bytes of files that people take for lists, and what to do with them."""
LONGEST_START = max(len(start) for start, _ in FOREIGN_FILES)


class NotCsv(ValueError):
    """The file is no list. The message completes "The file …", or "Line 7 …" if `line` is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line
        """From 1; None if it is not known."""


class WrongEncoding(NotCsv):
    """The file is not in the encoding that it should have."""


def detect_encoding(head: bytes) -> str:
    """The encoding of a file by its first bytes: by its mark, else UTF-8.

    UTF-16 without a mark is known by the zero bytes beside the ASCII of the first characters.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    odd, even = head[1:LONGEST_MARK:2], head[:LONGEST_MARK:2]
    if len(head) >= LONGEST_MARK and not any(odd) and all(even):
        return "utf-16-le"
    if len(head) >= LONGEST_MARK and not any(even) and all(odd):
        return "utf-16-be"
    return "utf-8"


class Decoder:
    """Decodes a file; `encoding` is known once the first text has been read."""

    def __init__(
        self, chunks: Iterable[bytes], encoding: str | None = None, *, otherwise: str | None = None
    ) -> None:
        """`encoding` is that of the file, None to detect it.

        `otherwise` is that of a file that is not UTF-8, if all before the first byte that shows it
        is ASCII.
        """
        self._chunks = iter(chunks)
        self._lines_before = 0
        self._is_ascii = True
        self._otherwise = otherwise
        self.encoding = encoding or ""
        self._wanted = encoding
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")()

    def texts(self) -> Iterator[str]:
        """The file in pieces; an empty piece for each empty chunk. Raises NotCsv."""
        head, rest = b"", self._chunks
        for chunk in self._chunks:
            head += chunk
            if head and not chunk:
                rest = chain((b"",), self._chunks)
            if len(head) >= LONGEST_START or (head and not chunk):
                break
        for start, reason in FOREIGN_FILES:
            if head.startswith(start):
                raise NotCsv(reason)
        detected = detect_encoding(head)
        if self._wanted is None or detected.startswith(codecs.lookup(self._wanted).name):
            self.encoding = detected  # a mark says more than the name: `utf-8-sig` than `utf-8`
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        for chunk in chain((head,), rest):
            text = self._decode(chunk)
            if text or (head and not chunk):
                yield text
        if text := self._decode(b"", final=True):
            yield text

    def _decode(self, chunk: bytes, *, final: bool = False) -> str:
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeError as exc:
            text = self._decode_otherwise(exc, final=final)
        self._lines_before += count_line_ends(text)
        self._is_ascii = self._is_ascii and text.isascii()
        return text

    def _decode_otherwise(self, error: UnicodeError, *, final: bool) -> str:
        before = ""
        if isinstance(error, UnicodeDecodeError):
            before = error.object[: error.start].decode(self.encoding, "replace")
            if self._otherwise and self.encoding == "utf-8" and self._is_ascii and before.isascii():
                self.encoding, self._otherwise = self._otherwise, None
                self._decoder = codecs.getincrementaldecoder(self.encoding)()
                return self._decode_again(error.object, final=final)
        line = 1 + self._lines_before + count_line_ends(before)
        name = NAMES.get(self.encoding, self.encoding.upper())
        raise WrongEncoding(f"is not {name} text", line) from error

    def _decode_again(self, data: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeError as exc:
            return self._decode_otherwise(exc, final=final)


def count_line_ends(text: str) -> int:
    """Line feeds, and carriage returns without one."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def split_lines(texts: Iterable[str], *, max_lines: int | None = None) -> Iterator[str]:
    """The lines with their ends; an empty one for each empty text. Raises NotCsv.

    A line ends with a line feed, a carriage return, or both.
    """
    number = 0
    for block in _whole_lines(texts):
        lines = io.StringIO(block, newline="").readlines() if block else [""]
        if "\0" in block or len(block) >= MAX_LINE_CHARACTERS:
            _check_lines(lines, first=number + 1)
        number += len(lines) if block else 0
        if max_lines is not None and number > max_lines:
            raise NotCsv("has too many lines")
        yield from lines


def _check_lines(lines: Iterable[str], first: int) -> None:
    for number, line in enumerate(lines, start=first):
        if len(line) >= MAX_LINE_CHARACTERS:
            raise NotCsv("is too long", number)
        if "\0" in line:
            raise NotCsv("is not text", number)


def _whole_lines(texts: Iterable[str]) -> Iterator[str]:
    """The text in blocks of whole lines; the last may be the start of a line that is too long."""
    rest = ""
    for text in texts:
        if not text:
            yield ""
            continue
        text = rest + text
        # a carriage return at the end may be half of a line end
        end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
        rest = text[end:]
        if end:
            yield text[:end]
        if len(rest) >= MAX_LINE_CHARACTERS:
            break
    if rest:
        yield rest
