"""`veriplex serve`, `veriplex sandbox` and `veriplex keys`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.cli.listen import check_tls, open_socket, with_server_options
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE, CommandError
from gateway.settings import Settings
from tests.fakes.smtp import CERTIFICATE
from tests.gateway.cli.conftest import Here, Shell, finish

WELL_KNOWN = next(d.sandbox_key for d in DIALECTS if d.name == "emailable")


async def test_first_start_prints_keys_that_work(shell: Shell, tmp_path: Path) -> None:
    async with shell.serving("serve", "--port", "0") as (url, before):
        text = "\n".join(before)
        for dialect in DIALECTS:
            assert f"base URL  {url}{dialect.base_path}\n" in text
            assert f"or        {url}/{dialect.name}{dialect.base_path}\n" in text
        keys = re.findall(r"(live|test) key  (\S+)", text)
        assert len(keys) == 2 * len(DIALECTS)
        async with httpx.AsyncClient(base_url=url) as client:
            for kind, key in keys[:2]:
                headers = {"Authorization": f"Bearer {key}"}
                reply = await client.get("/v1/verify?email=no+address", headers=headers)
                assert reply.status_code == 200
                source = reply.headers["x-veriplex-source"]
                assert source == ("local" if kind == "live" else "sandbox")
    async with shell.serving("serve", "--port", "0") as (_, before):
        assert before == []
    assert os.listdir(tmp_path) == [
        "veriplex.db"
    ]  # the database was closed, which removes its write-ahead log


async def test_keys_of_a_running_server(shell: Shell) -> None:
    async with shell.serving("serve", "--port", "0") as (url, _), httpx.AsyncClient() as client:

        async def status(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            reply = await client.get(f"{url}/emailable/v1/account", headers=headers)
            return reply.status_code

        process = await shell.start(
            *("keys", "create", "--dialect", "emailable", "--plan", "free", "--credits", "7"),
            *("--label", "a b", "--json"),
        )
        code, out, _ = await finish(process)
        (made,) = map(json.loads, out.splitlines())
        assert code == 0
        assert (made["dialect"], made["test"], made["plan"]) == ("emailable", False, "free")
        assert made["key"].startswith("live_")
        assert await status(made["key"]) == 200

        _, out, _ = await finish(await shell.start("keys", "list", "--json"))
        (listed,) = (k for k in map(json.loads, out.splitlines()) if k["id"] == made["id"])
        assert (listed["label"], listed["credits"], listed["revoked_at"]) == ("a b", 7, None)
        assert made["key"] not in out

        code, out, _ = await finish(await shell.start("keys", "revoke", made["key"]))
        assert (code, out.split(":")[0]) == (0, f"revoked key {made['id']}")
        async with asyncio.timeout(5):
            while await status(made["key"]) == 200:
                pass  # within a second, and each request is a round trip


async def test_a_live_account_is_suspended_and_unverified(shell: Shell) -> None:
    """Every dialect shows its own reply, and the native API the reason."""
    async with shell.serving("serve", "--port", "0") as (url, _), httpx.AsyncClient() as client:
        _, out, _ = await finish(await shell.start("keys", "create", "--json"))
        made = {key["dialect"]: key for key in map(json.loads, out.splitlines())}
        headers = {"Authorization": f"Bearer {made['generic']['key']}"}

        async def wait_for(path: str, status: int) -> dict[str, Any]:
            async with asyncio.timeout(5):
                while True:
                    reply = await client.get(f"{url}{path}", headers=headers)
                    if reply.status_code == status:
                        found: dict[str, Any] = reply.json()
                        return found

        account, native = "/generic/api/v1/account", "/veriplex/v1/standing"
        restricted = f"/validto/v1/info?apikey={made['validto']['key']}"
        key_id = str(made["generic"]["id"])
        for command, error, detail in (
            ("suspend", "account_suspended", "The account is suspended."),
            ("unverify", "email_not_verified", "The email address of the account is not verified."),
        ):
            code, out, _ = await finish(await shell.start("keys", command, key_id))
            assert (code, f"key {key_id}: generic" in out) == (0, True)
            assert (await wait_for(account, 403))["error"] == error
            assert (await wait_for(native, 403))["detail"] == detail
            assert (await wait_for(restricted, 400))["result"] == "Verify restricted"
            _, out, _ = await finish(await shell.start("keys", "list", "--json"))
            assert '"status": "active"' not in out
            await finish(await shell.start("keys", "resume", made["emailable"]["key"]))
            await wait_for(account, 200)


def test_blocks_are_listed_and_lifted(here: Here, tmp_path: Path) -> None:
    assert "there is no database" in here("blocks", "list").err
    here("keys", "create", "--test")
    assert here("blocks", "list").out == "no client address is blocked\n"
    assert here("blocks", "lift", "192.0.2.7").code == EXIT_FAILURE
    with contextlib.closing(sqlite3.connect(tmp_path / "veriplex.db")) as database, database:
        database.execute("INSERT INTO client_blocks VALUES ('dataoorts', '192.0.2.7', 1700000000)")
    assert "192.0.2.7" in here("blocks", "list").out
    (row,) = map(json.loads, here("blocks", "list", "--json").out.splitlines())
    assert row == {
        "dialect": "dataoorts",
        "client": "192.0.2.7",
        "blocked_at": "2023-11-14T22:13:20+00:00",
    }
    done = here("blocks", "lift", "192.0.2.7")
    assert (done.code, done.out) == (0, "192.0.2.7 is not blocked any more\n")
    assert here("blocks", "list", "--json").out == ""


def test_keys_are_created_for_every_dialect_and_an_alias(here: Here, tmp_path: Path) -> None:
    done = here("keys", "create", "--test", "--json")
    made = [json.loads(line) for line in done.out.splitlines()]
    assert [k["dialect"] for k in made] == [d.name for d in DIALECTS]
    assert all(k["test"] and k["account"] == 1 for k in made)
    assert "\nvalidto: " in here("keys", "create", "--dialect", "bouncify").out
    assert here("keys", "revoke", "nothing-like-it").code == EXIT_FAILURE
    with contextlib.closing(sqlite3.connect(tmp_path / "veriplex.db")) as database:
        assert made[0]["key"] not in "\n".join(database.iterdump())
    table = here("keys", "list").out.splitlines()
    assert len(table) == 1 + len(DIALECTS) + 1
    assert {line.index("test") for line in table[1:-1]} == {table[0].index("kind")}


def test_listing_keys_does_not_create_a_database(here: Here, tmp_path: Path) -> None:
    done = here("keys", "list")
    assert (done.code, "there is no database" in done.err) == (EXIT_FAILURE, True)
    assert list(tmp_path.iterdir()) == []
    done = here("keys", "create", VERIPLEX_STORAGE__URL="sqlite:///:memory:")
    assert "in memory" in done.err


async def test_a_port_in_use_is_reported_in_one_line(shell: Shell) -> None:
    async with shell.serving("sandbox", "--port", "0") as (url, _):
        port = url.rpartition(":")[2]
        code, out, err = await finish(await shell.start("serve", "--port", port))
    assert (code, out) == (EXIT_FAILURE, "")
    assert err == f"veriplex: 127.0.0.1:{port} is in use already; choose another with --port\n"


async def test_serves_tls(shell: Shell) -> None:
    pem = str(CERTIFICATE)
    args = ("sandbox", "--port", "0")
    shell.environ |= {"VERIPLEX_SERVER__SSL_CERTFILE": pem, "VERIPLEX_SERVER__SSL_KEYFILE": pem}
    async with (
        shell.serving(*args) as (url, _),
        httpx.AsyncClient(verify=False) as client,  # noqa: S501
    ):
        assert url.startswith("https://127.0.0.1:")
        assert (await client.get(f"{url}/livez")).status_code == 200


async def test_the_sandbox_accepts_only_test_keys(shell: Shell) -> None:
    async with (
        shell.serving("sandbox", "--port", "0", "--key", "ci", "--seed", "s") as (url, before),
        httpx.AsyncClient(base_url=url) as client,
    ):
        for dialect, line in zip(DIALECTS, before, strict=True):
            shown = [dialect.name, f"{url}/{dialect.name}{dialect.base_path}", dialect.sandbox_key]
            assert line.split() == shown
        for key, status in ((WELL_KNOWN, 200), ("ci", 200), ("live_" + "0" * 20, 403)):
            headers = {"Authorization": f"Bearer {key}"}
            reply = await client.get("/v1/verify?email=role@example.com", headers=headers)
            assert reply.status_code == status
    assert list(shell.folder.iterdir()) == []  # nothing is stored


def test_tls_files_are_checked_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    junk = str(tmp_path / "junk.pem")
    check_tls(str(CERTIFICATE), str(CERTIFICATE))
    for pair in ((junk, junk), (str(CERTIFICATE), junk), ("none.pem", junk), (junk, "none.pem")):
        with pytest.raises(CommandError) as refused:
            check_tls(*pair)
        assert refused.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("host", "message"),
    [("192.0.2.1", "not an address of this machine"), ("no.host.invalid", "cannot be listened on")],
)
def test_addresses_that_cannot_be_listened_on(host: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        open_socket(with_server_options(Settings(), host=host, port=0))
