"""Names of files in headers."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from adapters.kit.file_names import MAX_CHARACTERS, ascii_file_name, extended_file_name

NAMES = (
    "list.csv",
    "名簿.csv",
    'a"b\\c/../d.csv',
    "\r\nX: y",
    "\0",
    "é\u0085\u200e",
    "x" * 9_999 + ".csv",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_never_breaks_a_header_and_never_has_a_path(name: str) -> None:
    for written in (ascii_file_name(name), extended_file_name(name)):
        assert written.isascii()
        assert written.isprintable()
        assert not set(written) & set('"\\/')
    assert len(ascii_file_name(name)) == min(len(name), MAX_CHARACTERS)
    decoded = unquote(extended_file_name(name).removeprefix("UTF-8''"))
    assert not set(decoded) & set("\r\n\0\\/")


def test_the_end_of_a_long_name_stays() -> None:
    assert ascii_file_name("x" * 9_999 + ".csv").endswith("x.csv")
    assert unquote(extended_file_name("名" * 9_999 + ".csv")).endswith("名.csv")
