"""`veriplex bulk`: every format of lists, the results, interrupted runs."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from adapters.contract.jobs import BatchEntry, JobState
from engine.model import Address, Checks, Verdict, VerificationStream
from gateway.cli import main
from gateway.cli.lists import check_encoding, read_list
from gateway.cli.local_batch import open_local_batch
from gateway.cli.terminal import CommandError
from gateway.settings import Settings
from tests.gateway.batches.conftest import Scripted

# The lists themselves: tests/adapters/kit/test_list_file.py.


@pytest.mark.parametrize(
    ("name", "first"),
    [("a.csv", "b@x.example"), ("a.txt", "Contacts"), ("-", "Contacts"), ("a", "Contacts")],
)
def test_the_suffix_of_a_table_says_that_a_foreign_title_is_one(name: str, first: str) -> None:
    found = read_list(name, lambda: [b"Contacts\nb@x.example\n"])
    assert next(found.entries).email == first


def test_an_entry_that_is_too_long_is_cut_and_its_row_kept() -> None:
    text = "x" * 1_999 + "@"
    (entry,) = read_list("a.txt", lambda: [text.encode()]).entries
    assert entry == (text[:1_000], (text,))


@pytest.mark.parametrize(
    ("data", "column", "why"),
    [
        (
            b"name,town\nAda,Rome\n",
            None,
            "no column has addresses in its first rows; name one with --column",
        ),
        (b"name,email\nAda,a@x.example\n", "mail", "no column 'mail'; there are name, email$"),
        (b"Name\nJ\xf6rg@x.example\n", None, "line 2 is not UTF-8 text; .* --encoding cp1252"),
        (b"PK\x03\x04", None, "in: is a ZIP or Excel file; save the sheet as CSV"),
    ],
)
def test_what_is_no_list_is_refused_with_advice(data: bytes, column: str | None, why: str) -> None:
    with pytest.raises(CommandError, match=why) as refused:
        list(read_list("in", lambda: [data], column=column).entries)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("name", ["cp1253", "mac-roman", "UTF-16"])
def test_an_encoding_of_texts_is_known_by_its_names(name: str) -> None:
    assert check_encoding(name)


@pytest.mark.parametrize("name", ["klingon", "base64", "zip", ""])
def test_other_encodings_are_refused(name: str) -> None:
    with pytest.raises(CommandError, match="is not known; common ones are utf-8"):
        check_encoding(name)


# -- the command -------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *args: str, stdin: bytes = b"") -> int:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["veriplex", "bulk", *args])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_csv_to_csv(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.csv").write_text("Name,Email,verdict\nAda,bad,old\nBob,worse,\n")
    assert command(monkeypatch, "in.csv", "-o", "out.csv") == 0
    head, *rows = Path("out.csv").read_text().splitlines()
    assert head.startswith("Name,Email,verdict,veriplex_verdict,reason,score,")
    assert [row.split(",")[:5] for row in rows] == [
        ["Ada", "bad", "old", "undeliverable", "invalid_email"],
        ["Bob", "worse", "", "undeliverable", "invalid_email"],
    ]
    assert sorted(path.name for path in here.iterdir()) == ["in.csv", "out.csv"]


def test_formulas_become_text_unless_raw(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.csv").write_text("Name,Email\n=cmd|x,bad\n-5,worse\n")
    assert command(monkeypatch, "in.csv", "-o", "out.csv") == 0
    assert command(monkeypatch, "in.csv", "-o", "raw.csv", "--raw") == 0
    first = [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()[1:]]
    assert first == ["'=cmd|x", "-5"]
    first = [line.split(",")[0] for line in Path("raw.csv").read_text().splitlines()[1:]]
    assert first == ["=cmd|x", "-5"]


def test_standard_input_to_standard_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert command(monkeypatch, "-", "--format", "jsonl", stdin=b"bad\nworse\n") == 0
    output = [json.loads(row) for row in capsysbinary.readouterr().out.splitlines()]
    assert [(row["address"], row["verdict"]) for row in output] == [
        ("bad", "undeliverable"),
        ("worse", "undeliverable"),
    ]


def test_json_lines_by_suffix(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.jsonl").write_text('{"email": "bad", "n": 1}\n')
    assert command(monkeypatch, "in.jsonl", "-o", "out.jsonl") == 0
    (output,) = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert output["row"] == {"email": "bad", "n": "1"}
    assert output["reason"] == "invalid_email"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("none.csv",), "none.csv: cannot read"),
        (("latin.csv",), "line 2 is not UTF-8"),
        (("in.txt", "-o", "nowhere/out.csv"), "there is no folder"),
        (("in.txt", "--format", "xml"), "--format"),
        ((), "FILE"),
    ],
)
def test_wrong_usage_is_reported_and_leaves_no_files(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    why: str,
) -> None:
    Path("in.txt").write_text("bad\n")
    Path("latin.csv").write_bytes("email\nJörg@x.example\n".encode("latin-1"))
    assert command(monkeypatch, *args) == 2
    output = capsys.readouterr().err
    assert why in output
    assert "Traceback" not in output
    assert sorted(path.name for path in here.iterdir()) == ["in.txt", "latin.csv"]


# -- what comes out ------------------------------------------------------------------------


def read_output(path: str, encoding: str = "utf-8", delimiter: str = ",") -> list[dict[str, str]]:
    with open(path, encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize(
    ("data", "encoding", "delimiter"),
    [
        ("Name;E-Mail\r\nÄda;bad\r\n".encode(), "utf-8", ";"),
        ("Name;E-Mail\r\nÄda;bad\r\n".encode("utf-8-sig"), "utf-8-sig", ";"),
        ("Name\tE-Mail\r\nÄda\tbad\r\n".encode("utf-16"), "utf-16", "\t"),
        ("Name|E-Mail\rÄda|bad\r".encode(), "utf-8", "|"),
    ],
)
def test_the_output_is_shaped_like_the_list(
    here: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, encoding: str, delimiter: str
) -> None:
    Path("in.csv").write_bytes(data)
    assert command(monkeypatch, "in.csv", "-o", "out.csv") == 0
    (row,) = read_output("out.csv", encoding, delimiter)
    assert (row["Name"], row["E-Mail"], row["reason"]) == ("Äda", "bad", "invalid_email")
    text = Path("out.csv").read_bytes()
    assert text.decode(encoding)[-1] == data.decode(encoding)[-1]
    assert text.startswith(b"\xef\xbb\xbf") == data.startswith(b"\xef\xbb\xbf")
    line_end = "\r\n" if "\r\n" in data.decode(encoding) else "\r"
    assert text.decode(encoding).count(line_end) == 2


def test_the_output_has_the_encoding_that_was_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.csv").write_bytes("Name;E-Mail\nMüller;bad\n".encode("cp1252"))
    assert command(monkeypatch, "in.csv", "-o", "out.csv", "--encoding", "cp1252") == 0
    assert read_output("out.csv", "cp1252", ";")[0]["Name"] == "Müller"


def test_a_pipe_is_read_as_a_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo("pipe")
    writing = threading.Thread(target=lambda: Path("pipe").write_text("email\nbad\n"))
    writing.start()
    assert command(monkeypatch, "pipe", "-o", "out.csv") == 0
    writing.join()
    assert [row["email"] for row in read_output("out.csv")] == ["bad"]


def test_a_title_that_is_too_long_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.csv").write_text(f"email,{'x' * 2_000}\na@x.invalid,\n")
    assert command(monkeypatch, "in.csv") == 2
    assert "in.csv: The name of a column is longer than 1,000" in capsys.readouterr().err


def test_a_tsv_has_tabs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.csv").write_text("Name;Email\nAda;bad\n")
    assert command(monkeypatch, "in.csv", "-o", "out.tsv") == 0
    assert read_output("out.tsv", delimiter="\t")[0]["Email"] == "bad"


def test_each_row_says_what_is_wrong_and_what_was_verified(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.csv").write_text(
        "Name,Email\nAda,Ada <ada@x>\nBob,\nCy,cy@x.invalid;d@x.invalid\nDi,d i@x.invalid\n"
    )
    assert command(monkeypatch, "in.csv", "-o", "out.csv", "--no-smtp") == 0
    ada, bob, cy, d, di = read_output("out.csv")
    assert (ada["Email"], ada["address"]) == ("Ada <ada@x>", "ada@x")
    assert ada["error"].startswith("The domain has no dot")
    assert (bob["verdict"], bob["error"]) == ("", "There is no address in this row.")
    assert [row["address"] for row in (cy, d)] == ["cy@x.invalid", "d@x.invalid"]
    assert cy["error"] == d["error"] == "One of 2 addresses in this cell; each has a row."
    assert "contains a space" in di["error"]


def test_json_lines_say_the_same_and_keep_columns_with_one_title(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.csv").write_text("Email,Email,Name\n<bad@x>,worse@x.invalid,Ada\n,,Bob\n")
    assert command(monkeypatch, "in.csv", "-o", "out.jsonl", "--no-smtp", "--column", "1") == 0
    ada, bob = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert ada["row"] == {"Email": "<bad@x>", "Email_2": "worse@x.invalid", "Name": "Ada"}
    assert ada["address"] == "bad@x"
    assert ada["error"].startswith("The domain has no dot")
    assert (bob["verdict"], bob["error"]) == (None, "There is no address in this row.")


def test_a_list_that_was_verified_twice_has_every_column_once(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("1.csv").write_text("Email\nbad\n")
    for number in (1, 2, 3):
        assert command(monkeypatch, f"{number}.csv", "-o", f"{number + 1}.csv") == 0
    head = Path("4.csv").read_text().splitlines()[0].split(",")
    assert len(head) == len(set(head))
    assert {"verdict", "veriplex_verdict", "veriplex_verdict_2"} <= set(head)


@pytest.mark.parametrize("data", [b"", b"\n\r\n \n", b"email,name\n", b"[]", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("to_file", [True, False])
def test_a_list_without_rows_ends(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    data: bytes,
    to_file: bool,
) -> None:
    Path("in.csv").write_bytes(data)
    assert command(monkeypatch, "in.csv", *(["-o", "out.csv"] if to_file else [])) == 0
    output = capsysbinary.readouterr()
    assert b"no addresses in in.csv" in output.err
    header = Path("out.csv").read_bytes() if to_file else output.out
    assert b"email," in header
    assert header.count(b"\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["in.csv", "out.csv"][: 1 + to_file]


def test_standard_input_may_be_empty(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "-", "-o", "out.csv") == 0
    assert "no addresses in standard input" in capsys.readouterr().err


def test_the_last_line_names_column_and_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.csv").write_text("primary,secondary\na@x.invalid,b@x.invalid\n")
    assert command(monkeypatch, "in.csv", "-o", "out.csv", "--no-smtp") == 0
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "veriplex: addresses from column 'primary' (also in 'secondary')  → out.csv"


def test_what_was_left_out_is_said_with_its_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.csv").write_text('Export by admin@corp.test\nName,Email\n"Ada,a@x\nBob,b@x.invalid\n')
    assert command(monkeypatch, "in.csv", "-o", "out.csv", "--no-smtp") == 0
    errors = capsys.readouterr().err
    assert "in.csv: line 1: 'Export by admin@corp.test' stands above the table" in errors
    assert "in.csv: line 3: a quote is never closed" in errors
    assert [row["Email"] for row in read_output("out.csv")] == ["a@x", "b@x.invalid"]


# -- files that are there already ----------------------------------------------------------


@pytest.mark.parametrize("make", ["same", "symlink", "hard link", "result"])
def test_nothing_is_replaced_without_force(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: str
) -> None:
    Path("in.csv").write_text("email\nbad\n")
    output = Path("in.csv" if make == "same" else "out.csv")
    if make == "symlink":
        output.symlink_to("in.csv")
    elif make == "hard link":
        output.hardlink_to("in.csv")
    elif make == "result":
        output.write_text("email\nbad\n")
    assert command(monkeypatch, "in.csv", "-o", str(output)) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("in.csv").read_text() == output.read_text() == "email\nbad\n"
    assert command(monkeypatch, "in.csv", "-o", str(output), "--force") == 0
    assert output.read_text().startswith("email,verdict")


def test_a_link_to_nowhere_is_not_replaced(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.csv").write_text("email\nbad\n")
    Path("out.csv").symlink_to("elsewhere/out.csv")
    assert command(monkeypatch, "in.csv", "-o", "out.csv") == 2


@pytest.mark.parametrize("name", ["out.xlsx", "out.XLS", "out.ods"])
def test_files_of_spreadsheets_are_not_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path("in.csv").write_text("email\nbad\n")
    assert command(monkeypatch, "in.csv", "-o", name) == 2
    assert "name it out.csv, which spreadsheets open" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_write_error_names_the_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.csv").write_text("email\nbad\n")
    assert command(monkeypatch, "in.csv", "-o", "/dev/full") == 1
    assert "/dev/full: cannot write: No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["in.csv"]
    assert Path("/dev/full").is_char_device()


class Slow(Scripted):
    """Answers a few addresses, and then none for ever."""

    def __init__(self, few: int) -> None:
        super().__init__()
        self.few = few
        self.stuck = asyncio.Event()

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        async for result in super().verify_many(list(addresses)[: self.few], checks):
            yield result
        self.stuck.set()
        await asyncio.Event().wait()


async def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    path = str(tmp_path / "out.csv.part")
    settings = Settings()
    emails = [f"u{i}@x.example" for i in range(20)]
    slow = Slow(5)
    async with open_local_batch(settings, path, verifier=slow) as batch:
        assert await batch.existing_job() is None
        await batch.submit(
            map(BatchEntry, emails), headers=(), checks=Checks(), retries=True, options={}
        )
        async with batch.running():
            await slow.stuck.wait()
    rest = Scripted()
    async with open_local_batch(settings, path, verifier=rest) as batch:
        job = await batch.existing_job()
        assert job is not None
        assert job.done_count == 5
        await batch.drain()
        job = await batch.get_job()
        assert job.state is JobState.COMPLETED
        assert job.counts == {Verdict.DELIVERABLE: 20}
        assert [row.email async for row in batch.rows(job)] == emails
    assert sorted(rest.asked) == sorted(set(emails) - set(slow.asked))


def test_a_run_is_not_resumed_with_another_list(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def left_behind() -> None:
        async with open_local_batch(Settings(), "out.csv.part", verifier=Slow(0)) as batch:
            await batch.submit(
                [BatchEntry("a@x.example")],
                headers=(),
                checks=Checks(),
                retries=True,
                options={"digest": "of another list"},
            )

    asyncio.run(left_behind())
    Path("in.txt").write_text("bad\n")
    assert command(monkeypatch, "in.txt", "-o", "out.csv") == 2
    assert "out.csv.part belongs to another list" in capsys.readouterr().err
    assert Path("out.csv.part").exists()
