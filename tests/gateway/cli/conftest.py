"""The command, as a process and in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli import main
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import HANG, Script, fake_smtp

VERIPLEX = Path(sys.executable).parent / "veriplex"


class Shell:
    """Runs the command in its own folder, with the given settings only."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VERIPLEX_")}
        self.environ = {**kept, **settings}

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            VERIPLEX,
            *args,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # a shell that runs the suite in the background makes it ignore Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @contextlib.asynccontextmanager
    async def serving(self, *args: str) -> AsyncIterator[tuple[str, list[str]]]:
        """The URL, and what was printed before it. The server is stopped by SIGTERM."""
        process = await self.start(*args)
        assert process.stdout is not None
        before = []
        try:
            while not (line := (await process.stdout.readline()).decode()).startswith("listening"):
                assert line, (await process.communicate())[1].decode()
                before.append(line.rstrip("\n"))
            yield line.removeprefix("listening on ").rstrip("\n"), before
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in err

    @contextlib.asynccontextmanager
    async def serving_json(self, *args: str) -> AsyncIterator[str]:
        """The URL of a server that logs in JSON."""
        process = await self.start(*args)
        assert process.stdout is not None
        url = ""
        try:
            while not url:
                line = (await process.stdout.readline()).decode()
                assert line, (await process.communicate())[1].decode()
                url = json.loads(line).get("url", "")
            yield url
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        assert b"Traceback" not in err, err.decode()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


class Here:
    """Runs the command in this process, which is faster, in the current folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *args: str, **settings: str) -> Done:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["veriplex", *args])
            for name in [name for name in os.environ if name.startswith("VERIPLEX_")]:
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(name, value)
            self._capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                main()
        code = left.value.code
        assert isinstance(code, int)
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield Here(monkeypatch, capsys)
    root.level, root.handlers = before


ZONE = {
    "good.test": {"MX": ["10 mx.good.test."]},
    "mx.good.test": {"A": ["127.0.0.2"]},
    "slow.test": {"MX": ["10 mx.slow.test."]},
    "mx.slow.test": {"A": ["127.0.0.3"]},
}
HOSTS = {
    "127.0.0.2": Script(
        rcpt=[("^user@", "250 2.1.5 Ok"), ("^evil@", "550 5.1.1 \x1b[31mno\x07 such \u202euser")]
    ),
    "127.0.0.3": Script(banner=HANG),
}


@pytest.fixture
async def networked(tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell whose probe uses the fake DNS and mail servers."""
    async with fake_dns(ZONE) as dns, fake_smtp(HOSTS) as smtp:
        yield Shell(
            tmp_path,
            VERIPLEX_ENGINE__DNS_SERVERS=json.dumps([dns.address]),
            VERIPLEX_ENGINE__SMTP_PORT=str(smtp.port),
            VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS="true",
            VERIPLEX_ENGINE__HELO="probe.test",
        )


async def finish(process: asyncio.subprocess.Process, stdin: str = "") -> tuple[int, str, str]:
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
