"""Tables: plain columns for scripts, drawn and folded on a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from gateway.cli.tables import Line, plain_lines, print_table, styled

HEADINGS = ("name", "kind", "detail")
ROWS = [
    ("one", "a", "short"),
    styled(("two\x1b[2J", "bb", ""), "red"),
    ("three", "c", [Line("first line"), Line("second line, which is longer", "dim")]),
]
PLAIN = [
    "name        kind  detail",
    "one         a     short",
    r"two\x1b[2J  bb",
    "three       c     first line",
    "                  second line, which is longer",
]


def test_plain_columns() -> None:
    assert list(plain_lines([HEADINGS, *ROWS])) == PLAIN
    assert list(plain_lines([("ok", "fine")], first_width=4)) == ["ok    fine"]
    assert list(plain_lines([])) == []


def test_pipes_get_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, headings=HEADINGS)
    assert capsys.readouterr().out.splitlines() == PLAIN


class Terminal(io.StringIO):
    """A terminal, as far as `isatty` says."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], width: int) -> list[str]:
    """The lines that a terminal of that width gets, without colours."""
    screen = Terminal()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdout", screen)
        print_table(rows, headings=HEADINGS)
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    return [line.rstrip() for line in text.splitlines()]


WORDS = ("one", "a-word", "some more words, which are folded where they do not fit")


def test_the_last_column_is_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, [WORDS], 200) == ["name  kind    detail", f"one   a-word  {WORDS[2]}"]
    narrow = shown(monkeypatch, [WORDS], 40)
    assert max(map(len, narrow)) <= 40
    assert " ".join(" ".join(line.split()) for line in narrow[1:]) == " ".join(WORDS)


def test_where_columns_do_not_fit_rows_are_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[str, ...]] = [
        WORDS,
        ("two", "", "short"),
        ("three", "an-url", "https://vendor.test/a/long/path"),
    ]
    assert shown(monkeypatch, rows, 30) == [
        "one  a-word",
        "      some more words, which",
        "      are folded where they do",
        "      not fit",
        "two",
        "      short",
        "three  an-url",
        "      https://vendor.test/a/lo",
        "      ng/path",
    ]
