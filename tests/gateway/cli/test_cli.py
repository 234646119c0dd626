"""The command line: the command itself as a process, and its pieces in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
from engine.model import (
    Checks,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Step,
    Verdict,
    Verification,
)
from gateway.cli import COMMANDS, main
from gateway.cli.init import template
from gateway.cli.listen import check_tls, open_socket, with_server_options
from gateway.cli.report import DNS_WORDS, PanelPrinter, render_plain
from gateway.cli.stream import MAX_LINE_BYTES, LineSplitter, map_in_order, read_lines
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE, CommandError, print_error
from gateway.settings import Settings, load
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import CERTIFICATE, HANG, Script, fake_smtp

VERIPLEX = Path(sys.executable).parent / "veriplex"
WELL_KNOWN = next(d.sandbox_key for d in DIALECTS if d.name == "emailable")

# -- the command as a process ------------------------------------------------------------


class Shell:
    """Runs the command in a folder of its own, with no settings but those given."""

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
            # a shell that runs the suite in the background has it ignore Ctrl-C
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


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    code: int
    out: str
    err: str


class Here:
    """Runs the command in this process, which is quicker, in the current folder."""

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
    """A shell whose probe meets our own DNS and mail servers."""
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


def test_version_is_that_of_the_distribution(here: Here) -> None:
    done = here("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"veriplex \d+\.\d+\.\d+\n", done.out)


SHOWN = [
    *(set(COMMANDS) - {"keys", "upstreams"}),
    "keys create",
    "keys list",
    "keys revoke",
    "upstreams check",
]


@pytest.mark.parametrize("command", sorted(SHOWN))
def test_every_help_teaches_by_example(here: Here, command: str) -> None:
    done = here(*command.split(), "--help")
    assert done.code == 0
    assert f"veriplex {command}" in done.out.partition("Examples:")[2]
    assert "\x1b" not in done.out


def test_commands_are_imported_when_called_for() -> None:
    look = "import gateway.cli, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    heavy = ("asyncio", "rich", "pydantic", "sqlalchemy", "starlette", "engine", "adapters")
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(heavy)


BAD_USAGE: list[tuple[tuple[str, ...], Mapping[str, str], str]] = [
    (("verify",), {}, "Missing argument"),
    (("verify", "--timeout", "0", "a@b.test"), {}, "--timeout"),
    (("verfy",), {}, "verify"),
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


@pytest.mark.parametrize(("args", "environ", "says"), BAD_USAGE)
def test_bad_usage_exits_2_and_says_why(
    here: Here, args: tuple[str, ...], environ: Mapping[str, str], says: str
) -> None:
    done = here(*args, **environ)
    assert (done.code, done.out) == (EXIT_USAGE, "")
    assert says in done.err


def test_failures_exit_1_in_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_text("not a database\n" * 100)
    for args in (("serve", "--port", "0"), ("keys", "list"), ("keys", "create")):
        done = here(*args, VERIPLEX_STORAGE__URL="sqlite:///junk.db")
        assert (done.code, done.out) == (EXIT_FAILURE, "")
        assert done.err == "veriplex: junk.db: is not an SQLite database\n"
    done = here("serve", "--port", "0", VERIPLEX_STORAGE__URL="sqlite:///none/veriplex.db")
    assert "there is no folder" in done.err


# -- verify ------------------------------------------------------------------------------


async def test_verify_answers_in_the_order_asked(networked: Shell) -> None:
    process = await networked.start("verify", "--json", "--timeout", "1", "-", "user@good.test")
    asked = "user@slow.test\r\n\n  user@good.test  \nno address\nnobody@good.test"
    code, out, err = await finish(process, asked)
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [(a["address"], a["verdict"], a["reason"]) for a in answers] == [
        ("user@slow.test", "unknown", "timeout"),
        ("user@good.test", "deliverable", "accepted_email"),
        ("no address", "undeliverable", "invalid_email"),
        ("nobody@good.test", "undeliverable", "rejected_email"),
        ("user@good.test", "deliverable", "accepted_email"),
    ]
    assert all(a.keys() >= {"score", "source", "evidence"} for a in answers)


async def test_verify_answers_before_the_input_ends(networked: Shell) -> None:
    process = await networked.start("verify", "--json", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    for address in ("user@good.test", "nobody@good.test"):
        process.stdin.write(f"{address}\n".encode())
        answer = json.loads(await process.stdout.readline())
        assert answer["address"] == address
    assert await finish(process) == (0, "", "")


async def test_verify_shows_the_evidence_harmlessly(networked: Shell) -> None:
    process = await networked.start("verify", "evil@good.test")
    code, out, err = await finish(process)
    assert (code, err) == (0, "")
    assert "verdict     undeliverable (rejected_email), score 0 of 100" in out
    assert "by mx.good.test [127.0.0.2]: 550 5.1.1 [31mno such" in out
    assert "> RCPT TO:<evil@good.test>" in out
    assert not set(out) & set("\x1b\x07\u202e")


async def test_checks_can_be_left_out(networked: Shell) -> None:
    async def evidence(*options: str) -> dict[str, object]:
        process = await networked.start("verify", "--json", *options, "user@good.test")
        _, out, _ = await finish(process)
        found: dict[str, object] = json.loads(out)["evidence"]
        return found

    found = await evidence("--no-smtp")
    assert (found["dns"], found["smtp"]) == ("mx", None)
    found = await evidence("--no-catch-all")
    assert (found["catch_all"], found["smtp"] is None) == (None, False)


async def test_ctrl_c_leaves_quietly(networked: Shell) -> None:
    process = await networked.start("verify", "--json", "user@good.test", "user@slow.test")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await finish(process) == (130, "", "")


async def test_a_reader_who_leaves_is_no_error(networked: Shell) -> None:
    process = await asyncio.create_subprocess_shell(
        f'"{VERIPLEX}" verify --json user@good.test nobody@good.test no@where.test | head -n 1',
        cwd=networked.folder,
        env=networked.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, out, err = await finish(process)
    assert (code, json.loads(out)["address"], err) == (0, "user@good.test", "")


def test_closed_streams_are_survived(shell: Shell) -> None:
    for closing, code in (("<&-", 0), (">&-", 0), ("2>&-", 0), (">/dev/full", EXIT_FAILURE)):
        done = subprocess.run(
            ["sh", "-c", f'"{VERIPLEX}" verify --json "no address" {closing}'],
            env=shell.environ,
            cwd=shell.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), closing
    assert "No space left" in done.stderr


# -- serve and keys ----------------------------------------------------------------------


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
    assert os.listdir(tmp_path) == ["veriplex.db"]  # it was closed, so the log is gone


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
                pass  # it says within a second, and each look is a round trip


def test_keys_are_made_for_every_dialect_and_an_alias(here: Here, tmp_path: Path) -> None:
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


def test_lists_do_not_make_a_database(here: Here, tmp_path: Path) -> None:
    done = here("keys", "list")
    assert (done.code, "there is no database" in done.err) == (EXIT_FAILURE, True)
    assert list(tmp_path.iterdir()) == []
    done = here("keys", "create", VERIPLEX_STORAGE__URL="sqlite:///:memory:")
    assert "in memory" in done.err


async def test_a_port_in_use_is_said_in_a_line(shell: Shell) -> None:
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


async def test_the_sandbox_knows_test_keys_alone(shell: Shell) -> None:
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
    assert list(shell.folder.iterdir()) == []  # nothing is kept


# -- init and check ----------------------------------------------------------------------


def test_init_writes_what_check_accepts(here: Here) -> None:
    assert here("init").out == "wrote veriplex.toml\n"
    done = here("check")
    assert done.code == 0
    assert "good (veriplex.toml, then the environment)" in done.out
    assert "engine.helo is localhost" in done.err
    assert here("init").code == EXIT_FAILURE
    assert here("init", "--force").code == 0


def test_every_setting_of_the_template_has_its_default(tmp_path: Path) -> None:
    text = template()
    assert load(_written(tmp_path, text), {}) == Settings()
    bare = re.sub(r"(?m)^# (?=[a-z_.0-9]+ = |\[\[)", "", text)
    assert set(tomllib.loads(bare)) == set(Settings.model_fields)
    loaded = load(_written(tmp_path, bare), {}, secrets=False)
    assert loaded.model_copy(update={"upstreams": (), "routes": ()}) == Settings()
    assert loaded.upstreams[0].dialect == "emailable"


def _written(folder: Path, text: str) -> Path:
    path = folder / "template.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- the pieces --------------------------------------------------------------------------


def an_answer(**evidence: object) -> Verification:
    return Verification(
        address=parse_address("ada@example.com"),
        verdict=Verdict.DELIVERABLE,
        reason=Reason.ACCEPTED_EMAIL,
        score=95,
        evidence=replace(Evidence(), **evidence),  # type: ignore[arg-type]
        checks=Checks(),
        verified_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        duration_s=0.5,
    )


def test_the_plain_report_says_what_is_known() -> None:
    report = render_plain(
        an_answer(
            role=True,
            did_you_mean="example.org",
            person=Person("Ada", "Lovelace", accuracy=0.87),
            dns=Dns.MX,
            mx=(MxHost("mx1.example.com", 10), MxHost("mx2.example.com", 20)),
            provider="google",
            spf=True,
            dmarc=False,
            smtp=Smtp(
                Meaning.IP_BLOCKED,
                Stage.RCPT,
                host="mx1.example.com",
                ip="192.0.2.1",
                code=550,
                enhanced="5.7.1",
                text="5.7.1 blocked",
                latency_ms=12,
                tls=True,
                block_list="zen.example",
                retry_after_s=60,
            ),
            mailbox_full=True,
            transcript=(Step(3, "dns", "MX example.com: mx"), Step(9, "mx1.example.com", "> QUIT")),
        )
    )
    assert report.splitlines() == [
        "address     ada@example.com",
        "verdict     deliverable (accepted_email), score 95 of 100",
        "kind        role account",
        "spelling    did you mean example.org?",
        "owner       perhaps Ada Lovelace (accuracy 0.87)",
        "dns         mail exchangers",
        "               10 mx1.example.com",
        "               20 mx2.example.com",
        "provider    google",
        "policies    SPF, no DMARC",
        "smtp        ip blocked at RCPT by mx1.example.com [192.0.2.1]: 550 5.7.1 blocked;"
        " after 12 ms; over TLS; named list: zen.example; asks to wait 60 s",
        "catch-all   not known",
        "mailbox     full",
        "checked     2026-01-02 03:04:05 UTC, in 0.50 s",
        "transcript      3 ms  dns              MX example.com: mx",
        "                9 ms  mx1.example.com  > QUIT",
        "",
    ]


@pytest.mark.parametrize("dns", Dns)
def test_every_dns_answer_has_words(dns: Dns) -> None:
    assert DNS_WORDS[dns] in render_plain(an_answer(dns=dns))


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        return True


@given(st.text(max_size=60), st.text(max_size=60))
def test_strangers_never_steer_the_terminal(said: str, host: str) -> None:
    v = an_answer(transcript=(Step(1, host, said),), mx=(MxHost(host, 1),), dns=Dns.MX)
    assert all(line.isprintable() for line in render_plain(v).split("\n"))
    screen = Terminal()
    PanelPrinter(screen).show(v)
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert all(line.isprintable() for line in without_colours.split("\n"))


def test_complaints_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("one\x1b[2J\ntwo")
    assert capsys.readouterr().err == "veriplex: one\\x1b[2J\nveriplex: two\n"


LINES = [
    (b"a@b.c\nd@e.f\n", ["a@b.c", "d@e.f"]),
    (b"\xef\xbb\xbfa@b.c\r\n\r\n  \t\n d@e.f", ["a@b.c", "d@e.f"]),
    (b"\xff@b.c\n", ["\ufffd@b.c"]),
    (b"x" * (3 * MAX_LINE_BYTES) + b"\na@b.c", ["x" * MAX_LINE_BYTES, "a@b.c"]),
    (b"", []),
]


@pytest.mark.parametrize(("data", "expected"), LINES)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_lines_however_they_arrive(data: bytes, expected: list[str], size: int) -> None:
    splitter = LineSplitter()
    found = [
        line
        for start in range(0, len(data), size)
        for line in splitter.feed(data[start : start + size])
    ]
    assert found + splitter.feed(b"") == expected


async def test_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("".join(f"u{n}@b.test\n" for n in range(20_000)))
    with path.open("rb") as file:
        found = [line async for line in read_lines(file.fileno())]
    assert found == [f"u{n}@b.test" for n in range(20_000)]


async def test_unreadable_input_is_refused(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CommandError, match="cannot read standard input"):
            _ = [line async for line in read_lines(fd)]
    finally:
        os.close(fd)


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_answers_keep_their_order_and_bound() -> None:
    running, most, shown = 0, 0, list[int]()
    eight = asyncio.Barrier(8)

    async def answer(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await eight.wait()
        for _ in range(number % 5):
            await asyncio.sleep(0)
        running -= 1
        return number

    await map_in_order(numbers(200), answer, shown.append, concurrency=8)
    assert shown == list(range(200))
    assert most == 8


@pytest.mark.parametrize("error", [BrokenPipeError, ZeroDivisionError])
async def test_what_showing_raises_ends_the_rest(error: type[Exception]) -> None:
    ended = []
    all_three = asyncio.Barrier(3)

    async def answer(number: int) -> int:
        await all_three.wait()
        if number:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(number)
        return number

    def show(_: int) -> None:
        raise error

    with pytest.raises(error):
        await map_in_order(numbers(3), answer, show)
    assert sorted(ended) == [1, 2]


async def test_what_asking_raises_comes_after_the_answers() -> None:
    async def asked() -> AsyncIterator[int]:
        yield 1
        raise CommandError("no more")

    async def answer(number: int) -> int:
        return number

    shown: list[int] = []
    with pytest.raises(CommandError, match="no more"):
        await map_in_order(asked(), answer, shown.append)
    assert shown == [1]


async def test_a_cancellation_that_gets_lost_is_repeated() -> None:
    async def answer(number: int) -> int:
        if number:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
        await started.wait()
        return number

    def show(_: int) -> None:
        raise BrokenPipeError

    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    with pytest.raises(BrokenPipeError):
        await map_in_order(numbers(2), answer, show)


def test_tls_files_are_looked_at_first(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    junk = str(tmp_path / "junk.pem")
    check_tls(str(CERTIFICATE), str(CERTIFICATE))
    for pair in ((junk, junk), (str(CERTIFICATE), junk), ("none.pem", junk), (junk, "none.pem")):
        with pytest.raises(CommandError) as refused:
            check_tls(*pair)
        assert refused.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("host", "says"),
    [("192.0.2.1", "not an address of this machine"), ("no.host.invalid", "cannot be listened on")],
)
def test_where_one_cannot_listen(host: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        open_socket(with_server_options(Settings(), host=host, port=0))
