"""Tables as clients upload them, and rows as vendors write them."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kit.csv import (
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    NotCsv,
    csv_cell,
    csv_line,
    find_email_column,
    fit_row,
    read_lines,
    read_table,
)


def chunks(data: bytes, size: int = 3) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


TABLES: list[tuple[str, tuple[str, ...], list[list[str]]]] = [
    # text, headers, rows
    ("Name,Email\nAda,ada@x.test\n", ("Name", "Email"), [["Ada", "ada@x.test"]]),
    ("Name;Email\r\nAda;ada@x.test", ("Name", "Email"), [["Ada", "ada@x.test"]]),
    ("ada@x.test\ngrace@x.test\n", ("col0",), [["ada@x.test"], ["grace@x.test"]]),
    (
        "a@x.test,1\nb@x.test,2,3\n",
        ("col0", "col1", "col2"),
        [["a@x.test", "1"], ["b@x.test", "2", "3"]],
    ),
    (" Email \n\n  \nada@x.test\n", ("Email",), [["ada@x.test"]]),
    ('Name\tEmail\n"a\tb"\tada@x.test\n', ("Name", "Email"), [["a\tb", "ada@x.test"]]),
    ("", (), []),
    ("\n\n", (), []),
]


@pytest.mark.parametrize(("text", "headers", "rows"), TABLES)
def test_a_table_is_read(text: str, headers: tuple[str, ...], rows: list[list[str]]) -> None:
    table = read_table(read_lines(chunks(text.encode("utf-8-sig"))))
    assert table.headers == headers
    assert [list(row) for row in table.rows] == rows


@pytest.mark.parametrize(
    ("has_header", "headers", "count"),
    [(True, ("a@x.test",), 1), (False, ("col0",), 2), (None, ("col0",), 2)],
)
def test_the_dialect_may_know_whether_there_is_a_header(
    has_header: bool | None, headers: tuple[str, ...], count: int
) -> None:
    table = read_table(iter(["a@x.test\n", "b@x.test\n"]), has_header=has_header)
    assert (table.headers, len(list(table.rows))) == (headers, count)


def test_the_dialect_may_allow_other_delimiters() -> None:
    lines = ["name|email\n", "Ada|ada@x.test\n"]
    assert read_table(iter(lines)).headers == ("name", "email")
    assert read_table(iter(lines), delimiters=",;").delimiter == ""


@pytest.mark.parametrize(
    ("headers", "rows", "column"),
    [
        (("Name", " E-Mail "), [], 1),
        (("mail", "email"), [], 1),
        (("a", "b"), [["x", "ada@x.test"], ["@", "b@x.test"]], 1),
        (("a", "b"), [["ada@x.test", "b@x.test"]], 0),
        (("a", "b"), [["x"], []], None),
        ((), [], None),
    ],
)
def test_the_column_with_the_addresses(
    headers: tuple[str, ...], rows: list[list[str]], column: int | None
) -> None:
    assert find_email_column(headers, rows) == column


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        (b"email\na\0@x.test\n", "is not text", 2),
        (b"email\n\xff@x.test\n", "is not UTF-8 text", 2),
        (b"x" * MAX_LINE_CHARACTERS, "is too long", 1),
        (b"a\n" + b"x" * 10 * MAX_LINE_CHARACTERS, "is too long", 2),
        (b"a\n" + b"x" * MAX_LINE_CHARACTERS + b"\n", "is too long", 2),
        (b"\n" * (MAX_LINES + 1), "has too many lines", None),
        (b"\r" * (MAX_LINES + 1), "has too many lines", None),
        (b",\n" * (MAX_LINES + 1), "has too many lines", None),
    ],
    ids=range(8),
)
def test_bytes_that_are_not_text_are_refused(data: bytes, reason: str, line: int | None) -> None:
    with pytest.raises(NotCsv, match=reason) as refused:
        list(read_lines(chunks(data, 65_536)))
    assert refused.value.line == line


@given(st.text(st.sampled_from('a\r\n"\u2028\x0b,'), max_size=40), st.integers(1, 5))
def test_lines_end_where_the_standard_library_ends_them(text: str, size: int) -> None:
    expected = io.StringIO(text, newline="").readlines()
    assert list(read_lines(chunks(text.encode(), size))) == expected


def test_the_dialect_may_bound_rows() -> None:
    lines = ["a,b,c\n", "1,2,3\n"]
    assert read_table(iter(lines)).width == 3
    with pytest.raises(NotCsv, match="has too many cells") as refused:
        read_table(iter(lines), max_cells=2)
    assert refused.value.line == 1
    with pytest.raises(NotCsv, match="has a cell that is too long"):
        read_table(iter(["a,bbb\n"]), max_cell_characters=2)
    with pytest.raises(NotCsv, match="is not CSV"):
        read_table(iter(["email,n\n", '"' + "a" * 200_000 + '",x@y.z\n']))


def test_a_row_is_padded_or_cut() -> None:
    assert fit_row(["a"], 3) == ("a", "", "")
    assert fit_row(["a", "b", "c"], 2) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "cell"),
    [(True, "true"), (False, "false"), (None, ""), (0, "0"), (0.5, "0.5"), ("a", "a")],
)
def test_a_cell(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


def test_cells_are_quoted_where_they_must_be_or_everywhere() -> None:
    assert csv_line(["a", 'b"c', "d,e", ""]) == b'a,"b""c","d,e",\n'
    assert csv_line(["a", 'b"c', ""], quote_all=True) == b'"a","b""c",""\n'


@given(
    st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"))),
    st.booleans(),
)
def test_written_cells_are_read_back(cells: list[str], quote_all: bool) -> None:
    line = csv_line(["x", *cells], quote_all=quote_all).decode()
    assert list(csv.reader(io.StringIO(line, newline=""))) == [["x", *cells]]
