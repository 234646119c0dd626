"""`veriplex sandbox` as a process, through real sockets, and the pytest plugin's fixtures."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import emailable
import pytest
from veriplex_pytest import ControlError, Sandbox

from adapters.registry import DIALECTS

KEY = "test_7aff7fc0142c65f86a00"
COMMAND = [sys.executable, "-c", "from gateway.cli import main; main()", "sandbox", "--port", "0"]


def test_it_starts_prints_its_url_and_stops_cleanly() -> None:
    with subprocess.Popen([*COMMAND, "--key", "k"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("listening on http://127.0.0.1:"):
                break
        url = lines[-1].split()[-1]
        assert [line.split()[:2] for line in lines[:-1]] == [
            [dialect.name, f"{url}/{dialect.name}{dialect.base_path}"] for dialect in DIALECTS
        ]
        for key in (KEY, "k"):
            status, _ = get(url, f"/v1/verify?email=a@b.org&api_key={key}")
            assert status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("level", "lines"),
    [("warning", []), ("info", [("GET", 200)]), ("debug", [("GET", 200), ("GET", 200)])],
)
def test_the_log_settings_apply(level: str, lines: list[tuple[str, int]]) -> None:
    env = os.environ | {"VERIPLEX_LOG__FORMAT": "json"}
    command = [*COMMAND, "--log-level", level]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = map(json.loads, process.stdout)
        url = next(line["url"] for line in printed if line["event"] == "server.listening")
        assert get(url, f"/v1/verify?email=a@b.org&api_key={KEY}")[0] == 200
        assert get(url, "/livez")[0] == 200
        process.send_signal(signal.SIGTERM)
        logged = [json.loads(line) for line in process.stderr]
        assert process.wait(10) == 0
    requests = [line for line in logged if line["logger"] == "veriplex.request"]
    assert [(line["method"], line["status"]) for line in requests] == lines


def test_the_log_level_has_to_be_one() -> None:
    program = [*COMMAND, "--log-level", "debog"]
    refused = subprocess.run(program, capture_output=True, check=False, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("; did you mean debug?\n")


def test_it_imports_neither_database_nor_probe() -> None:
    """Their imports take half a second."""
    heavy = {"sqlalchemy", "alembic", "aiosmtplib", "dns", "httpx", "pydantic", "starlette.routing"}
    program = "import json, sys, gateway.sandbox_app; print(json.dumps(list(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert heavy.isdisjoint(json.loads(shown))


def test_readyz_asks_a_running_server(veriplex_sandbox_url: str) -> None:
    program = [sys.executable, "-c", "from gateway.cli import main; main()", "readyz", "--url"]
    ready = subprocess.run([*program, veriplex_sandbox_url], check=True, capture_output=True)
    assert ready.stdout == b"ready\n"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert subprocess.run([*program, url], check=False, capture_output=True).returncode == 1


def get(url: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.reason
    finally:
        connection.close()


@pytest.fixture
def sandbox(veriplex_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield veriplex_sandbox
    assert veriplex_sandbox.keys


def path(sandbox: Sandbox, email: str = "slow@example.com") -> str:
    return f"/emailable/v1/verify?email={email}&api_key={sandbox.key('emailable')}"


def test_249_says_try_again_on_the_wire(sandbox: Sandbox) -> None:
    assert get(sandbox.url, path(sandbox)) == (249, "Try Again")


def test_a_reset_connection_is_reset(sandbox: Sandbox) -> None:
    sandbox.fault(connection="reset", times=1)
    with pytest.raises(ConnectionResetError):
        get(sandbox.url, path(sandbox))
    assert get(sandbox.url, path(sandbox))[0] == 249
    assert sandbox.count() == 2


def test_a_truncated_body_ends_too_early(sandbox: Sandbox) -> None:
    sandbox.fault(connection="truncate", times=1)
    with pytest.raises(http.client.IncompleteRead):
        get(sandbox.url, path(sandbox))


def test_a_dripping_body_comes_in_pieces(sandbox: Sandbox) -> None:
    sandbox.fault(connection="drip", drip={"bytes": 20, "every_ms": 20})
    place = urlsplit(sandbox.url)
    assert place.hostname
    assert place.port
    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(f"GET {path(sandbox)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received, pieces = b"", 0
        while not received.endswith(b'again."}'):
            piece = client.recv(65_536)
            assert piece
            received += piece
            pieces += 1
    assert pieces >= 4


def test_the_official_client_gets_the_requested_outcomes(sandbox: Sandbox) -> None:
    client = emailable.Client(sandbox.key("emailable"))
    client.base_url = sandbox.base_urls["emailable"] + "/"
    assert client.verify("deliverable@example.com").state == "deliverable"
    batch = client.batch(["a@example.com", "b@example.com"])
    assert len(client.batch_status(batch.id).emails) == 2
    with pytest.raises(emailable.PaymentRequiredError):
        client.batch(["a@example.com"], {"simulate": "card_error"})
    with pytest.raises(emailable.RateLimitExceededError):
        client.verify("ada+simulate-429@example.org")
    assert [seen["operation"] for seen in sandbox.requests()] == [
        "verify",
        "batch",
        "batch_status",
        "batch",
        "verify",
    ]


def test_the_plugin_isolates_tests(sandbox: Sandbox, veriplex_sandbox_url: str) -> None:
    other = Sandbox(veriplex_sandbox_url)
    other.fault(simulate="503")
    assert get(sandbox.url, path(sandbox))[0] == 249
    assert get(other.url, path(other))[0] == 503
    assert (sandbox.count(), other.count()) == (1, 1)
    assert sandbox.last()["status"] == 249
    assert sandbox.wait_for(1)[0]["status"] == 249
    other.clear_faults()
    assert get(other.url, path(other))[0] == 249
    with pytest.raises(ControlError, match="no outcome is named"):
        sandbox.fault(simulate="nonsense")
    assert sandbox.clock(at="2030-01-01T00:00:00Z", frozen=True) == "2030-01-01T00:00:00+00:00"
    sandbox.reset()
    assert sandbox.count() == 0


def test_a_thousand_requests_from_eight_workers_agree(sandbox: Sandbox) -> None:
    emails = [f"user{n % 125}@example.org" for n in range(1_000)]

    def ask(worker: int) -> list[tuple[str, bytes]]:
        connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
        key = Sandbox(sandbox.url).key("emailable")
        answers = []
        for email in emails[worker::8]:
            connection.request("GET", f"/emailable/v1/verify?email={email}&api_key={key}")
            answers.append((email, connection.getresponse().read()))
        connection.close()
        return answers

    with ThreadPoolExecutor(8) as workers:
        answers = [pair for part in workers.map(ask, range(8)) for pair in part]
    by_email: dict[str, set[bytes]] = {}
    for email, body in answers:
        assert json.loads(body)["email"] == email
        by_email.setdefault(email, set()).add(body)
    assert len(answers) == 1_000
    assert {len(bodies) for bodies in by_email.values()} == {1}
