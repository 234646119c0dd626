"""Commands for those who operate a server: `readyz`, `backup`; and variables of Kubernetes."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from pathlib import Path

import httpx
import pytest

from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE
from tests.fakes.smtp import CERTIFICATE
from tests.gateway.cli.conftest import Here, Shell, finish

# -- readyz ------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
async def test_readyz_finds_the_server_by_its_settings(shell: Shell, tls: bool) -> None:
    async with shell.serving("sandbox", "--port", "0") as (free, _):
        port = free.rpartition(":")[2]
    shell.environ |= {"VERIPLEX_SERVER__PORT": port, "VERIPLEX_SERVER__HOST": "0.0.0.0"}
    shell.environ["VERIPLEX_SERVER__PUBLIC_URL"] = "https://verify.example.com"
    shell.environ["HTTP_PROXY"] = shell.environ["http_proxy"] = "http://127.0.0.1:1"
    if tls:
        for name in ("SSL_CERTFILE", "SSL_KEYFILE"):
            shell.environ[f"VERIPLEX_SERVER__{name}"] = str(CERTIFICATE)
    async with shell.serving("sandbox"):
        code, out, err = await finish(await shell.start("readyz"))
        assert (code, out, err) == (0, "ready\n", "")
        if tls:
            code, _, err = await finish(
                await shell.start("readyz", "--url", f"http://127.0.0.1:{port}")
            )
            assert (code, "with TLS begin the URL with https://" in err) == (EXIT_FAILURE, True)
    code, _, err = await finish(await shell.start("readyz"))
    scheme = "https" if tls else "http"
    assert code == EXIT_FAILURE
    assert err == f"veriplex: {scheme}://127.0.0.1:{port} is not ready: nothing listens there\n"


@pytest.mark.parametrize(
    ("args", "variables", "message"),
    [
        (("--url", "ftp://x"), {}, "ftp://x is not a URL such as"),
        (("--url", "http://127.0.0.1:port"), {}, "port is not a number"),
        (("--url", "http://no.host.invalid"), {}, "is not ready: "),
        ((), {"VERIPLEX_SERVER__PORT": "0"}, "give its --url"),
        ((), {"VERIPLEX_SERVER__PROT": "1"}, "unknown setting"),
    ],
)
def test_readyz_says_in_plain_words_what_is_wrong(
    here: Here, args: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    done = here("readyz", *args, **variables)
    assert done.code in (EXIT_FAILURE, EXIT_USAGE)
    assert message in done.err
    assert "urlopen" not in done.err


# -- backup ------------------------------------------------------------------------------


async def test_a_backup_has_what_is_in_the_write_ahead_log(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with shell.serving("serve", "--port", "0") as (_, before):
        assert before
        code, out, _ = await finish(await shell.start("backup", "copy.db"))
        assert (code, out.startswith("wrote copy.db, ")) == (0, True)
        # the server is running, so that all of this is in its log still
        assert (tmp_path / "veriplex.db-wal").stat().st_size > 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not [name for name in os.listdir(tmp_path) if name.startswith("copy.db-")]
    with contextlib.closing(sqlite3.connect(copy)) as database:
        (keys,) = database.execute("SELECT count(*) FROM keys").fetchone()
    assert keys > 0
    content = copy.read_bytes()
    code, _, err = await finish(await shell.start("backup", "copy.db"))
    assert (code, "copy.db exists" in err) == (EXIT_FAILURE, True)
    assert copy.read_bytes() == content


async def test_a_backup_is_restored_by_putting_it_in_place(shell: Shell, tmp_path: Path) -> None:
    _, out, _ = await finish(
        await shell.start("keys", "create", "--dialect", "emailable", "--json")
    )
    key = json.loads(out)["key"]
    await finish(await shell.start("backup", "copy.db"))
    await finish(await shell.start("keys", "revoke", key))
    (tmp_path / "copy.db").rename(tmp_path / "veriplex.db")
    async with shell.serving("serve", "--port", "0") as (url, _), httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {key}"}
        assert (await client.get(f"{url}/v1/account", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///none.db", "there is no database none.db"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///junk.db", "cannot copy junk.db"),
    ],
)
def test_what_cannot_be_copied_leaves_no_file(
    here: Here, tmp_path: Path, url: str, message: str
) -> None:
    (tmp_path / "junk.db").write_text("this is no database, and long enough to be read as one" * 9)
    done = here("backup", "copy.db", VERIPLEX_STORAGE__URL=url)
    assert (done.code, message in done.err) == (EXIT_FAILURE, True), done.err
    assert not (tmp_path / "copy.db").exists()
    done = here("backup", "no/such/folder.db", VERIPLEX_STORAGE__URL="sqlite:///junk.db")
    assert "cannot write no/such/folder.db: No such file or directory" in done.err


# -- variables ---------------------------------------------------------------------------

SERVICE_LINKS = {
    "VERIPLEX_SERVICE_HOST": "10.0.0.1",
    "VERIPLEX_SERVICE_PORT": "8025",
    "VERIPLEX_SERVICE_PORT_HTTP": "8025",
    "VERIPLEX_PORT": "tcp://10.0.0.1:8025",
    "VERIPLEX_PORT_8025_TCP": "tcp://10.0.0.1:8025",
    "VERIPLEX_PORT_8025_TCP_PROTO": "tcp",
    "VERIPLEX_PORT_8025_TCP_PORT": "8025",
    "VERIPLEX_PORT_8025_TCP_ADDR": "10.0.0.1",
    "VERIPLEX_SANDBOX_SERVICE_HOST": "10.0.0.2",
    "VERIPLEX_SANDBOX_PORT_8025_TCP": "tcp://10.0.0.2:8025",
}


def test_service_links_of_kubernetes_stop_nothing(here: Here) -> None:
    done = here("check", **SERVICE_LINKS)
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "hint" not in line]
    for name in SERVICE_LINKS:
        assert name in line
    assert "service links of Kubernetes" in line


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VERIPLEX_PORT", "VERIPLEX_SERVER__PORT"),
        ("VERIPLEX_HOST", "VERIPLEX_SERVER__HOST"),
        ("VERIPLEX_HELO", "VERIPLEX_ENGINE__HELO"),
        ("VERIPLEX_SERVER_PORT", "VERIPLEX_SERVER__PORT"),
    ],
)
def test_variables_without_a_double_underscore_are_ignored(
    here: Here, name: str, meant: str
) -> None:
    done = here("check", **{name: "9000"})
    assert done.code == 0
    assert f"variable {name}: unknown, and ignored; did you mean {meant}?" in done.err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VERIPLEX_SERVER__PROT", "VERIPLEX_SERVER__PORT"),
        ("VERIPLEX_KEY", "VERIPLEX_KEYS"),
        ("VERIPLEX_CONFG", "VERIPLEX_CONFIG"),
    ],
)
def test_a_misspelt_setting_still_stops_the_start(here: Here, name: str, meant: str) -> None:
    done = here("check", **{name: "9000"})
    assert (done.code, f"did you mean {meant}?" in done.err) == (EXIT_USAGE, True)


def test_the_warning_is_json_if_the_log_is(here: Here) -> None:
    done = here("keys", "create", "--json", VERIPLEX_LOG__FORMAT="json", VERIPLEX_HOST="x")
    warning = json.loads(done.err)
    assert (warning["level"], warning["event"]) == ("warning", "variables.ignored")
