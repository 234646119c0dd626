"""Keys that clients have already: `keys create --key`, `[[keys]]` and `VERIPLEX_KEYS`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import sqlite3
import subprocess
import termios
from pathlib import Path

import httpx
import pytest

from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE
from tests.gateway.cli.conftest import VERIPLEX, Here, Shell, finish

VENDOR_KEY = "live_0123456789abcdef0123"


def stored(folder: Path) -> str:
    with contextlib.closing(sqlite3.connect(folder / "veriplex.db")) as database:
        return "\n".join(database.iterdump())


def _take_terminal(fd: int) -> None:
    """Make a terminal that of the process, since passwords are read from /dev/tty."""
    os.setsid()
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


async def create(shell: Shell, *args: str, stdin: str = "") -> tuple[int, str, str]:
    return await finish(await shell.start("keys", "create", *args), stdin)


async def status(url: str, key: str) -> int:
    async with httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {key}"}
        return (await client.get(f"{url}/v1/account", headers=headers)).status_code


async def test_a_vendor_key_is_brought_on_standard_input(shell: Shell, tmp_path: Path) -> None:
    args = ("--dialect", "emailable", "--label", "shop", "--key", "-")
    code, out, err = await create(shell, *args, stdin=f"  {VENDOR_KEY}\n")
    assert (code, err) == (0, "")
    assert f"live key  {VENDOR_KEY}" in out
    assert VENDOR_KEY not in stored(tmp_path)
    async with shell.serving("serve", "--port", "0") as (url, before):
        assert before == []
        assert await status(url, VENDOR_KEY) == 200
        assert await status(url, VENDOR_KEY[:-1] + "x") == 403
    code, _, err = await create(shell, *args, stdin=VENDOR_KEY)
    assert (code, err) == (EXIT_FAILURE, "veriplex: that key exists already in emailable\n")


def test_a_key_is_asked_for_without_an_echo_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [str(VERIPLEX), "keys", "create", "--dialect", "generic", "--key", "-", "--json"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        preexec_fn=lambda: _take_terminal(theirs),
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Key" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, b"ev_live_typed-by-hand\n")
        assert process.stdout is not None
        made = json.loads(process.stdout.read())
        with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
            shown += os.read(ours, 1024)
    os.close(ours)
    assert made["key"] == "ev_live_typed-by-hand"
    assert b"typed-by-hand" not in shown


@pytest.mark.parametrize(
    ("args", "variables", "message"),
    [
        (("--key", "-"), {}, "--key: give the key's --dialect as well"),
        (("--key", VENDOR_KEY, "--dialect", "emailable"), {}, "not the key itself"),
        (("--key", "env:K", "--dialect", "emailable"), {}, "variable K is not set"),
        (("--key", "file:none", "--dialect", "emailable"), {}, "cannot read none: No such file"),
        (("--key", "env:K", "--dialect", "generic"), {"K": "short"}, "8 to 256 characters"),
        (("--key", "env:K", "--dialect", "generic"), {"K": "two words"}, "without spaces"),
        (
            ("--key", "env:K", "--dialect", "emailable"),
            {"K": "test_0123456789abcdef0123"},
            "a key that begins with test_ is a test key of emailable; say that it is one, with"
            " --test",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keys_that_cannot_be_taken(
    here: Here, args: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    done = here("keys", "create", *args, **variables)
    assert (done.code, message in done.err) == (EXIT_USAGE, True), done.err
    assert "live_" not in done.err


def test_a_brought_test_key(here: Here) -> None:
    done = here(
        *("keys", "create", "--dialect", "emailable", "--test", "--key", "env:K", "--json"),
        K="test_0123456789abcdef0123",
    )
    assert json.loads(done.out)["test"] is True


async def test_keys_of_the_settings_are_added_once(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("ev_live_from-a-file\n")
    (tmp_path / "veriplex.toml").write_text(
        '[[keys]]\ndialect = "emailable"\nkey = "env:VENDOR_KEY"\nlabel = "shop"\n'
        '[[keys]]\ndialect = "generic"\nkey = "file:secret"\n'
    )
    shell.environ["VENDOR_KEY"] = VENDOR_KEY
    for _ in range(2):
        async with shell.serving("serve", "--port", "0") as (url, before):
            assert before == []  # no keys are drawn beside them
            assert await status(url, VENDOR_KEY) == 200
    _, out, _ = await finish(await shell.start("keys", "list", "--json"))
    listed = [json.loads(line) for line in out.splitlines()]
    assert [(key["dialect"], key["label"]) for key in listed] == [
        ("emailable", "shop"),
        ("generic", None),
    ]
    assert VENDOR_KEY not in stored(tmp_path)
    await finish(await shell.start("keys", "revoke", "1"))
    async with shell.serving("serve", "--port", "0") as (url, _):
        assert await status(url, VENDOR_KEY) == 403  # as the operator wanted


async def test_keys_of_the_environment_in_short(shell: Shell, tmp_path: Path) -> None:
    shell.environ |= {
        "VERIPLEX_KEYS": "emailable=env:VENDOR_KEY, generic=env:OTHER",
        "VERIPLEX_LOG__FORMAT": "json",
        "VENDOR_KEY": VENDOR_KEY,
        "OTHER": "ev_live_another-one",
    }
    process = await shell.start("serve", "--port", "0")
    assert process.stdout is not None
    listening = json.loads(await process.stdout.readline())
    assert listening["event"] == "server.listening"
    assert await status(listening["url"], VENDOR_KEY) == 200
    process.terminate()
    out, err = await process.communicate()
    lines = [json.loads(line) for line in (out + err).splitlines()]
    added = [line for line in lines if line["event"] == "key.added"]
    assert [line["dialect"] for line in added] == ["emailable", "generic"]
    assert VENDOR_KEY.encode() not in out + err


async def test_a_log_in_json_never_holds_a_key(shell: Shell) -> None:
    shell.environ["VERIPLEX_LOG__FORMAT"] = "json"
    process = await shell.start("serve", "--port", "0")
    assert process.stdout is not None
    none, listening = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert (none["event"], listening["event"]) == ("keys.none", "server.listening")
    code, out, _ = await create(shell, "--dialect", "emailable", "--json")
    assert code == 0
    assert await status(listening["url"], json.loads(out)["key"]) == 200
    process.terminate()
    out_, err = await process.communicate()
    for line in (out_ + err).splitlines():
        json.loads(line)


def test_an_error_at_the_start_is_json_if_the_log_is(here: Here) -> None:
    url = {"VERIPLEX_STORAGE__URL": "sqlite:///no/such/folder/v.db"}
    done = here("serve", "--port", "0", VERIPLEX_LOG__FORMAT="json", **url)
    *_, failed = map(json.loads, done.err.splitlines())
    assert (done.code, done.out, failed["event"]) == (EXIT_FAILURE, "", "server.failed")
    assert "there is no folder" in failed["error"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("emailabel=env:K", "keys[0].dialect: unknown dialect 'emailabel'; did you mean emailable"),
        ("emailable=live_0123", "not the secret itself"),
        ("emailable=env:NONE", "environment variable NONE is not set"),
        ("emailable", "not the secret itself"),
        ("emailable=env:K,emailable=env:K", "keys[1].key: is the same key as keys[0]"),
        ("emailable=env:SHORT", "keys[0].key: env:SHORT: a key should have 8 to 256 characters"),
    ],
)
def test_mistakes_in_the_keys_of_the_settings(here: Here, value: str, message: str) -> None:
    done = here("check", VERIPLEX_KEYS=value, K=VENDOR_KEY, SHORT="abc")
    assert (done.code, message in done.err) == (EXIT_USAGE, True), done.err
    assert "live_" not in done.err
