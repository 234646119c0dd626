"""Every command of the README runs as pasted, in order, and prints what is shown.

Only what would leave the machine is replaced: `uvx`, `pipx`, `pip`, `docker` and `git` by programs
that check their arguments and run what was installed already, DNS by a server without domains, and
the ports by free ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from adapters.registry import DIALECTS
from tests.fakes.dns import fake_dns

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
VERIPLEX = Path(sys.executable).parent / "veriplex"
URL = "https://github.com/veriplex/veriplex"
OWN_KEY = "live_0123456789abcdef0123"
"""The vendor's key that the README brings."""

NOT_PASSED_ON = ("VERIPLEX_", "MAKE", "MFLAGS", "ARGS")
"""Beginnings of variables: a `make` of the README must not get the arguments of `make test`."""

SERVES = re.compile(r"(veriplex|make) (serve|sandbox)\b")

SUBSTITUTES = {
    "uvx": f'[ "$1 $2" = "--from git+{URL}" ] && shift 2 && exec "$@"',
    "pipx": f'[ "$*" = "install git+{URL}" ]',
    "pip": f'[ "$*" = "install git+{URL}" ]',
    "docker": f"""case "$*" in
  "build -t veriplex {URL}.git") ;;
  "run --rm veriplex "*) shift 3; exec veriplex "$@" ;;
  *) exit 1 ;;
esac""",
    "git": f"""[ "$*" = "clone {URL}" ] || exit 1
mkdir -p veriplex/.venv/bin && cd veriplex
cp {ROOT}/Makefile {ROOT}/requirements.lock {ROOT}/pyproject.toml .
ln -sf {VERIPLEX} .venv/bin/veriplex
touch .venv/.runtime""",
}


class Block(NamedTuple):
    """Commands, and what they print if that is shown."""

    commands: str
    shown: str


def blocks() -> Iterator[Block]:
    pattern = r"(?ms)^```sh\n(.*?)^```$(?:\s*^```(?:text|json)\n(.*?)\n```$)?"
    for commands, shown in re.findall(pattern, README):
        yield Block(commands, shown)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Terminal:
    """Runs the blocks in one folder, and keeps the last server running."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._port, self._tls_port = free_port(), free_port()
        self._server: asyncio.subprocess.Process | None = None

    async def paste(self, block: Block) -> None:
        commands = self._with_ports(block.commands)
        if SERVES.match(commands.strip().splitlines()[-1]):
            await self.stop()
            self._server = await self._start(commands)
            await self._until_listening(self._server)
            return
        process = await self._start(commands)
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, (commands, out.decode(), err.decode())
        if block.shown:
            assert out.decode().strip() == self._with_ports(block.shown)

    def _with_ports(self, text: str) -> str:
        text = text.replace("127.0.0.1:8025", f"127.0.0.1:{self._port}")
        text = text.replace("--port 443", f"--port {self._tls_port}")
        text = text.replace("api.emailable.com:443:", f"api.emailable.com:{self._tls_port}:")
        return text.replace(
            "https://api.emailable.com/", f"https://api.emailable.com:{self._tls_port}/"
        )

    async def _start(self, commands: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", commands),
            cwd=self._folder,
            env=self._environ | {"VERIPLEX_SERVER__PORT": str(self._port), "KEY": OWN_KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def _until_listening(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while not (line := await process.stdout.readline()).startswith(b"listening on "):
                assert line, (await process.communicate())[1].decode()

    async def stop(self) -> None:
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
            await self._server.communicate()
            self._server = None


@contextlib.asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Terminal]:
    programs = folder / "programs"
    programs.mkdir()
    for name, script in SUBSTITUTES.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    work = folder / "work"
    work.mkdir()
    async with fake_dns({}) as dns:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(NOT_PASSED_ON)}
        opened = Terminal(
            work,
            {
                **kept,
                "PATH": f"{programs}:{VERIPLEX.parent}:{os.environ['PATH']}",
                "VERIPLEX_ENGINE__DNS_SERVERS": f'["{dns.address}"]',
                "VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS": "true",
            },
        )
        try:
            yield opened
        finally:
            await opened.stop()


async def test_every_block_runs_as_pasted(tmp_path: Path) -> None:
    found = list(blocks())
    assert sum(bool(block.shown) for block in found) > len(DIALECTS) / 2
    async with terminal(tmp_path) as pasting:
        for block in found:
            await pasting.paste(block)


def test_it_begins_with_the_installation() -> None:
    heads = re.findall(r"(?m)^## (.*)$", README)
    assert heads[:2] == ["Install", "The first answer"]
    assert README.index("deliverable@example.com") < README.index("veriplex serve")
