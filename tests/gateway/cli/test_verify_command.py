"""`veriplex verify` as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess

from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE
from tests.gateway.cli.conftest import VERIPLEX, Shell, finish


async def test_verify_answers_in_the_order_of_the_addresses(networked: Shell) -> None:
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


async def test_verify_escapes_control_characters_in_the_evidence(networked: Shell) -> None:
    process = await networked.start("verify", "-v", "evil@good.test")
    code, out, err = await finish(process)
    assert (code, err) == (0, "")
    assert "verdict     undeliverable (rejected_email), score 0 of 100" in out
    assert "by mx.good.test [127.0.0.2]: 550 5.1.1 [31mno such" in out
    assert "> RCPT TO:<evil@good.test>" in out
    assert not set(out) & set("\x1b\x07\u202e")


async def test_checks_can_be_switched_off(networked: Shell) -> None:
    async def evidence(*options: str) -> dict[str, object]:
        process = await networked.start("verify", "--json", *options, "user@good.test")
        _, out, _ = await finish(process)
        found: dict[str, object] = json.loads(out)["evidence"]
        return found

    found = await evidence("--no-smtp")
    assert (found["dns"], found["smtp"]) == ("mx", None)
    found = await evidence("--no-catch-all")
    assert (found["catch_all"], found["smtp"] is None) == (None, False)


async def test_ctrl_c_exits_without_output(networked: Shell) -> None:
    process = await networked.start("verify", "--json", "user@good.test", "user@slow.test")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await finish(process) == (130, "", "")


async def test_a_reader_that_closes_the_pipe_is_no_error(networked: Shell) -> None:
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


async def test_one_egress_can_be_used_alone(networked: Shell) -> None:
    (networked.folder / "veriplex.toml").write_text(
        '[[egress]]\nname = "one"\nsource_address = "127.0.1.1"\noperators = ["nobody.test"]\n'
        '[[egress]]\nname = "two"\nproxy = "socks5://u:sekrit@127.0.0.1:9"\n'
    )

    async def verify(*options: str) -> tuple[int, str, str]:
        process = await networked.start("verify", *options, "user@good.test")
        return await finish(process)

    code, out, err = await verify("--json", "--egress", "one")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert (answer["verdict"], answer["evidence"]["smtp"]["egress"]) == ("deliverable", "one")
    code, out, err = await verify("--egress", "one")
    assert "; by the egress one" in out
    code, out, err = await verify("--timeout", "1", "--egress", "two")
    assert code == 0
    assert "unknown (no_connect)" in out
    assert "egress two: cannot connect to the proxy 127.0.0.1:9: connection refused" in out
    assert "veriplex: hint: egress two failed" in err
    assert "egress.rested" not in err
    assert "sekrit" not in out + err
    code, out, err = await verify("--egress", "tow")
    assert code == EXIT_USAGE
    assert "--egress: no egress is named 'tow'; did you mean two?; known: one, two" in err
