"""`veriplex doctor` as a process: its two formats, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.model import Meaning, Stage
from engine.smtp.reputation import ReputationTracker
from engine.smtp.terms import DEFAULT_EGRESS
from gateway.cli.doctor import print_findings
from gateway.doctor.finding import warn
from gateway.reputation import open_reputation_store
from gateway.store import open_store
from tests.fakes.dns import Fault, Records, fake_dns
from tests.fakes.smtp import Script, fake_smtp

VERIPLEX = Path(sys.executable).parent / "veriplex"
US, MX = "127.0.0.1", "127.0.0.2"

ZONE: dict[str, Records | Fault] = {
    "gmail.com": {"MX": ["5 mx.gmail.com."]},
    "mx.gmail.com": {"A": [MX]},
    "us.test": {"MX": ["10 probe.us.test."], "TXT": [f'"v=spf1 ip4:{US} -all"']},
    "probe.us.test": {"A": [US]},
    "1.0.0.127.in-addr.arpa": {"PTR": ["probe.us.test."]},
    "1.0.0.127.rbl.test": {"A": ["127.0.0.2"]},
}


async def doctor(folder: Path, *args: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, output and errors, on a loopback without problems."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VERIPLEX_")}
    async with fake_dns(ZONE) as dns, fake_smtp({MX: Script()}) as smtp:
        ours = {
            "VERIPLEX_ENGINE__DNS_SERVERS": f'["{dns.address}"]',
            "VERIPLEX_ENGINE__SMTP_PORT": str(smtp.port),
            "VERIPLEX_ENGINE__HELO": "probe.us.test",
            "VERIPLEX_ENGINE__MAIL_FROM": "probe@us.test",
            "VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS": "true",
            "VERIPLEX_SERVER__PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            VERIPLEX,
            "doctor",
            "--timeout",
            "5",
            *args,
            cwd=folder,
            env={**kept, **ours, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_nothing_wrong(tmp_path: Path) -> None:
    code, out, err = await doctor(tmp_path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(r"ok    spf us\.test +pass for 127\.0\.0\.1: ip4:.*", lines[8])
    # the standard lists have no records here, not even their test entries
    assert lines[-1] == "nothing wrong, 7 worth a look."
    assert not os.listdir(tmp_path)


async def test_json(tmp_path: Path) -> None:
    code, out, _ = await doctor(
        tmp_path, "--json", "--block-list", "rbl.test", VERIPLEX_ENGINE__HELO="localhost"
    )
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert all(set(row) == {"check", "about", "level", "said", "advice"} for row in found)
    wrong = {row["check"]: row for row in found if row["level"] == "fail"}
    assert set(wrong) == {"helo", "helo-address", "block-list"}
    assert wrong["block-list"]["about"] == "rbl.test"
    assert all(row["advice"] for row in wrong.values())


async def test_refusals_are_shown_after_the_server_has_stopped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/v.db"
    standing = ReputationTracker(time.monotonic, lambda: datetime.now(UTC))
    async with (
        open_store(url) as store,
        open_reputation_store(store, {DEFAULT_EGRESS: standing}, clock=time.time),
    ):
        for _ in range(4):
            standing.record_outcome(
                "mx.a.test",
                Meaning.IP_BLOCKED,
                Stage.BANNER,
                block_list="spamhaus",
                text="5.7.1 \u202eblocked using zen.spamhaus.org",
            )
        for number in range(6):
            standing.record_outcome(
                f"mx.b{number}.test", Meaning.HELO_REJECTED, Stage.EHLO, text="bad HELO"
            )
    code, out, _ = await doctor(tmp_path, VERIPLEX_STORAGE__URL=url)
    assert code == 1
    lines = [" ".join(line.split()) for line in out.splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("fail refused"))
    shown = lines[first : first + 15]
    today = "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC"
    ago = "(just now|[0-9]+ s ago)"
    wanted = [
        "fail refused helo_rejected 6 operators refused us 6 times in 24 hours:"
        " engine.helo is not accepted",
        *(
            line
            for number in range(4)
            for line in (
                f"b{number}.test once in 24 hours; {ago}",
                f"mx.b{number}.test: bad HELO",
            )
        ),
        "and 2 more, which --json shows",
        "Set engine.helo to a name that resolves to our address.",
        "fail refused spamhaus a.test refused us 4 times in 24 hours:"
        " our address is on the list spamhaus",
        f"(since {today}, last )?{ago}; one host paused for [0-9]+ s more",
        "mx.a.test: 5.7.1 blocked using zen.spamhaus.org",
        "Fix what got us listed, .*at https://check.spamhaus.org/, or use another address.",
    ]
    for line, pattern in zip(shown, wanted, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    _, out, _ = await doctor(tmp_path, "--json", VERIPLEX_STORAGE__URL=url)
    rows = [json.loads(line) for line in out.splitlines()]
    spamhaus = next(row for row in rows if row["about"] == "spamhaus")
    (refused,) = spamhaus["refusals"]
    assert (refused["operator"], refused["day"], refused["host"]) == ("a.test", 4, "mx.a.test")
    assert datetime.fromisoformat(refused["since"]).tzinfo is not None


async def test_invalid_settings_are_a_finding(tmp_path: Path) -> None:
    (tmp_path / "veriplex.toml").write_text("[server]\nprot = 1\n[engine]\nhelo = 5\n")
    code, out, err = await doctor(tmp_path)
    assert (code, err) == (1, "")
    assert out.count("fail  settings") == 1  # the environment overrides the invalid helo
    assert "did you mean server.port?" in out


@pytest.mark.parametrize("args", [("--ip", "nonsense"), ("--timeout", "0")])
async def test_wrong_usage(tmp_path: Path, args: tuple[str, ...]) -> None:
    code, out, err = await doctor(tmp_path, *args)
    assert (code, out) == (2, "")
    assert err


async def test_a_running_server_may_have_the_port(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VERIPLEX_")}
    server = await asyncio.create_subprocess_exec(
        VERIPLEX,
        "serve",
        "--port",
        "0",
        cwd=tmp_path,
        env=kept,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert server.stdout is not None
    while not (line := await server.stdout.readline()).startswith(b"listening on "):
        assert line
    port = line.decode().rsplit(":", 1)[1].strip()
    try:
        code, out, _ = await doctor(tmp_path, VERIPLEX_SERVER__PORT=port)
    finally:
        server.terminate()
        await server.communicate()
    assert code == 0, out
    assert "Veriplex is listening there" in out
    assert "can be written" in out


def test_equal_findings_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    silent = [
        warn("block-list", zone, "could not be queried", "Run the doctor again.")
        for zone in ("a.test", "b.test")
    ]
    print_findings([*silent, warn("block-list", "c.test", "is listed", "Fix the cause.")])
    assert capsys.readouterr().out.splitlines() == [
        "warn  block-list (2)     could not be queried",
        "                         a.test, b.test",
        "                         Run the doctor again.",
        "warn  block-list c.test  is listed",
        "                         Fix the cause.",
        "nothing wrong, 3 worth a look.",
    ]
