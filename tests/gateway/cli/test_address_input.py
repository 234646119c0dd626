"""The addresses of `veriplex verify`: arguments, and lists on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from gateway.cli.address_input import AddressInput, Asked, ListChoice
from gateway.cli.terminal import CommandError

A, B = "ada@x.test", "bob@x.test"


@pytest.fixture
def stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """A file that is standard input from its start."""
    path = tmp_path / "stdin"
    with path.open("w+b", buffering=0) as writing, path.open("rb") as reading:
        monkeypatch.setattr(sys, "stdin", reading)
        yield writing


async def read(*given: str, choice: ListChoice | None = None) -> list[Asked]:
    return [asked async for asked in AddressInput(given, choice).addresses()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"{A}\n{B}\n".encode(), [(A, A), (B, B)]),
        (f"\ufeff{A}\r\n\r\n  \t\n {B}".encode(), [(A, A), (B, B)]),
        (f"{A}\r{B}\r".encode("utf-16"), [(A, A), (B, B)]),
        (f"Ada <{A}>\n{B};\n".encode(), [(A, f"Ada <{A}>"), (B, f"{B};")]),
        (f"Name,Email\nAda,{A} ::: {B}\n".encode(), [(A, f"{A} ::: {B}"), (B, f"{A} ::: {B}")]),
        (f'["{A}", "{B}"]'.encode(), [(A, A), (B, B)]),
        (b"", []),
    ],
)
async def test_a_list_on_standard_input(
    stdin: IO[bytes], data: bytes, expected: list[tuple[str, str]]
) -> None:
    stdin.write(data)
    assert await read("-") == expected


async def test_a_long_list_keeps_its_order(stdin: IO[bytes]) -> None:
    addresses = [f"u{number}@x.test" for number in range(20_000)]
    stdin.write("\n".join(addresses).encode())
    assert [asked.text for asked in await read("first@x.test", "-", "last@x.test")] == [
        "first@x.test",
        *addresses,
        "last@x.test",
    ]


async def test_marks_are_taken_off_arguments() -> None:
    assert await read(f"Ada <{A}>", f"{A}, {B}") == [
        (A, f"Ada <{A}>"),
        (A, f"{A}, {B}"),
        (B, f"{A}, {B}"),
    ]


@pytest.mark.parametrize(
    ("given", "total", "several"),
    [((A,), 1, False), ((A, B), 2, True), ((f"{A}; {B}",), 2, True), (("-",), None, True)],
)
def test_the_number_of_addresses(given: tuple[str, ...], total: int | None, several: bool) -> None:
    asked = AddressInput(given)
    assert (asked.total, asked.several) == (total, several)


async def test_column_and_encoding_may_be_named(stdin: IO[bytes]) -> None:
    stdin.write(f"Größe;Mail 2\n{A};{B}\n".encode("cp1252"))
    assert await read("-", choice=ListChoice(column="2", encoding="cp1252")) == [(B, B)]


async def test_what_is_no_list_is_refused(stdin: IO[bytes]) -> None:
    stdin.write(f"{A}\nJörg\n".encode("cp1252"))
    with pytest.raises(CommandError, match="standard input: line 2 is not UTF-8 text"):
        await read("-")


async def test_unreadable_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        def fileno(self) -> int:
            return fd

        def isatty(self) -> bool:
            return False

    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        monkeypatch.setattr(sys, "stdin", Folder())
        with pytest.raises(CommandError, match="cannot read standard input: Is a directory"):
            await read("-")
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ["no addresses in standard input"]),
        (b"email\n", ["no addresses in standard input", "addresses from column 'email'"]),
        (
            f'List of June\nName,Mail,Old mail\nAda,{A},{B}\n"Cy,,\n'.encode(),
            [
                "standard input: line 1: 'List of June' stands above the table and was left out",
                "standard input: line 4: a quote is never closed; the line was read by itself",
                "standard input: 1 row has no address",
                "addresses from column 'Mail' (also in 'Old mail')",
            ],
        ),
        (f"{A}\n".encode(), []),
    ],
)
async def test_what_became_of_the_list_is_said_at_the_end(
    stdin: IO[bytes], capsys: pytest.CaptureFixture[str], data: bytes, said: list[str]
) -> None:
    stdin.write(data)
    given = AddressInput(["-"])
    _ = [asked async for asked in given.addresses()]
    given.report()
    assert capsys.readouterr().err == "".join(f"veriplex: {line}\n" for line in said)
