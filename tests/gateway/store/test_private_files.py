"""Only their owner can read files with keys or addresses, with any umask."""

from __future__ import annotations

import ast
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store import open_store
from gateway.store.private_files import create_privately, hide_from_others

ROOT = Path(__file__).parents[3]

OPEN_TO_OTHERS = {
    ("gateway/cli/init.py", "init"): "settings, which name secrets and hold none; the server may"
    " run as another user",
    ("gateway/cli/terminal.py", "prepare_streams"): "the standard streams",
    ("gateway/doctor/machine.py", "_check_writable"): "an empty temporary file, which is private",
    ("gateway/web/bodies.py", "temporary_file"): "a temporary file, which is private",
    ("gateway/batches/http_fetch.py", "__call__"): "a temporary file, which is private",
    ("gateway/cli/bulk.py", "open_input"): "a temporary file, which is private",
    ("gateway/cli/output_file.py", "open"): "a device or a named pipe, which exists already",
}
"""Functions that may create a file otherwise than by `private_opener`, with the reason."""


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}


async def test_a_new_database_and_its_log_are_private(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/veriplex.db") as store:
        async with store.write() as connection:
            await connection.exec_driver_sql("UPDATE accounts SET plan = plan")
        assert modes(tmp_path) == dict.fromkeys(
            ("veriplex.db", "veriplex.db-wal", "veriplex.db-shm"), 0o600
        )


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o640), (0o666, 0o660), (0o640, 0o640)])
async def test_a_database_that_others_could_read_is_hidden_from_them(
    tmp_path: Path, before: int, after: int
) -> None:
    path = tmp_path / "veriplex.db"
    async with open_store(f"sqlite:///{path}"):
        pass
    path.chmod(before)
    # left open, so that the log stays as an older version made it
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE accounts SET plan = plan")
        connection.commit()
        async with open_store(f"sqlite:///{path}") as store:
            async with store.write() as transaction:
                await transaction.exec_driver_sql("UPDATE accounts SET plan = plan")
            assert modes(tmp_path) == dict.fromkeys(
                ("veriplex.db", "veriplex.db-wal", "veriplex.db-shm"), after
            )


def test_the_files_of_a_list_are_private(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("no address\n", encoding="utf-8")
    (tmp_path / "list.txt").chmod(0o600)
    (tmp_path / "out.csv").write_text("older")  # with mode 0666
    (tmp_path / "out.csv.tmp").write_text("of a run that was killed")
    seen: dict[str, int] = {}

    command = [sys.executable, "-c", WATCHED_BULK, "bulk", "list.txt", "-o", "out.csv", "--force"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        name, mode = line.split()
        seen[name] = int(mode)
    assert {"out.csv.part", "out.csv.part-wal", "out.csv.part-shm", "out.csv.tmp"} <= seen.keys()
    assert set(seen.values()) == {0o600}
    assert modes(tmp_path) == {"list.txt": 0o600, "out.csv": 0o600}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


WATCHED_BULK = """
import os, stat, sys
from pathlib import Path

real = Path.replace
def replace(self, name):
    for path in Path().glob("out.csv.*"):
        print(path.name, stat.S_IMODE(path.stat().st_mode))
    return real(self, name)
Path.replace = replace
os.umask(0)
from gateway.cli import main
main()
"""


def test_helpers_leave_what_is_not_theirs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    hide_from_others(path)
    assert not path.exists()
    create_privately(path)
    assert modes(tmp_path) == {"file": 0o600}
    path.write_text("kept")
    path.chmod(0o604)
    create_privately(path)
    assert path.read_text() == "kept"
    hide_from_others(path)
    assert modes(tmp_path) == {"file": 0o600}


def writing_calls() -> Iterator[tuple[str, str, str]]:
    """Calls that may create a file, with their file and function."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        functions = [
            n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and creates_file(node):
                within = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
                yield (
                    str(path.relative_to(ROOT)),
                    within[-1].name if within else "",
                    ast.unparse(node),
                )


CREATORS = {"write_text", "write_bytes", "touch", "mkstemp", "TemporaryFile"} | {
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
}


def creates_file(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    if name in CREATORS:
        return True
    if name != "open":
        return False
    if any(k.arg == "opener" and ast.unparse(k.value) == "private_opener" for k in call.keywords):
        return False
    texts = [a for a in ast.walk(call) if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return any(set(str(t.value)) & set("wxa+") and len(str(t.value)) <= 3 for t in texts)


def test_every_file_is_created_privately() -> None:
    found = list(writing_calls())
    assert {call[:2] for call in found} == set(OPEN_TO_OTHERS), found
