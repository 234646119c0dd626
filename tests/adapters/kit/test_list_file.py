"""Lists as spreadsheets, mail programs and address books write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kit.csv_rows import MAX_ROW_CHARACTERS, UNCLOSED_QUOTE
from adapters.kit.decoding import MAX_LINE_CHARACTERS, NotCsv
from adapters.kit.list_file import (
    AddressList,
    ListOptions,
    NoColumn,
    Shape,
    read_list,
    split_note,
)

A, B, C = "ada@x.test", "bob@x.test", "cy@x.test"


def read(data: bytes | str, options: ListOptions | None = None, size: int = 65_536) -> AddressList:
    content = data.encode() if isinstance(data, str) else data
    return read_list(
        lambda: (content[at : at + size] for at in range(0, len(content), size)), options
    )


def addresses(data: bytes | str, options: ListOptions | None = None) -> list[str]:
    return [entry.email for entry in read(data, options).entries]


@dataclass(frozen=True, slots=True)
class Case:
    """A list, its addresses, and the title of their column; no title for addresses alone."""

    id: str
    data: bytes | str
    addresses: tuple[str, ...]
    title: str | None


CASES = [
    # -- delimiters
    Case("comma", f"Name,Email\nAda,{A}\nBob,{B}\n", (A, B), "Email"),
    Case("tab", f"Name\tEmail\nAda, Countess\t{A}\nBob\t{B}\n", (A, B), "Email"),
    Case("bar", f"Name|Email\nAda|{A}\n", (A,), "Email"),
    Case(
        "commas in the header of a table with semicolons",
        f"Name;Address (street, ZIP, town);E-Mail\nAda;Way 1, Rome;{A}\nBob;Way 2, Rome;{B}\n",
        (A, B),
        "E-Mail",
    ),
    Case(
        "commas in most cells of a table with semicolons",
        f"Name;Email;Note\nLovelace, Ada;{A};x, y, z\nByron, Bob;{B};x, y\n",
        (A, B),
        "Email",
    ),
    Case(
        "semicolons in the cells of a table with commas",
        f"Name,Tags,Email\nAda,a;b;c,{A}\nBob,a;b;c;d,{B}\n",
        (A, B),
        "Email",
    ),
    Case("blank lines first", f"\n\n \nName;Email\nAda;{A}\n", (A,), "Email"),
    Case("decimal commas", f"Email;Amount\n{A};1,50\n{B};2,75\n", (A, B), "Email"),
    Case("Excel's sep line", f"sep=;\r\nName;E-Mail\r\nAda;{A}\r\n", (A,), "E-Mail"),
    Case("a quoted sep line", f'"sep=|"\nName|E-Mail\nAda|{A}\n', (A,), "E-Mail"),
    Case("a sep line with a mark", f"\ufeffSEP=\t\nName\tE-Mail\nAda\t{A}\n", (A,), "E-Mail"),
    # -- line ends
    Case("carriage returns alone", f"Email,Name\r{A},Ada\r{B},Bob\r", (A, B), "Email"),
    Case("text with carriage returns", f"{A}\r{B}\r", (A, B), None),
    Case("mixed line ends", f"{A}\r{B}\n{C}\r\n", (A, B, C), None),
    Case("no line end at the end", f"{A}\n{B}", (A, B), None),
    # -- encodings
    Case("UTF-8 with a mark", f"Name,Email\nÄda,{A}\n".encode("utf-8-sig"), (A,), "Email"),
    Case("UTF-16", f"Name\tEmail\nÄda\t{A}\n".encode("utf-16"), (A,), "Email"),
    Case("UTF-16, big end", b"\xfe\xff" + f"{A}\n".encode("utf-16-be"), (A,), None),
    Case("UTF-16 without a mark", f"{A}\r\n{B}\r\n".encode("utf-16-le"), (A, B), None),
    Case("UTF-16, big end, no mark", f"{A}\r\n{B}\r\n".encode("utf-16-be"), (A, B), None),
    Case("UTF-32", f"{A}\n{B}\n".encode("utf-32"), (A, B), None),
    # -- what stands above the table
    Case("a title", f"Export by admin@corp.test\nName,Email\nAda,{A}\n", (A,), "Email"),
    Case("a title and a date", f"Our list\n2026-11-30\n\nName,Email\nAda,{A}\n", (A,), "Email"),
    Case("a padded title", f"Our list,,\nName,Email,Town\nAda,{A},Rome\n", (A,), "Email"),
    Case("a title that is a column's", f"Emails\nName,Contact\nAda,{A}\n", (A,), "Contact"),
    Case("a title as wide", f"Report,2026\nName,Email\nAda,{A}\nBob,{B}\n", (A, B), "Email"),
    Case("an index without a title", f",name,email\n0,Ada,{A}\n1,Bob,{B}\n", (A, B), "email"),
    # -- headers
    Case("no header", f"Ada,{A}\nBob,{B}\n", (A, B), "col1"),
    Case("no header, one empty", f"Cy,\nAda,{A}\nBob,{B}\n", ("", A, B), "col1"),
    Case("handles in a header", f"@handle,Contact\n@a,{A}\n", (A,), "Contact"),
    Case("one column", f"Email\n{A}\n", (A,), "Email"),
    Case("one quoted column", f'"Email"\n"{A}"\n"{B}"\n', (A, B), "Email"),
    Case("one column, a foreign title", f"Kontakte\n{A}\n{B}\n", (A, B), "Kontakte"),
    Case("one column, no title", f"www.x.test\nnobody\n{A}\n", ("www.x.test", "nobody", A), None),
    Case("nothing but bad ones", "bad\nworse\n", ("bad", "worse"), None),
    # -- the column
    Case(
        "flags under Email",
        f"Name,Email,Contact\nAda,Yes,{A}\nBob,No,{B}\n",
        (A, B),
        "Contact",
    ),
    Case(
        "an address among flags",
        f"Name,Email,Contact\nAda,yes,{A}\nBob,{C},{B}\nCy,no,{C}\n",
        (A, B, C),
        "Contact",
    ),
    Case("handles", f"Name,X,Contact\nAda,@ada,{A}\nCy,@cy,\n", (A, ""), "Contact"),
    Case(
        "the owner of each contact",
        f"Owner,Email\nsales@corp.test,{A}\nsales@corp.test,\n",
        (A, ""),
        "Email",
    ),
    Case("a title twice", f"Email,Email,Name\n{A},{B},Ada\n", (A,), "Email"),
    Case("all bad", "Name,E-Mail\nAda,bad\nBob,worse\n", ("bad", "worse"), "E-Mail"),
    Case(
        "Google contacts",
        "Name,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Label,E-mail 2 - Value\n"
        f"Ada,* Work,{A},Home,{C}\nBob,,{B},,\n",
        (A, B),
        "E-mail 1 - Value",
    ),
    Case(
        "Outlook",
        "First Name,E-mail Address,E-mail Type,E-mail Display Name,E-mail 2 Address\r\n"
        f"Ada,{A},SMTP,Ada Lovelace ({A}),{C}\r\nBob,{B},SMTP,Bob ({B}),\r\n",
        (A, B),
        "E-mail Address",
    ),
    Case(
        "Mailchimp",
        f'Email Address,First Name,MEMBER_RATING,TAGS\n{A},Ada,2,"""news"",""beta"""\n{B},Bob,2,\n',
        (A, B),
        "Email Address",
    ),
    Case(
        "HubSpot",
        '"Record ID","Email","Contact owner","Email Domain"\n'
        f'"101","{A}","Sal (sal@corp.test)","x.test"\n"102","","Sal (sal@corp.test)",""\n',
        (A, ""),
        "Email",
    ),
    Case(
        "Exchange",
        'DisplayName;ProxyAddresses\n"Lovelace, Ada";SMTP:ada@x.test\n',
        (A,),
        "ProxyAddresses",
    ),
    Case("German", f"Vorname;Nachname;E-Mail-Adresse\nÄda;L;{A}\n", (A,), "E-Mail-Adresse"),
    Case("French", f"Nom;Adresse e-mail\nAda;{A}\n", (A,), "Adresse e-mail"),
    # -- quotes
    Case("line ends in quotes", f'Note,Email\n"a\nb, c",{A}\nx,{B}\n', (A, B), "Email"),
    Case(
        "addresses in a note of several lines",
        f'Note,Email\n"call\nold: {C}, now",{A}\nx,{B}\n',
        (A, B),
        "Email",
    ),
    Case("quotes inside cells", f'Size,Email\n5" pipe,{A}\n"a ""b""",{B}\n', (A, B), "Email"),
    Case("an unclosed quote", f'Name,Email\n"Ada,{A}\nBob,{B}\nCy,{C}\n', (A, B, C), "Email"),
    Case(
        "an unclosed quote before quoted rows",
        f'"Name","Email"\n"Ada,"{A}"\n"Bob","{B}"\n"Cy","{C}"\n',
        (A, B, C),
        "Email",
    ),
    Case(
        "two unclosed quotes",
        f'Name,Email,Town\n"Ada,{A},Rome\nBob,{B},Rome\n"Cy,{C},Rome\n',
        (A, B, C),
        "Email",
    ),
    Case("an unclosed quote at the end", f'Name,Email\nAda,{A}\n"Bob,{B}', (A, B), "Email"),
    Case(
        "a quote that is closed lines later",
        f'Name,Email,Note\nAda,{A},"x\nBob,{B},y\nCy,{C},"\n',
        (A, B, C),
        "Email",
    ),
    Case(
        "lines that are quoted as a whole",
        f'"Name,Email"\n"Ada,{A}"\n"""L, Bob"",{B}"\n',
        (A, B),
        "Email",
    ),
    Case(
        "handles with a server",
        f"Name,X,Mail\nAda,@ada@x.test,{A}\nBob,@bob@x.test,{B}\n",
        (A, B),
        "Mail",
    ),
    Case("addresses that are quoted as a whole", f'"{A}"\n"{B}"\n', (A, B), None),
    Case("texts that are formulas", f'Name,Email\n"=""Ada""","=""{A}"""\n', (A,), "Email"),
    # -- ragged rows
    Case("short and long rows", f"Name,Email\nAda\n{A},{B},more\n", ("", B), "Email"),
    Case("an address beyond the usual cells", f"u,v\nx,y\n1,2,{A}\n", ("", "", A), "col2"),
    Case("two marks", f"\ufeff\ufeffEmail,Name\n{A},Ada\n", (A,), "Email"),
    Case("the end of a DOS file", f"Name,Email\r\nAda,{A}\r\n\x1a", (A,), "Email"),
    Case("the end of a DOS text", f"{A}\r\n\x1a", (A,), None),
    Case("a Markdown table", f"| Name | Email |\n|---|---|\n| Ada | {A} |\n", ("---", A), "Email"),
    Case(
        "LinkedIn",
        'Notes:\n"When exporting, you may notice, that some addresses are missing."\n\n'
        f"First Name,Last Name,URL,Email Address,Company\nAda,L,https://x.test,{A},X\nBob,B,,,\n",
        (A, ""),
        "Email Address",
    ),
    Case("a note above", f"# exported 2026\nName;Email\nAda;{A}\n", (A,), "Email"),
    Case("a total below", f"Name,Email\nAda,{A}\nTotal: 1\n", (A, ""), "Email"),
    # -- several addresses
    Case("two in a cell", f"Name,Email\nAda,{A} ::: {B}\n", (A, B), "Email"),
    Case("pasted from a mail program", f"Ada L <{A}>; Bob B <{B}>; {C}", (A, B, C), None),
    Case("names with commas", f'"L, Ada" <{A}>, "B, Bob" <{B}>', (A, B), None),
    Case("side by side", f"{A},{B}\n{C}\n", (A, B, C), None),
    Case("side by side with blanks", f"{A} {B}\n{C}\n", (A, B, C), None),
    Case("a semicolon after each", f"{A};\n{B};\n", (A, B), None),
    # -- text
    Case("names in some lines", f"Ada L <{A}>\nB, Bob <{B}>\n{C}\n", (A, B, C), None),
    Case("a comment", f"# old ones: {C}\n{A}\n", ("", A), None),
    # -- JSON
    Case("array", f'["{A}","{B}"]', (A, B), "email"),
    Case("array of objects", f'[{{"n": 1, "mail": "{A}"}},\n {{"mail": "{B}"}}]', (A, B), "mail"),
    Case("object around an array", f'{{"emails": ["{A}", "{B}"]}}', (A, B), "email"),
    Case("objects around", f'{{"data": {{"contacts": [{{"email": "{A}"}}]}}}}', (A,), "email"),
    Case("lines", f'{{"email": "{A}"}}\n\n{{"email": "{B}", "n": 2}}\n', (A, B), "email"),
    Case(
        "objects over lines", f'{{\n "email": "{A}"\n}}\n{{\n "email": "{B}"\n}}', (A, B), "email"
    ),
    Case("texts in lines", f'"{A}"\n"{B}"\n', (A, B), None),
    Case(
        "arrays in lines",
        f'{{"n": 1, "emails": ["{A}", "{B}"]}}\n{{"n": 2}}\n',
        (A, B, ""),
        "emails",
    ),
    Case("null", f'["{A}", null, "{B}"]', (A, "", B), "email"),
    Case("objects inside", f'[{{"profile": {{"email": "{A}"}}}}]', (A,), "profile.email"),
    Case("UTF-16 JSON", f'["{A}"]'.encode("utf-16"), (A,), "email"),
    Case("the same member twice", f'[{{"email": "{A}", "email": "{B}"}}]', (A,), "email"),
    # -- nothing
    Case("empty", "", (), None),
    Case("blank lines", "\n \r\n\t\n", (), None),
    Case("a header alone", "email,name\n", (), "email"),
    Case("an empty array", "[]", (), None),
    Case("an object around nothing", '{"emails": []}', (), None),
    Case("a mark alone", b"\xef\xbb\xbf", (), None),
    Case("a sep line alone", "sep=;\n", (), None),
]


@pytest.mark.parametrize("size", [65_536, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_list_gives_its_addresses(case: Case, size: int) -> None:
    found = read(case.data, size=size)
    entries = list(found.entries)
    assert tuple(entry.email for entry in entries) == case.addresses
    assert (found.headers[found.email_at] if found.headers else None) == case.title
    for entry in entries:
        assert len(entry.cells) in ({len(found.headers)} if found.headers else {0, 1})


REFUSED = [
    ("zip", b"PK\x03\x04 and more", "ZIP or Excel", None),
    ("old Excel", b"\xd0\xcf\x11\xe0 and more", "old Excel", None),
    ("PDF", b"%PDF-1.7\n", "PDF", None),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00", "compressed", None),
    ("rich text", b"{\\rtf1\\ansi ada@x.test}", "rich text", None),
    ("vCard", "BEGIN:VCARD\nEMAIL:ada@x.test\nEND:VCARD\n", "vCard", None),
    ("web page", "\n<!DOCTYPE html><table>", "web page", None),
    ("XML", "<?xml version='1.0'?><a/>", "XML", None),
    ("Windows' encoding", "Name;E-Mail\nMüller;a@x.test\n".encode("cp1252"), "not UTF-8", 2),
    ("half of UTF-16", "ada@x.test\n".encode("utf-16")[:-1], "not UTF-16", 1),
    ("a zero byte", "ada@x.test\nb\0b@x.test\n", "is not text", 2),
    ("a long line", "Name,Email\n" + "x" * (MAX_LINE_CHARACTERS + 1), "is too long", 2),
    ("a long cell", f'Name,Email\nAda,{A}\n"{"x" * 200_000}",{B}\n', "is not CSV", 3),
    ("no addresses", "name,town\nAda,Rome\nBob,Oslo\n", "no column has addresses", None),
    ("bad JSON", f'["{A}",\n nothing]', "is not JSON", 2),
    ("a bad line of JSON", f'{{"email": "{A}"}}\nnothing\n', "is not JSON", 2),
    ("a number among objects", f'{{"email": "{A}"}}\n17\n', "is neither", 2),
    ("numbers", "[1, 2]", "neither an object nor a text", None),
    ("deep JSON", "[" * 5_000 + "]" * 5_000, "JSON|nested", None),
]


@pytest.mark.parametrize(
    ("data", "reason", "line"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_no_list_is_refused_with_the_reason(
    data: bytes | str, reason: str, line: int | None
) -> None:
    with pytest.raises(NotCsv, match=reason) as refused:
        list(read(data).entries)
    if line is not None:
        assert refused.value.line == line


def test_the_encoding_may_be_named() -> None:
    data = f"Name;E-Mail\nMüller;{A}\n".encode("cp1252")
    found = read(data, ListOptions(encoding="cp1252"))
    assert [entry.cells[0] for entry in found.entries] == ["Müller"]
    assert found.shape == Shape(";", "\n", "cp1252")
    # a mark agrees with the name of its encoding, and belongs to it
    assert (
        read("\ufeffa@x.test".encode(), ListOptions(encoding="utf8")).shape.encoding == "utf-8-sig"
    )


@pytest.mark.parametrize(("column", "address"), [("backup", B), (" EMAIL ", A), ("2", B), ("1", A)])
def test_the_column_may_be_named_by_title_or_number(column: str, address: str) -> None:
    data = f"email,backup\n{A},{B}\n"
    assert addresses(data, ListOptions(column=column)) == [address]


def test_a_column_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(NoColumn, match="no column '3'; there are email, backup"):
        read(f"email,backup\n{A},{B}\n", ListOptions(column="3"))
    with pytest.raises(NoColumn):  # more digits than Python reads
        read(f"email,backup\n{A},{B}\n", ListOptions(column="9" * 5_000))


def test_a_title_that_was_asked_for_marks_the_header() -> None:
    found = read(f"Our list\nWho,Where to\nAda,{A}\n", ListOptions(column="where to"))
    assert found.headers == ("Who", "Where to")


def test_other_columns_with_addresses_are_named() -> None:
    found = read(f"email,primary,name,secondary\n{A},{B},Ada,{C}\n")
    assert found.other_columns == ("primary", "secondary")


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (f"{A}\n", Shape()),
        (f"a;b\r\nx;{A}\r\n", Shape(";", "\r\n")),
        (f"a\tb\rx\t{A}\r".encode("utf-16"), Shape("\t", "\r", "utf-16")),
        (f"\ufeffa,b\nx,{A}\n".encode(), Shape(",", "\n", "utf-8-sig")),
        (f"{A}; {B}\r\n", Shape(",", "\r\n")),
        (f'["{A}"]\r\n'.encode("utf-16"), Shape()),
    ],
)
def test_the_shape_is_kept_for_the_result(data: bytes | str, shape: Shape) -> None:
    assert read(data).shape == shape


def test_what_was_done_to_a_file_is_remarked_with_its_line() -> None:
    data = f'\nOur list of {"very " * 20}good people\nName,Email\nAda,{A}\n"Bob,{B}\nCy,{C}\n'
    found = read(data)
    assert len(list(found.entries)) == 3
    (first, title), second = found.remarks.first
    assert first == 2
    assert title.endswith("ver…' stands above the table and was left out")
    assert second == (5, UNCLOSED_QUOTE)
    assert found.remarks.count == 2


def test_nothing_of_a_row_that_is_too_long_is_lost() -> None:
    rows = "".join(f"n{number},{number}@x.test\n" for number in range(1_500))
    *_, last = read(f"Name,Email\n{rows}Ada,{A},more,yet more\n").entries
    assert last.cells == ("Ada", f"{A},more,yet more")


def test_a_member_that_appears_late_is_a_column() -> None:
    lines = [json.dumps({"email": f"{number}@x.test"}) for number in range(1_500)]
    found = read("\n".join([*lines, json.dumps({"email": A, "town": "Rome"})]))
    assert found.headers == ("email", "town")
    *_, last = found.entries
    assert last.cells == (A, "Rome")


def test_a_cell_with_several_addresses_is_noted_in_each_of_its_rows() -> None:
    headers = ("Name", "Email")
    assert split_note(f"{A} ::: {B}", headers).startswith("One of 2 addresses")
    assert split_note(A, headers) == ""
    assert split_note(f"Ada {A} <{A}>", headers) == ""


def test_a_long_line_of_addresses_does_not_repeat_itself() -> None:
    data = "; ".join(f"user{number}@x.test" for number in range(20_000))
    entries = list(read(data).entries)
    assert len(entries) == 20_000
    assert sum(len(cell) for entry in entries for cell in entry.cells) <= len(data)


def test_a_long_cell_of_a_table_is_not_split() -> None:
    cell = "; ".join(f"user{number}@x.test" for number in range(200))
    (entry,) = read(f'Name,Email\nAda,"{cell}"\n').entries
    assert entry.email == cell


def test_quotes_that_are_never_closed_cost_a_bounded_time() -> None:
    """Each opens a row that never ends, so that all that follows is read again for each."""
    data = "Name,Email\n" + 'x",""" \n' * (8 * MAX_ROW_CHARACTERS // 8)
    with pytest.raises(NotCsv, match="never closed"):
        list(read(data).entries)


def test_a_pause_in_a_stream_ends_the_sample() -> None:
    asked = []

    def chunks() -> Iterator[bytes]:
        yield f"{A}\n".encode()
        yield b""
        asked.append(1)
        yield f"{B}\n".encode()

    entries = read_list(chunks, ListOptions(is_stream=True)).entries
    assert next(entries).email == A
    assert not asked
    assert [entry.email for entry in entries] == [B]


PIECES = ["a@x.test", "b@y.test", *"\"',;|<>()[]{}:=#@x \n\r\t", '""', "Email", "sep=;", "mailto:"]


@given(st.lists(st.sampled_from(PIECES), max_size=50), st.booleans())
def test_no_address_vanishes(parts: list[str], titled: bool) -> None:
    """Whatever stands around it, an address is in a row, in the header or in a remark."""
    text = "".join(parts)
    try:
        found = read(text, ListOptions(titled=titled))
        kept = [*found.headers]
        for entry in found.entries:
            kept += [entry.email, *entry.cells]
            assert not found.headers or len(entry.cells) == len(found.headers)
    except NotCsv:
        return
    remarks = [remark for _, remark in found.remarks.first]
    if found.remarks.count > len(remarks) or any("…" in remark for remark in remarks):
        return  # it may be in what is not shown of a long line, whose number is
    for address in ("a@x.test", "b@y.test"):
        assert address not in text or any(address in cell for cell in kept + remarks)
