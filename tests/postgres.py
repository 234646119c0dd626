"""A PostgreSQL server of our own for tests: in a temporary folder, on a socket there."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""What is lost with a power cut is of no interest here."""
START_TIMEOUT_S = 60


@functools.cache
def programs() -> Path | None:
    """The folder of PostgreSQL's server programs; None if there is none on this machine."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: int(path.parent.parent.name), default=None)
    return newest.parent if newest else None


class PostgresServer:
    """A server with an empty cluster of databases, until `close`."""

    def __init__(self, *settings: str) -> None:
        """`settings` are `name=value` for the server, beside those that make it fast."""
        self._folder = tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True)
        self.socket_folder = Path(self._folder.name)
        self._data = self.socket_folder / "data"
        self._settings = (*FAST, *settings)
        if os.geteuid() == 0:
            shutil.chown(self.socket_folder, "postgres")
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "veriplex", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.socket_folder} -h ''"
        options += "".join(f" -c {setting}" for setting in self._settings)
        self._run(
            "pg_ctl", "-D", str(self._data), "-o", options, "-w", "-t", str(START_TIMEOUT_S),
            "-l", str(self.socket_folder / "log"), "start",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast` or `immediate`."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes are suspended meanwhile."""
        pids = [self.pid, *self._children()]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    @property
    def url(self) -> str:
        return f"postgresql://veriplex@/postgres?host={self.socket_folder}"

    def empty_database(self) -> str:
        """The URL of a database without tables; the former one loses its own."""
        self.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return self.url

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def objects_named(self, pattern: str) -> list[tuple[str, ...]]:
        """Tables with their columns, indexes, functions and triggers with names like `pattern`."""
        query = """
            SELECT 'column', table_name, column_name, data_type || coalesce(column_default, '')
            FROM information_schema.columns WHERE table_name LIKE %(name)s
            UNION ALL SELECT 'index', tablename, indexname, indexdef
            FROM pg_indexes WHERE tablename LIKE %(name)s
            UNION ALL SELECT 'function', proname, oidvectortypes(proargtypes), prosrc
            FROM pg_proc WHERE proname LIKE %(name)s
            UNION ALL SELECT 'trigger', event_object_table, trigger_name, action_statement
            FROM information_schema.triggers WHERE event_object_table LIKE %(name)s
            ORDER BY 1, 2, 3, 4
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            return list(connection.execute(query, {"name": pattern}))

    def close(self) -> None:
        self.stop("immediate")
        self._folder.cleanup()

    def _run(self, program: str, *args: str) -> None:
        folder = programs()
        assert folder is not None
        command = [str(folder / program), *args]
        if os.geteuid() == 0:  # initdb and postgres refuse to run as root
            as_postgres = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
            command = ["setpriv", *as_postgres, *command]
        # The server inherits its files, so that a pipe would never end.
        with open(self.socket_folder / "output", "w+b") as output:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()
