"""The command line itself: help, version, wrong usage, failures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE, print_error
from tests.gateway.cli.conftest import Here, Shell, finish


def test_version_is_that_of_the_distribution(here: Here) -> None:
    done = here("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"veriplex \d+\.\d+\.\d+\n", done.out)


SHOWN = [
    *(set(COMMANDS) - {"keys", "blocks", "upstreams", "sources", "outcomes"}),
    "keys create",
    "keys list",
    "keys revoke",
    "keys suspend",
    "keys unverify",
    "keys resume",
    "blocks list",
    "blocks lift",
    "upstreams check",
    "outcomes import",
    "sources list",
    "sources pause",
    "sources report",
    "sources resume",
    "sources try",
]


@pytest.mark.parametrize("command", sorted(SHOWN))
def test_every_help_has_examples(here: Here, command: str) -> None:
    done = here(*command.split(), "--help")
    assert done.code == 0
    assert f"veriplex {command}" in done.out.partition("Examples:")[2]
    assert "\x1b" not in done.out


@pytest.mark.parametrize("name", ["veriplex", "bouncify"])
def test_openapi_prints_a_description(here: Here, name: str) -> None:
    done = here("openapi", name, "--url", "https://verify.example.com/")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["openapi"] == "3.1.0"
    assert document["servers"][0]["url"].startswith("https://verify.example.com")
    assert "//" not in document["servers"][0]["url"].removeprefix("https://")


def test_commands_are_imported_when_they_run() -> None:
    look = "import gateway.cli, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    heavy = ("asyncio", "rich", "pydantic", "sqlalchemy", "starlette", "engine", "adapters")
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(heavy)


BAD_USAGE: list[tuple[tuple[str, ...], Mapping[str, str], str]] = [
    (("verify",), {}, "Missing argument"),
    (("verify", "--timeout", "0", "a@b.test"), {}, "--timeout"),
    (("verfy",), {}, "verify"),
    (("openapi", "nobody"), {}, "there are veriplex, emailable"),
    (("serve", "--port", "80000"), {}, "--port"),
    (("serve", "--ssl-certfile", "c.pem"), {}, "belong together"),
    (("serve", "--ssl-certfile", "c.pem", "--ssl-keyfile", "k.pem"), {}, "cannot read c.pem"),
    (("sandbox", "--key", ""), {}, "--key"),
    (("sandbox", "--seed", ""), {}, "--seed"),
    (("keys", "create", "--dialect", "emailabel"), {}, "did you mean emailable?"),
    (("keys", "create", "--plan", "fre"), {}, "did you mean free?"),
    (("keys", "create", "--label", "x" * 201), {}, "--label"),
    (("check",), {"VERIPLEX_ENGINE__HELOO": "x"}, "did you mean VERIPLEX_ENGINE__HELO?"),
    (("check",), {"VERIPLEX_LIMITS__PLAN": "fre"}, "did you mean free?"),
    (("--config", "none.toml", "check"), {}, "none.toml: cannot read"),
    (("check", "--config", "none.toml"), {}, "none.toml: cannot read"),
    (("serve",), {"VERIPLEX_SERVER__PORT": "http"}, "server.port"),
]


@pytest.mark.parametrize(("args", "environ", "message"), BAD_USAGE)
def test_bad_usage_exits_2_and_says_why(
    here: Here, args: tuple[str, ...], environ: Mapping[str, str], message: str
) -> None:
    done = here(*args, **environ)
    assert (done.code, done.out) == (EXIT_USAGE, "")
    assert message in done.err


def test_failures_exit_1_in_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_text("not a database\n" * 100)
    for args in (("serve", "--port", "0"), ("keys", "list"), ("keys", "create")):
        done = here(*args, VERIPLEX_STORAGE__URL="sqlite:///junk.db")
        assert (done.code, done.out) == (EXIT_FAILURE, "")
        assert done.err == "veriplex: junk.db: is not an SQLite database\n"
    done = here("serve", "--port", "0", VERIPLEX_STORAGE__URL="sqlite:///none/veriplex.db")
    assert "there is no folder" in done.err


def test_error_lines_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("one\x1b[2J\ntwo")
    assert capsys.readouterr().err == "veriplex: one\\x1b[2J\nveriplex: two\n"


def test_help_shows_names_without_types(here: Here) -> None:
    for command, argument in (("bulk", "FILE"), ("verify", "ADDRESS..."), ("init", "[FILE]")):
        done = here(command, "--help")
        assert f" {command} [OPTIONS] {argument}\n" in re.sub(r" +\n", "\n", done.out)
        assert not {"<str>", "<bool>", "<list[str]>", "<path>"} & set(done.out.split())


async def test_the_shell_completes_commands_and_options(shell: Shell) -> None:
    for words, found in (("veriplex ver", "verify"), ("veriplex bulk --enc", "--encoding")):
        shell.environ |= {
            "_VERIPLEX_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        _, out, _ = await finish(await shell.start())
        assert out.split() == [found]
