"""ZeroBounce's published clients, with other base URLs and otherwise unchanged.

zerobouncesdk 2.2.4 from PyPI, which has the bulk host's URLs as attributes of the class, 1.1.2 and
2.3.0 by the vendor's host names, and
@zerobounce/zero-bounce-sdk 1.2.2 from npm, whose lists always go to the bulk host by its name. The
latter is made for browsers, where it has a file saved.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from zerobouncesdk import (
    ZBApiException,
    ZBFileStatusResponse,
    ZBValidateBatchElement,
    ZBValidateStatus,
    ZBValidateSubStatus,
    ZeroBounce,
)

from tests.clients.conftest import Served, serving_host_names

pytestmark = pytest.mark.testbed

HERE = Path(__file__).parent / "node"
PYTHON = Path(__file__).parent / "python"
ADDRESS = "127.0.0.95"
PATHS = ["/v2", "/zerobounce/v2"]
"""At the root, and under the prefix."""
KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x84@catchall.test"
FULL, DEAD, MALFORMED = "full@exim.test", "user@no-such-domain.test", "not-an-address"
KEY_OR_CREDITS = "Invalid API key or your account ran out of credits"
WRONG_KEY = "0" * 32
PATIENCE_S = 30.0

Connect = Callable[..., ZeroBounce]


class TestPython:
    @pytest.fixture(params=PATHS)
    def connect(
        self, request: pytest.FixtureRequest, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> Connect:
        base = served.url + request.param
        monkeypatch.setattr(ZeroBounce, "BULK_BASE_URL", base)
        monkeypatch.setattr(ZeroBounce, "SCORING_BASE_URL", f"{base}/scoring")

        def connect(key: str = served.keys["zerobounce"]) -> ZeroBounce:
            return ZeroBounce(key, base_url=base, timeout=timedelta(seconds=30))

        return connect

    @pytest.mark.parametrize(
        ("address", "status", "sub_status"),
        [
            (KNOWN, ZBValidateStatus.valid, ZBValidateSubStatus.none),
            (UNKNOWN, ZBValidateStatus.invalid, ZBValidateSubStatus.mailbox_not_found),
            (CATCH_ALL, ZBValidateStatus.catch_all, ZBValidateSubStatus.none),
            (FULL, ZBValidateStatus.invalid, ZBValidateSubStatus.mailbox_quota_exceeded),
            (DEAD, ZBValidateStatus.invalid, ZBValidateSubStatus.no_dns_entries),
            (MALFORMED, ZBValidateStatus.invalid, ZBValidateSubStatus.failed_syntax_check),
            ("antispam_system@example.com", ZBValidateStatus.unknown, "antispam_system"),
        ],
    )
    def test_validate(
        self, connect: Connect, address: str, status: ZBValidateStatus, sub_status: Any
    ) -> None:
        found = connect().validate(address, "127.0.0.1")
        assert (found.address, found.status) == (address, status)
        assert found.sub_status is ZBValidateSubStatus(sub_status)
        assert abs(found.processed_at.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(hours=1)

    def test_validate_batch(self, connect: Connect) -> None:
        rows = [ZBValidateBatchElement(KNOWN), ZBValidateBatchElement(UNKNOWN, "127.0.0.1")]
        found = connect().validate_batch(rows)
        assert [(row.address, row.status) for row in found.email_batch] == [
            (KNOWN, ZBValidateStatus.valid),
            (UNKNOWN, ZBValidateStatus.invalid),
        ]
        assert found.errors == []

    def test_account(self, connect: Connect) -> None:
        client = connect()
        assert client.get_credits().credits == "1000000000"
        client.validate(KNOWN)
        today = datetime.now(UTC).date()
        usage = client.get_api_usage(today, today)
        assert usage.total >= 1
        assert usage.status_valid >= 1
        assert usage.start_date == usage.end_date
        assert client.get_activity(KNOWN).found is False

    def test_guesses(self, connect: Connect) -> None:
        client = connect()
        found = client.find_domain(domain="postfix.test")
        assert (found.domain, found.format) == ("postfix.test", "unknown")
        assert client.find_email_format("Ada", company_name="Postfix").email == ""

    def test_a_file(self, connect: Connect, tmp_path: Path) -> None:
        client = connect()
        sent = tmp_path / "people.csv"
        sent.write_text(f'name,email\n"Ada, L.",{KNOWN}\nBob,{UNKNOWN}\nCy,{MALFORMED}\n')
        made = client.send_file(str(sent), 2, has_header_row=True, allow_phase_2=False)
        assert (made.success, made.message) == (True, "File Accepted")
        status = wait_for(client.file_status, made.file_id)
        assert (status.file_name, status.complete_percentage) == ("people.csv", "100%")
        got = client.get_file(made.file_id, str(tmp_path / "results" / "got.csv"))
        table = list(csv.reader(Path(got.local_file_path).read_text().splitlines()))
        assert [row[:4] for row in table] == [
            ["name", "email", "ZB Status", "ZB Sub Status"],
            ["Ada, L.", KNOWN, "valid", ""],
            ["Bob", UNKNOWN, "invalid", "mailbox_not_found"],
            ["Cy", MALFORMED, "invalid", "failed_syntax_check"],
        ]
        assert client.delete_file(made.file_id).message == "File Deleted"
        gone = client.file_status(made.file_id)
        assert (gone.success, gone.message) == (False, "File cannot be found.")
        with pytest.raises(ZBApiException, match="File cannot be found"):
            client.get_file(made.file_id, str(tmp_path / "gone.csv"))
        assert not (tmp_path / "gone.csv").exists()

    def test_a_file_of_scores(self, connect: Connect, tmp_path: Path) -> None:
        client = connect()
        file = BytesIO(f"{KNOWN}\n{UNKNOWN}\n".encode())
        made = client.scoring_send_file_stream(file, "scores.csv", 1)
        wait_for(client.scoring_file_status, made.file_id)
        got = client.scoring_get_file(made.file_id, str(tmp_path / "scores.csv"))
        table = list(csv.reader(Path(got.local_file_path).read_text().splitlines()))
        assert table[0] == ["Email Address", "ZeroBounceQualityScore"]
        assert [row[0] for row in table[1:]] == [KNOWN, UNKNOWN]
        assert int(table[1][1]) > int(table[2][1])
        assert client.scoring_delete_file(made.file_id).success is True
        assert client.scoring_file_status(made.file_id).success is False

    def test_a_wrong_key(self, connect: Connect, tmp_path: Path) -> None:
        client = connect(WRONG_KEY)
        with pytest.raises(ZBApiException, match=KEY_OR_CREDITS):
            client.validate(KNOWN)
        assert client.get_credits().credits == "-1"
        found = client.validate_batch([ZBValidateBatchElement(KNOWN)])
        assert [error.error for error in found.errors] == [KEY_OR_CREDITS]
        sent = client.send_file_stream(BytesIO(KNOWN.encode()), "people.csv", 1)
        assert (sent.success, sent.message) == (False, "api_key is invalid")
        with pytest.raises(ZBApiException, match="api_key is invalid"):
            client.get_file("6d44a908-7283-42a9-aa5f-9e4b8a0a4d2f", str(tmp_path / "none.csv"))


def wait_for(ask: Callable[[str], ZBFileStatusResponse], file_id: str) -> ZBFileStatusResponse:
    """The status of a file when it is complete."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        status = ask(file_id)
        assert status.success is True
        if status.file_status == "Complete":
            return status
        assert status.file_status in ("Queued", "Processing")
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


VERSIONS = {
    "1.1.2": {"VERIPLEX_ZEROBOUNCE__GUESSFORMAT": "legacy"},
    "2.3.0": {},
}
"""Versions that differ, with the settings that they need: the oldest in use, and the newest, which
insists on HTTPS."""


@pytest.mark.python_clients
@pytest.mark.parametrize("version", VERSIONS)
def test_other_versions_by_host_name(tmp_path: Path, version: str) -> None:
    settings = VERSIONS[version]
    with serving_host_names(tmp_path, ADDRESS, settings) as (served, environment):
        done = subprocess.run(
            [sys.executable, "ask_zerobounce.py", served.keys["zerobounce"], str(tmp_path)],
            cwd=PYTHON,
            env={**environment, "PYTHONPATH": str(PYTHON / f"zerobouncesdk=={version}")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["known"]["address"] == KNOWN
    assert "valid" in found["known"]["status"]
    assert "mailbox_not_found" in found["unknown"]["sub_status"]
    assert [row["address"] for row in found["batch"]] == [KNOWN, "x85@catchall.test"]
    assert found["credits"]["credits"] == "1000000000"
    assert found["activity"]["found"] is False
    assert found["status"]["file_status"] == "Complete"
    table = list(csv.reader(found["file"].splitlines()))
    assert [row[:3] for row in table] == [
        ["email", "name", "ZB Status"],
        [KNOWN, "Ada", "valid"],
        [UNKNOWN, "Bob", "invalid"],
    ]
    assert found["deleted"]["message"] == "File Deleted"
    assert found["scores_deleted"]["success"] is True
    assert KEY_OR_CREDITS in found["wrong"]
    assert "api_key is invalid" in found["wrong_file"]
    assert "undetermined" in str(found["guess"]["confidence"]).lower()
    today = found["usage"]
    assert (today["total"], today["status_valid"], today["status_invalid"]) >= (4, 2, 1)
    if version == "2.3.0":
        assert found["filters"] == [{"rule": "block", "target": "email", "value": KNOWN}]
        assert "blocked" in found["blocked"]["sub_status"]
        assert today["sub_status_blocked"] == 1


def ask(served: Served, *base_url: str, **environment: str) -> dict[str, Any]:
    """The results that the Node client got."""
    key = served.keys["zerobounce"]
    done = subprocess.run(
        ["node", "--require", "./hosts.js", "ask_zerobounce.js", key, *base_url],
        cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check(answers: dict[str, Any]) -> None:
    names = ("known", "unknown", "catchAll", "malformed")
    assert {name: (answers[name]["status"], answers[name]["sub_status"]) for name in names} == {
        "known": ("valid", ""),
        "unknown": ("invalid", "mailbox_not_found"),
        "catchAll": ("catch-all", ""),
        "malformed": ("invalid", "failed_syntax_check"),
    }
    assert answers["credits"] == {"Credits": "1000000000"}
    assert answers["usage"]["total"] >= 1
    assert answers["activity"] == {"found": False, "active_in_days": None}
    assert answers["guess"]["email_confidence"] == "undetermined"
    assert answers["wrong"] == {"error": KEY_OR_CREDITS}
    assert answers["wrongCredits"] == {"Credits": "-1"}


@pytest.mark.node
@pytest.mark.parametrize("path", PATHS)
def test_node_by_base_url(served: Served, path: str) -> None:
    check(ask(served, served.url + path))


@pytest.mark.node
def test_node_by_host_name(tmp_path: Path) -> None:
    with serving_host_names(tmp_path, ADDRESS) as (served, environment):
        answers = ask(served, **environment)
    check(answers)
    batch = answers["batch"]
    assert [row["status"] for row in batch["email_batch"]] == ["valid", "invalid"]
    for name, title in (("file", "ZB Status"), ("scores", "ZeroBounceQualityScore")):
        file = answers[name]
        assert file["sent"]["message"] == "File Accepted"
        assert file["status"]["file_status"] == "Complete"
        table = list(csv.reader(file["saved"]["text"].splitlines()))
        assert [row[0] for row in table] == ["email", KNOWN, UNKNOWN]
        assert table[0][1] == title
        assert file["deleted"]["success"] is True
        assert file["gone"]["success"] is False
    assert answers["file"]["saved"]["name"] == "result.csv"
    assert answers["scores"]["saved"]["name"] == "result-scoring.csv"
