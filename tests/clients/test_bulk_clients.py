"""The vendors' published bulk clients, with another base URL and otherwise unchanged.

emailable 3.1.0 and bulk-email-verifier 1.0.1 from PyPI, and the loops of the generic and
Dataoorts pages with `requests`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import bulkemailverifier
import emailable
import pytest
import requests
from bulkemailverifier import ApiAuthError, BadRequestError

from tests.clients.conftest import Served

pytestmark = pytest.mark.testbed

KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x81@catchall.test"
PATIENCE_S = 30.0

MIXED = (KNOWN, UNKNOWN, CATCH_ALL)


def polled(ask: Callable[[], Any]) -> Any:
    """The final result of `ask`, polled as these clients do."""
    give_up_at = time.monotonic() + PATIENCE_S
    while (found := ask()) is None:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    return found


class TestEmailable:
    @pytest.fixture
    def client(self, served: Served) -> emailable.Client:
        client = emailable.Client(served.keys["emailable"])
        client.base_url = f"{served.url}/v1/"
        return client

    @pytest.mark.parametrize("emails", [list(MIXED), ",".join(MIXED)])
    def test_batch(self, client: emailable.Client, emails: Any) -> None:
        batch = client.batch(
            emails, params={"retries": True, "response_fields": "email,state,reason"}
        )
        assert len(batch.id) == 24

        def done() -> Any:
            status = client.batch_status(batch.id)
            return status if "completed" in status.message else None

        status = polled(done)
        assert [(row["email"], row["state"]) for row in status.emails] == [
            (KNOWN, "deliverable"),
            (UNKNOWN, "undeliverable"),
            (CATCH_ALL, "risky"),
        ]
        assert status.total_counts["processed"] == status.total_counts["total"] == 3
        assert status.reason_counts["accepted_email"] == 1

    def test_unknown_batch(self, client: emailable.Client) -> None:
        with pytest.raises(emailable.ResourceNotFoundError):
            client.batch_status("0" * 24)

    def test_no_emails(self, client: emailable.Client) -> None:
        with pytest.raises(emailable.ClientError):
            client.batch([])


class TestWhoisXml:
    """The checks of the client's own suite, and a few more."""

    EMAILS = (KNOWN, "user@no-such-domain.test", "test")

    @pytest.fixture
    def client(self, served: Served) -> bulkemailverifier.Client:
        url = f"{served.url}/api/bevService"
        return bulkemailverifier.Client(served.keys["whoisxml"], base_url=url)

    @pytest.fixture
    def request_id(self, client: bulkemailverifier.Client) -> int:
        created = client.create_request(emails=list(self.EMAILS))
        polled(lambda: client.get_status(request_ids=[created]).data[0].ready or None)
        return int(created)

    def test_status(self, client: bulkemailverifier.Client, request_id: int) -> None:
        (status,) = client.get_status(request_ids=[request_id]).data
        assert status.id == request_id
        assert status.ready is True
        assert isinstance(status.date_start, datetime)
        counted = (status.total_emails, status.invalid_emails, status.processed_emails)
        assert counted == (3, 1, 2)
        assert status.failed_emails == 0

    def test_records(self, client: bulkemailverifier.Client, request_id: int) -> None:
        known, dead = client.get_records(request_id=request_id).data
        assert (known.email_address, known.result, known.smtp_check) == (KNOWN, "ok", True)
        assert (dead.result, dead.dns_check, dead.smtp_check) == ("bad", False, None)
        (failed,) = client.get_records(request_id=request_id, return_failed=True).data
        assert failed.error == "Invalid format"

    def test_list(self, client: bulkemailverifier.Client, request_id: int) -> None:
        page = client.get_requests(per_page=10, sort="desc")
        assert page.data[0].id == request_id
        assert (page.current_page, page.from_requests) == (1, 1)
        assert page.total >= 1

    def test_download(
        self, client: bulkemailverifier.Client, request_id: int, tmp_path: Path
    ) -> None:
        path = tmp_path / "records.csv"
        client.download(filename=str(path), request_id=request_id)
        assert path.read_text().startswith('"Email Address"')

    @pytest.mark.parametrize("call", ["create", "status", "list", "records"])
    def test_xml(self, client: bulkemailverifier.Client, request_id: int, call: str) -> None:
        calls: dict[str, Callable[[], str]] = {
            "create": lambda: client.create_request_raw(
                emails=list(self.EMAILS), output_format="xml"
            ),
            "status": lambda: client.get_status_raw(request_ids=[request_id], output_format="xml"),
            "list": lambda: client.get_requests_raw(output_format="xml"),
            "records": lambda: client.get_records_raw(request_id=request_id, output_format="xml"),
        }
        assert calls[call]().startswith("<?xml")

    def test_foreign_ids(self, client: bulkemailverifier.Client) -> None:
        assert client.get_status(request_ids=[123]).data == []
        with pytest.raises(BadRequestError):
            client.get_records(request_id=123)

    def test_keys(self, served: Served) -> None:
        url = f"{served.url}/api/bevService"
        stranger = bulkemailverifier.Client("at_" + "0" * 29, base_url=url)
        with pytest.raises(ApiAuthError):
            stranger.get_status(request_ids=[1])


class TestPages:
    """The loops that the vendors' pages show."""

    def test_generic(self, served: Served) -> None:
        base = f"{served.url}/api/v1"
        headers = {"Authorization": f"Bearer {served.keys['generic']}"}
        emails = {"emails": [KNOWN, UNKNOWN]}
        job = requests.post(f"{base}/verify/bulk", json=emails, headers=headers, timeout=30).json()

        def done() -> Any:
            url = f"{base}/jobs/{job['jobId']}"
            status = requests.get(url, headers=headers, timeout=30).json()
            return status if status["status"] == "completed" else None

        status = polled(done)
        assert (status["deliverable"], status["undeliverable"]) == (1, 1)
        url = f"{base}/jobs/{job['jobId']}"
        found = requests.get(f"{url}/results", headers=headers, timeout=30).json()
        assert [row["tier"] for row in found["results"]] == ["deliverable", "undeliverable"]
        file = requests.get(f"{url}/download", headers=headers, timeout=30).text
        assert len(file.splitlines()) == 3

    def test_dataoorts(self, served: Served) -> None:
        base = f"{served.url}/ai_mails_api"
        headers = {"Authorization": f"Bearer {served.keys['dataoorts']}"}

        def post(path: str, body: Any) -> requests.Response:
            return requests.post(f"{base}/{path}", json=body, headers=headers, timeout=30)

        batch = post("bulk/v1", {"emails": [KNOWN, UNKNOWN]}).json()

        def done() -> Any:
            reply = post("bulk_results/v1", batch)
            return reply.json() if reply.status_code == 200 else None

        rows = {row["email"]: row["test_result"] for row in polled(done)}
        assert rows == {KNOWN: "deliverable", UNKNOWN: "undeliverable"}

    def test_validto(self, served: Served) -> None:
        base = f"{served.url}/v1"
        key = {"apikey": served.keys["validto"]}
        file = {"local_file": ("list.csv", f"Name,Email\nAda,{KNOWN}\nBob,{UNKNOWN}\n")}
        made = requests.post(f"{base}/bulk", params=key, files=file, timeout=30).json()
        url = f"{base}/bulk/{made['job_id']}"

        def reaching(state: str) -> Callable[[], Any]:
            def look() -> Any:
                status = requests.get(url, params=key, timeout=30).json()
                return status if status["status"] == state else None

            return look

        polled(reaching("ready"))
        requests.patch(url, params=key, json={"action": "start"}, timeout=30).raise_for_status()
        status = polled(reaching("completed"))
        assert status["results"]["deliverable"] == status["results"]["undeliverable"] == 1
        wanted = {**key, "jobId": made["job_id"]}
        rows = requests.post(f"{base}/download", params=wanted, timeout=30).text.splitlines()
        assert [row.split(",")[:3] for row in rows[1:]] == [
            ['"Ada"', f'"{KNOWN}"', '"deliverable"'],
            ['"Bob"', f'"{UNKNOWN}"', '"undeliverable"'],
        ]
        assert requests.delete(url, params=key, timeout=30).json()["success"] is True
