"""How a table is laid out: its delimiter, the lines above it, its header, the addresses' column.

All of it is judged by the first rows, and by their contents before their titles. Pure.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from adapters.kit.csv_rows import RowReader
from adapters.kit.decoding import NotCsv
from adapters.kit.marks import find_addresses

DELIMITERS = ",;\t|"
SCORED_ROWS = 200
"""Rows by which a delimiter is chosen."""
MAX_SCORED_CHARACTERS = 20_000
"""A longer cell is not searched for addresses."""
MAX_TITLE_LINES = 20
"""Lines above the header: a title, a date, a filter."""
ONE_COLUMN_SHARE = 0.5
"""How well a list without a delimiter fits, where that of a table is the share of its rows that
have the usual number of cells."""

EMAIL_TITLES = (
    "email", "emailaddress", "emailadress", "emailid", "emails", "emailaddresses", "mail",
    "mailaddress", "useremail", "contactemail", "primaryemail", "workemail", "businessemail",
    "email1value", "email1address", "smtpaddress", "primarysmtpaddress",
    "emailadresse", "mailadresse", "mailadressen", "emailadressen", "epostadresse",  # de
    "adresseemail", "adressemail", "adresseelectronique", "courriel", "mél",  # fr
    "correo", "correoelectronico", "correoelectrónico", "direccióndecorreo", "emaildelcliente",
    "direccióndecorreoelectrónico", "indirizzoemail", "indirizzodipostaelettronica",  # es, it
    "postaelettronica", "endereçodeemail", "enderecodeemail", "correioeletrônico",  # pt
    "emailadres", "mailadres", "epost", "epostadress", "epostadressen", "mailadress",  # nl, sv
    "sähköposti", "sähköpostiosoite", "adresemail", "adresemailowy", "emailcím", "emailová",  # fi
    "eposta", "epostaadresi", "электроннаяпочта", "адресэлектроннойпочты", "почта", "имейл",
    "メール", "メールアドレス", "电子邮件", "电子邮箱", "邮箱", "이메일", "이메일주소",
)  # fmt: skip
"""Titles of a column with addresses, in lower case and without punctuation; the first counts."""
_RANKS = {title: rank for rank, title in enumerate(EMAIL_TITLES)}

_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Top:
    """The beginning of a table."""

    header: Sequence[str] | None
    skipped: int
    """Rows before the first one of the table, the header not counted."""


def named_delimiter(line: str) -> str | None:
    """The delimiter that Excel's own first line names: `sep=;`."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return found[1] if found else None


def normalize_title(title: str) -> str:
    """A title in lower case, letters and digits alone."""
    return "".join(filter(str.isalnum, title.casefold()))


def is_email_title(title: str) -> bool:
    return normalize_title(title) in _RANKS


def usual_width(rows: Iterable[Sequence[str]]) -> int:
    """The number of cells that most rows have, 1 aside; the larger of two. 0 without rows."""
    widths = Counter(map(len, rows))
    several = {width: count for width, count in widths.items() if width > 1} or widths
    return max(several, key=lambda width: (several[width], width), default=0)


def find_delimiter(lines: Sequence[str], delimiters: str = DELIMITERS) -> str:
    """The delimiter with which most rows have their address in one column; empty for one column.

    A list whose every line is an address, or several, has one column. Of several delimiters, that
    which finds more addresses in all, then that which cuts more rows into the
    same number of cells, then that with more columns.
    """
    lines = [line for line in lines if line.strip()][:SCORED_ROWS]
    found = [len(find_addresses(line)) for line in lines]
    alone, total = sum(map(bool, found)), sum(found)
    if alone == len(lines):
        return ""
    scores: dict[str, tuple[float, ...]] = {"": (alone, total, ONE_COLUMN_SHARE, 1)}
    for delimiter in delimiters:
        rows = list(_rows(lines, delimiter))
        width = usual_width(rows)
        if width > 1:
            share = sum(len(row) == width for row in rows) / len(rows)
            scores[delimiter] = (*_score(rows), share, width)
    return max(scores, key=scores.__getitem__)


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The rows before the first that the CSV reader refuses."""
    with contextlib.suppress(NotCsv):
        yield from RowReader(iter(lines), delimiter)


def _score(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    counts, total = Counter[int](), 0
    for row in rows:
        for column, cell in enumerate(row):
            found = len(_addresses(cell))
            counts[column] += bool(found)
            total += found
    return max(counts.values(), default=0), total


def _addresses(cell: str) -> Sequence[str]:
    return find_addresses(cell) if len(cell) <= MAX_SCORED_CHARACTERS else ()


def find_top(
    rows: Sequence[Sequence[str]], width: int, *, column: str | None = None, titled: bool = True
) -> Top:
    """The header, and the lines above it: those with fewer cells than the rows below.

    `column` is a title that the header has. A table's first row is its header unless an address is
    in it; a list with one column has one if we know the title, or with `titled`.
    """
    top = rows[:MAX_TITLE_LINES]
    addresses = [[at for at, cell in enumerate(row) if _addresses(cell)] for row in top]
    first = next((number for number, found in enumerate(addresses) if found), len(top))
    wanted = column and column.strip().casefold()
    known = [
        number
        for number, row in enumerate(top[:first])
        if any(is_email_title(cell) or cell.strip().casefold() == wanted for cell in row)
    ]
    full = [number for number, row in enumerate(top[:first]) if len(row) >= width]
    if both := [number for number in known if number in full]:
        return Top(top[both[0]], both[0])
    if width <= 1:
        is_title = titled and 0 < first < len(top) and not set("@.#") & {*top[0][0]}
        return Top(top[0] if is_title else None, 0)
    at = addresses[first][0] if first < len(top) else 0
    for number in full if first < len(top) else ():
        if sum(map(_has_text, top[number])) > 1 and any(map(_has_text, top[number][at : at + 1])):
            return Top(top[number], number)
    if known:
        return Top(top[known[0]], known[0])
    if first == len(top):  # no address at all
        header = top[0] if top and not any("@" in cell for cell in top[0]) else None
        return Top(header, 0)
    return Top(None, next(iter(full), first))


def _has_text(cell: str) -> bool:
    return bool(cell) and not cell.isspace()


def count_addresses(width: int, rows: Iterable[Sequence[str]]) -> tuple[list[int], list[int]]:
    """For each column, the cells with an address, and those with anything."""
    counts, filled = [0] * width, [0] * width
    for row in rows:
        for column, cell in enumerate(row[:width]):
            if _has_text(cell):
                filled[column] += 1
                counts[column] += bool(_addresses(cell))
    return counts, filled


def find_email_column(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int | None:
    """The column with the addresses; None if there is none.

    A column that is titled so, unless half of its cells hold something else; else the one with
    most addresses, `mail` in its title before others; else, without any address, a titled one.
    """
    counts, filled = count_addresses(len(headers), rows)
    titles = [normalize_title(header) for header in headers]
    by_title = sorted(
        (column for column, title in enumerate(titles) if title in _RANKS),
        key=lambda column: _RANKS[titles[column]],
    )
    mostly = [2 * count >= max(all_, 1) for count, all_ in zip(counts, filled, strict=True)]
    for column in by_title:
        if mostly[column]:
            return column
    with_any = [column for column, count in enumerate(counts) if count]
    if not with_any:
        return by_title[0] if by_title else None
    return max(
        with_any, key=lambda column: (mostly[column] and "mail" in titles[column], counts[column])
    )
