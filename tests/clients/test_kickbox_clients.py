"""Kickbox's published clients, with another base URL and otherwise unchanged.

kickbox 2.0.4 from PyPI and kickbox 2.0.4 from npm. Both drop a path of the base URL, and have the
version of the API as an option, which can name the prefix.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import kickbox
import pytest
import requests
from kickbox.error import ClientError

from adapters.registry import DIALECTS
from tests.clients.conftest import Served, serving_host_names

pytestmark = pytest.mark.testbed

HERE = Path(__file__).parent / "node"
ADDRESS = "127.0.0.98"
VERSIONS = ["v2", "kickbox/v2"]
"""At the root, and under the prefix."""
KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x81@catchall.test"
FULL, DEAD = "full@exim.test", "user@no-such-domain.test"
PATIENCE_S = 30.0
TEST_KEY = next(dialect.sandbox_key for dialect in DIALECTS if dialect.name == "kickbox")


@pytest.mark.parametrize("version", VERSIONS)
class TestPython:
    def client(self, served: Served, version: str, key: str | None = None) -> kickbox.Client:
        options = {"base": f"{served.url}/a-path-that-is-dropped", "api_version": version}
        return kickbox.Client(key or served.keys["kickbox"], options)

    @pytest.mark.parametrize(
        ("address", "result", "reason", "accept_all"),
        [
            (KNOWN, "deliverable", "accepted_email", False),
            (UNKNOWN, "undeliverable", "rejected_email", False),
            (CATCH_ALL, "risky", "low_deliverability", True),
            (FULL, "risky", "low_deliverability", False),
            (DEAD, "undeliverable", "invalid_domain", False),
            ("not-an-address", "undeliverable", "invalid_email", False),
        ],
    )
    def test_verify(
        self, served: Served, version: str, address: str, result: str, reason: str, accept_all: bool
    ) -> None:
        reply = self.client(served, version).kickbox().verify(address)
        assert reply.code == 200
        body = reply.body
        assert (body["email"], body["result"], body["reason"]) == (address, result, reason)
        assert body["accept_all"] is accept_all
        assert (body["success"], body["message"]) == (True, None)
        assert reply.headers["X-Kickbox-Balance"] == "1000000000"
        assert reply.headers["X-Kickbox-Response-Time"].isdecimal()

    def test_a_slow_server_is_a_verdict(self, served: Served, version: str) -> None:
        address = f"user{version.replace('/', '')}@slowbanner.test"
        reply = self.client(served, version).kickbox().verify(address, {"timeout": 1000})
        assert (reply.body["result"], reply.body["reason"]) == ("unknown", "timeout")

    def test_errors(self, served: Served, version: str) -> None:
        for key in ("live_" + "0" * 64, " "):
            with pytest.raises(ClientError) as refused:
                self.client(served, version, key).kickbox().verify(KNOWN)
            assert (refused.value.code, refused.value.message) == (403, "Invalid API key")
        with pytest.raises(ClientError) as refused:
            self.client(served, version).kickbox().verify("")
        assert refused.value.code == 400

    def test_the_sandbox(self, served: Served, version: str) -> None:
        client = self.client(served, version, f"{TEST_KEY}").kickbox()
        assert client.verify("ann+low-quality@shop.test").body["sendex"] == 0.5
        with pytest.raises(ClientError) as refused:
            client.verify("insufficient-balance@shop.test")
        assert (refused.value.code, refused.value.message) == (403, "Insufficient balance")

    def test_batch(self, served: Served, version: str) -> None:
        """Through the part of the client that all of its methods use."""
        http = self.client(served, version).http_client
        rows = f"Name,Email\nAda,{KNOWN}\nBob,{UNKNOWN}\n"
        made = http.put("/verify-batch", rows, {"headers": {"X-Kickbox-Filename": "people.csv"}})
        assert made.code == 200
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            status = http.get(f"/verify-batch/{made.body['id']}").body
            if status["status"] == "completed":
                break
            assert status["status"] in ("starting", "processing")
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
        assert status["name"] == "people.csv"
        assert (status["stats"]["deliverable"], status["stats"]["undeliverable"]) == (1, 1)
        file = requests.get(status["download_url"], timeout=30)
        assert file.headers["content-type"] == "text/csv"
        assert [row.split(",")[:3] for row in file.text.splitlines()] == [
            ["Name", "Email", "result"],
            ["Ada", KNOWN, "deliverable"],
            ["Bob", UNKNOWN, "undeliverable"],
        ]
        assert http.get("/balance").body["balance"] == 1_000_000_000


def ask(served: Served, *arguments: str, **environment: str) -> dict[str, Any]:
    """The results that the Node client got."""
    done = subprocess.run(
        ["node", "--require", "./hosts.js", "ask_kickbox.js", served.keys["kickbox"], *arguments],
        cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check(answers: dict[str, Any]) -> None:
    known = answers["known"]
    assert known["code"] == 200
    assert (known["body"]["result"], known["body"]["sendex"]) == ("deliverable", 1)
    assert known["headers"]["x-kickbox-balance"] == "1000000000"
    assert answers["plus"]["body"]["user"] == "alice+news"
    assert answers["unknown"]["body"]["reason"] == "rejected_email"
    assert answers["missing"] == {"message": "The email parameter is required", "code": 400}
    assert answers["wrong"] == {"message": "Invalid API key", "code": 403}
    assert answers["balance"]["body"]["balance"] == 1_000_000_000
    status = answers["batch"]["status"]["body"]
    assert status["id"] == answers["batch"]["created"]["body"]["id"]
    assert status["stats"]["deliverable"] == 2
    assert (status["stats"]["addresses"], status["name"]) == (3, "people.txt")


@pytest.mark.node
@pytest.mark.parametrize("version", VERSIONS)
def test_node_by_base_url(served: Served, version: str) -> None:
    check(ask(served, served.url, version))


@pytest.mark.node
def test_node_by_host_name(tmp_path: Path) -> None:
    with serving_host_names(tmp_path, ADDRESS) as (served, environment):
        check(ask(served, **environment))
