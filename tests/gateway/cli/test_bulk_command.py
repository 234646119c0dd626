"""`veriplex bulk`: every format of lists, the results, interrupted runs."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from adapters.contract.jobs import BatchEntry, JobState
from engine.model import Address, Checks, Verdict, VerificationStream
from gateway.cli import main
from gateway.cli.lists import MAX_LINE_BYTES, ListFormat, read_list
from gateway.cli.local_batch import open_local_batch
from gateway.cli.terminal import CommandError
from gateway.settings import Settings
from tests.gateway.batches.conftest import Scripted

LISTS: list[tuple[str, str, str | None, ListFormat, tuple[str, ...], list[tuple[str, ...]]]] = [
    # name, text, column, form, headers, addresses and cells
    (
        "a.txt",
        "a@x.example\n\n b@x.example \n",
        None,
        ListFormat.TXT,
        (),
        [("a@x.example",), ("b@x.example",)],
    ),
    (
        "a.csv",
        'Name,E-Mail\nAda,a@x.example\n"B, C",b@x.example\n',
        None,
        ListFormat.CSV,
        ("Name", "E-Mail"),
        [("a@x.example", "Ada", "a@x.example"), ("b@x.example", "B, C", "b@x.example")],
    ),
    (
        "a.csv",
        "Ada,a@x.example\nBob,b@x.example\n",
        None,
        ListFormat.CSV,
        ("col0", "col1"),
        [("a@x.example", "Ada", "a@x.example"), ("b@x.example", "Bob", "b@x.example")],
    ),
    (
        "a.csv",
        "\ufeffwho;where\r\nAda;a@x.example\r\nBob\r\n",
        None,
        ListFormat.CSV,
        ("who", "where"),
        [("a@x.example", "Ada", "a@x.example"), ("", "Bob", "")],
    ),
    (
        "a.tsv",
        "email\tbackup\na@x.example\tb@x.example\n",
        "Backup",
        ListFormat.CSV,
        ("email", "backup"),
        [("b@x.example", "a@x.example", "b@x.example")],
    ),
    (
        "list",
        '{"email": "a@x.example", "n": 1}\n\n{"email": "b@x.example", "tags": ["x"]}\n',
        None,
        ListFormat.JSONL,
        ("email", "n", "tags"),
        [("a@x.example", "a@x.example", "1", ""), ("b@x.example", "b@x.example", "", '["x"]')],
    ),
    (
        "a.jsonl",
        '"a@x.example"\n',
        None,
        ListFormat.JSONL,
        ("email",),
        [("a@x.example", "a@x.example")],
    ),
    (
        "-",
        "a@x.example\nb@x.example",
        None,
        ListFormat.TXT,
        (),
        [("a@x.example",), ("b@x.example",)],
    ),
    ("a.csv", "", None, ListFormat.CSV, (), []),
    ("a.csv", "email\n", None, ListFormat.CSV, ("email",), []),
]


@pytest.mark.parametrize(("name", "text", "column", "form", "headers", "rows"), LISTS)
def test_lists(
    name: str,
    text: str,
    column: str | None,
    form: ListFormat,
    headers: tuple[str, ...],
    rows: list[tuple[str, ...]],
) -> None:
    found = read_list(name, io.BytesIO(text.encode()), column)
    assert (found.format, found.headers) == (form, headers)
    assert [(entry.email, *entry.cells) for entry in found.entries] == rows


REFUSED = [
    ("a.csv", "PK\x03\x04rest", None, "ZIP or Excel"),
    ("a.csv", "name,town\nAda,Rome\n", None, "no column has addresses"),
    ("a.csv", "name,email\nAda,a@x.example\n", "mail", "there is no column 'mail'"),
    ("a.jsonl", '{"email": "a@x.example"}\nnot json\n', None, "line 2 is not JSON"),
    ("a.jsonl", "[" * 5000 + "]" * 5000, None, "line 1 is not JSON"),
    ("a.jsonl", '{"email": ' + "[" * 99 + "]" * 99 + "}\n", None, "line 1 is nested too deeply"),
    ("a.jsonl", "[1]\n", None, "line 1 is neither"),
    ("a.txt", "a\0b\n", None, "line 1 is not text"),
    ("a.txt", "x" * (MAX_LINE_BYTES + 1), None, "line 1 is too long"),
    ("a.txt", "x" * 2_000 + "\n", None, "too long for an address"),
]


@pytest.mark.parametrize(("name", "text", "column", "why"), REFUSED)
def test_other_files_are_refused_as_lists(
    name: str, text: str, column: str | None, why: str
) -> None:
    with pytest.raises(CommandError, match=why):
        list(read_list(name, io.BytesIO(text.encode()), column).entries)


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
