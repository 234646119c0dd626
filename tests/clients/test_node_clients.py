"""The vendors' published Node clients: emailable 3.1.1 and email-verifier 0.4.1 from npm.

The URL of the second is fixed, so the vendors' host names lead both to us, with TLS.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Served, serving_host_names

pytestmark = [pytest.mark.testbed, pytest.mark.node]

HERE = Path(__file__).parent / "node"
ADDRESS = "127.0.0.99"


def ask(served: Served, base_url: str = "", **environment: str) -> dict[str, Any]:
    """The results that the clients got."""
    keys = [served.keys["emailable"], served.keys["whoisxml"]]
    done = subprocess.run(
        ["node", "--require", "./hosts.js", "ask.js", *keys, base_url],
        cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check_emailable(answers: dict[str, Any]) -> None:
    assert answers["known"]["state"] == "deliverable"
    assert (answers["unknown"]["state"], answers["unknown"]["score"]) == ("undeliverable", 0)
    assert answers["account"]["owner_email"] == "owner@localhost"
    assert answers["missing"] == {"message": "The email parameter is required.", "code": 400}
    check_batch(answers["batch"])
    assert answers["noBatch"]["code"] == 404
    assert answers["emptyBatch"] == {"message": "The emails parameter is required.", "code": 400}
    assert answers["wrong"] == {"message": "API key is invalid", "code": 403}


def check_batch(batch: dict[str, Any]) -> None:
    """A batch is created and polled until its complete results arrive."""
    assert batch["created"]["message"] == "Batch successfully created."
    *before, last = batch["seen"]
    assert set(before) <= {"Your batch is being processed."}
    assert last == "Batch verification completed."
    status = batch["status"]
    assert status["id"] == batch["created"]["id"]
    found = [(row["email"], row["state"]) for row in status["emails"]]
    assert found == [
        ("alice@postfix.test", "deliverable"),
        ("nobody@postfix.test", "undeliverable"),
    ]
    assert status["total_counts"]["duplicate"] == 1


@pytest.mark.parametrize("place", ["/v1/", "/emailable/v1/"])
def test_by_base_url(served: Served, place: str) -> None:
    check_emailable(ask(served, served.url + place))


def test_by_host_name(tmp_path: Path) -> None:
    with serving_host_names(tmp_path, ADDRESS) as (served, environment):
        answers = ask(served, **environment)
    check_emailable(answers)
    assert answers["whoisxml"]["smtpCheck"] == "true"
    assert answers["whoisxmlUnknown"]["smtpCheck"] == "false"
