"""NeverBounce's published clients, with another address and otherwise unchanged.

neverbounce-sdk 4.3.0 from PyPI, whose root is a variable of a module, and neverbounce 4.4.1 from
npm, which takes a host and a port, and sends JSON with GET as well; and 5.0.5, with HTTPS alone.
"""

from __future__ import annotations

import io
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import neverbounce_sdk
import neverbounce_sdk.utils
import pytest

from tests.clients.conftest import Served, serving_host_names

pytestmark = pytest.mark.testbed

HERE = Path(__file__).parent / "node"
ADDRESS = "127.0.0.96"
KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x82@catchall.test"
DEAD, MALFORMED = "user@no-such-domain.test", "not-an-address"
WRONG_KEY = "private_" + "0" * 32
PATIENCE_S = 30.0

Connect = Callable[..., neverbounce_sdk.NeverBounceAPIClient]


class TestPython:
    @pytest.fixture(params=["v4.2", "v4.1", "v4", "neverbounce/v4.2"])
    def connect(
        self, request: pytest.FixtureRequest, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> Connect:
        """A client for a version of the API, at the root and under the prefix."""
        monkeypatch.setattr(neverbounce_sdk.utils, "API_ROOT", served.url)

        def connect(key: str = served.keys["neverbounce"]) -> neverbounce_sdk.NeverBounceAPIClient:
            return neverbounce_sdk.client(api_key=key, api_version=request.param)

        return connect

    @pytest.mark.parametrize(
        ("address", "result", "flag"),
        [
            (KNOWN, "valid", "smtp_connectable"),
            (UNKNOWN, "invalid", "smtp_connectable"),
            (CATCH_ALL, "catchall", "accepts_all"),
            (DEAD, "invalid", "bad_dns"),
            (MALFORMED, "invalid", "bad_syntax"),
        ],
    )
    def test_single(self, connect: Connect, address: str, result: str, flag: str) -> None:
        found = connect().single_check(address, address_info=True, credits_info=True)
        assert (found["status"], found["result"]) == ("success", result)
        assert flag in found["flags"]
        assert found["address_info"]["original_email"] == address
        assert found["credits_info"]["paid_credits_remaining"] == 1_000_000_000

    def test_account_in_a_session(self, connect: Connect) -> None:
        with connect() as client:
            found = client.account_info()
            assert client.account_info()["credits_info"] == found["credits_info"]
        assert found["credits_info"]["paid_credits_remaining"] == 1_000_000_000
        assert set(found["job_counts"]) == {"completed", "under_review", "queued", "processing"}

    def test_a_list(self, connect: Connect) -> None:
        client = connect()
        people = [{"email": KNOWN, "name": "Ada, L."}, {"email": UNKNOWN, "name": "Bob"}]
        people.append({"email": MALFORMED, "name": "Cy"})
        job_id = client.jobs_create(people, filename="people.csv", auto_parse=True)["job_id"]
        assert client.jobs_status(job_id)["job_status"] == "waiting"
        with pytest.raises(neverbounce_sdk.GeneralException, match="not complete"):
            client.raw_results(job_id)
        with pytest.raises(neverbounce_sdk.GeneralException, match="not complete"):
            client.jobs_download(job_id, io.BytesIO())
        assert client.jobs_start(job_id)["queue_id"].startswith("NB-PQ-")
        status = wait_for(client, job_id)
        assert (status["total"]["valid"], status["total"]["invalid"]) == (1, 1)
        assert status["total"]["bad_syntax"] == 1
        # the iterator fetches pages until one has no results
        rows = list(client.jobs_results(job_id, items_per_page=2))
        assert [(row["data"], row["verification"]["result"]) for row in rows] == [
            (people[0], "valid"),
            (people[1], "invalid"),
            (people[2], "invalid"),
        ]
        file = io.BytesIO()
        client.jobs_download(
            job_id,
            file,
            segmentation=["valids", "invalids"],
            appends=["bad_syntax", "email_status"],
            yes_no_representation="lowercase",
            line_feed_type="windows",
        )
        assert file.getvalue().decode() == (
            "email,name,bad_syntax,email_status\r\n"
            f'"{KNOWN}","Ada, L.",no,valid\r\n'
            f'"{UNKNOWN}","Bob",no,invalid\r\n'
            f'"{MALFORMED}","Cy",yes,invalid\r\n'
        )
        found = list(client.jobs_search(job_id=job_id, job_status="complete", items_per_page=1))
        assert [(job["id"], job["filename"]) for job in found] == [(job_id, "people.csv")]
        assert client.jobs_delete(job_id)["status"] == "success"
        with pytest.raises(neverbounce_sdk.GeneralException, match="Invalid job ID"):
            client.jobs_status(job_id)

    def test_a_list_that_is_parsed_later(self, connect: Connect) -> None:
        client = connect()
        job_id = client.jobs_create([[KNOWN], [CATCH_ALL]])["job_id"]
        assert client.jobs_status(job_id)["job_status"] == "uploading"
        assert client.jobs_parse(job_id, auto_start=True)["status"] == "success"
        total = wait_for(client, job_id)["total"]
        assert (total["valid"], total["catchall"]) == (1, 1)

    def test_a_sample(self, connect: Connect) -> None:
        client = connect()
        people = [[KNOWN], *([f"nobody{n}@postfix.test"] for n in range(19))]
        job_id = client.jobs_create(people, auto_parse=True)["job_id"]
        client.jobs_start(job_id, run_sample=True)
        status = wait_for(client, job_id, "waiting_analyzed")
        assert (status["total"]["processed"], status["total"]["valid"]) == (2, 1)
        assert (status["bounce_estimate"], status["started_at"]) == (50.0, None)
        client.jobs_start(job_id)
        assert wait_for(client, job_id)["total"]["processed"] == 20

    def test_duplicates(self, connect: Connect) -> None:
        client = connect()
        job_id = client.jobs_create([[KNOWN], [UNKNOWN], [KNOWN]], auto_start=True)["job_id"]
        total = wait_for(client, job_id)["total"]
        assert (total["records"], total["billable"], total["duplicates"]) == (3, 2, 1)
        for wanted, count in ((["valids"], 1), (["valids", "include_duplicates"], 2)):
            file = io.BytesIO()
            client.jobs_download(job_id, file, segmentation=wanted)
            assert file.getvalue().count(KNOWN.encode()) == count

    def test_a_list_at_a_url(self, connect: Connect, list_url: str) -> None:
        client = connect()
        job_id = client.jobs_create(list_url, from_url=True, auto_start=True)["job_id"]
        assert wait_for(client, job_id)["total"]["valid"] == 1
        (row,) = client.jobs_results(job_id)
        assert row["data"] == {"id": "7", "email": KNOWN}
        gone = client.jobs_create(f"{list_url}/none", from_url=True, auto_start=True)["job_id"]
        status = client.jobs_status(gone)
        assert status["job_status"] == "failed"
        assert status["total"]["valid"] is None

    def test_errors(self, connect: Connect) -> None:
        stranger = connect(WRONG_KEY)
        with pytest.raises(neverbounce_sdk.AuthFailure, match="Invalid API key"):
            stranger.single_check(KNOWN)
        with pytest.raises(neverbounce_sdk.AuthFailure, match="Invalid API key"):
            stranger.account_info()
        with pytest.raises(neverbounce_sdk.AuthFailure, match="Invalid API key"):
            stranger.jobs_create([[KNOWN]])
        with pytest.raises(neverbounce_sdk.GeneralException, match="'email'") as refused:
            connect().single_check("")
        assert type(refused.value) is neverbounce_sdk.GeneralException

    def test_a_token_of_the_widget(self, connect: Connect) -> None:
        found = connect().poe_confirm(
            KNOWN, "NBTRNS-1", "e3173fdbbdce6bad26522dae792911f2", "valid"
        )
        assert (found["status"], found["token_confirmed"]) == ("success", False)


@pytest.fixture
def list_url(tmp_path: Path) -> Iterator[str]:
    """A list on a server of its own."""
    (tmp_path / "l.csv").write_text(f"id,email\n7,{KNOWN}\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/l.csv"
        server.shutdown()


def wait_for(
    client: neverbounce_sdk.NeverBounceAPIClient, job_id: int, state: str = "complete"
) -> dict[str, Any]:
    """The status of a job when it is complete, or in another state."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        status: dict[str, Any] = client.jobs_status(job_id)
        if status["job_status"] == state:
            return status
        assert status["job_status"] in ("queued", "running")
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def ask(served: Served, *arguments: str, **environment: str) -> dict[str, Any]:
    """The results that the Node client got."""
    key = served.keys["neverbounce"]
    done = subprocess.run(
        ["node", "--require", "./hosts.js", "ask_neverbounce.js", key, *arguments],
        cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check(answers: dict[str, Any]) -> None:
    words = {
        name: answers[name]["result"] for name in ("known", "unknown", "catchAll", "malformed")
    }
    assert words == {
        "known": "valid",
        "unknown": "invalid",
        "catchAll": "catchall",
        "malformed": "invalid",
    }
    assert answers["isValid"] is True
    assert answers["malformed"]["flags"] == ["bad_syntax"]
    assert answers["known"]["address_info"]["addr"] == "alice"
    assert answers["known"]["credits_info"]["paid_credits_remaining"] == 1_000_000_000
    assert answers["missing"]["type"] == "GeneralError"
    assert "Missing required parameter 'email'" in answers["missing"]["message"]
    assert answers["wrong"]["type"] == "AuthError"
    assert "Invalid API key" in answers["wrong"]["message"]
    assert answers["account"]["credits_info"]["paid_credits_remaining"] == 1_000_000_000
    jobs = answers["jobs"]
    job_id = jobs["created"]["job_id"]
    assert (jobs["status"]["id"], jobs["status"]["filename"]) == (job_id, "people.csv")
    assert (jobs["status"]["total"]["valid"], jobs["status"]["total"]["invalid"]) == (1, 1)
    assert [row["verification"]["result"] for row in jobs["results"]["results"]] == [
        "valid",
        "invalid",
    ]
    assert jobs["file"] == (
        f'id,email,email_status\n"3","{KNOWN}",valid\n"4","{UNKNOWN}",invalid\n'
    )
    assert [job["id"] for job in jobs["found"]["results"]] == [job_id]
    assert jobs["deleted"]["status"] == "success"
    assert "Invalid job ID" in jobs["gone"]["message"]


@pytest.mark.node
@pytest.mark.parametrize("version", ["v4.2", "v4.1", "v4", "neverbounce/v4.2"])
def test_node_by_address(served: Served, version: str) -> None:
    address = urlsplit(served.url)
    check(ask(served, str(address.hostname), str(address.port), version))


@pytest.mark.node
def test_node_by_host_name(tmp_path: Path) -> None:
    """Version 4, and version 5, which speaks HTTPS alone, and POST alone."""
    with serving_host_names(tmp_path, ADDRESS) as (served, environment):
        check(ask(served, **environment))
        for version in ("v4.2", "v4.1", "v4"):
            newer = {"VERIPLEX_CLIENT": "neverbounce5", "VERIPLEX_API_VERSION": version}
            check(ask(served, **environment, **newer))
