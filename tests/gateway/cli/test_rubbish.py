"""Commands with names, files and outputs that nobody meant: an error in words, and no traceback."""

from __future__ import annotations

import os
import subprocess

import pytest

from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE
from tests.gateway.cli.conftest import VERIPLEX, Here, Shell

NOT_UTF8 = "caf\udce9"
"""As Python has an argument that is no UTF-8."""
DEEP = "[" * 5_000
STORAGE = "VERIPLEX_STORAGE__URL"
PUBLIC = "VERIPLEX_SERVER__PUBLIC_URL"
UPSTREAMS = "VERIPLEX_UPSTREAMS"


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        (("sources", "resume", ""), {}, "there is no source ''"),
        (("sources", "pause", " "), {}, "there is no source ' '"),
        (("blocks", "lift", ""), {}, "'' is not blocked"),
        (("keys", "create", "--label", NOT_UTF8), {}, "'caf\\udce9' is not UTF-8 text"),
        (("migrate",), {STORAGE: "sqlite:///a%00b"}, "has no NUL in it"),
        (("check",), {UPSTREAMS: DEEP}, "upstreams: is nested too deeply"),
        (("-c", "deep.toml", "check"), {}, "deep.toml: is nested too deeply"),
        (("-c", "/dev/zero", "check"), {}, "/dev/zero: has more than"),
        (
            ("check",),
            {PUBLIC: "https://me:secret@verify.test"},
            "should have no name and no password",
        ),
        (("console", "--url", "https://verify.test?a=1"), {}, "is not a URL such as"),
        (("console", "--url", "https://verify.test#a"), {}, "is not a URL such as"),
    ],
)
def test_rubbish_is_refused_in_words(
    here: Here, command: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    here("migrate")
    with open("deep.toml", "w", encoding="utf-8") as file:
        file.write(f"upstreams = {DEEP}")
    done = here(*command, **settings)
    assert done.code == (EXIT_FAILURE if command[0] == "blocks" else EXIT_USAGE), done.err
    assert said in done.err
    assert done.err.startswith("veriplex: ")
    assert "secret" not in done.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["--version", "openapi"])
def test_an_output_that_is_full_is_an_error_in_words(shell: Shell, command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [VERIPLEX, command, *(["kickbox"] if command == "openapi" else [])],
            cwd=shell.folder,
            env=shell.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == EXIT_FAILURE
    assert done.stderr == b"veriplex: cannot continue: No space left on device\n"
