"""What is Kickbox's alone; the rest is in its fixtures and in the tests of all dialects."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.upstream import (
    Fault,
    FaultKind,
    UpstreamQuery,
    UpstreamReply,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage
from adapters.contract.wire import WireRequest
from adapters.kickbox import DIALECT, batch
from adapters.kickbox.upstream import parse_verify
from adapters.kickbox.upstream_jobs import VENDOR_JOBS
from engine.address.syntax import parse_address
from engine.model import Checks, Reason, Verdict
from gateway.sandbox_app import open_sandbox
from gateway.web.dispatch import create_app
from tests.adapters.vendor_jobs import reply
from tests.gateway.batches.conftest import Bench, open_bench

URL = "https://hooks.example/kickbox?a=b"
LINK = "https://files.example/7.csv"


def upload(body: bytes, **headers: str) -> SubmitJob:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return batch.read_submit(WireRequest("PUT", "/v2/verify-batch", "", named, body))


def rows(op: SubmitJob) -> list[tuple[str, tuple[str, ...]]]:
    return [(entry.email, entry.cells) for entry in op.entries]


# -- lists -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"a@x.test\nb@x.test\n", ("email",), [("a@x.test", ()), ("b@x.test", ())]),
        (b"a@x.test\r\n\r\nb@x.test", ("email",), [("a@x.test", ()), ("b@x.test", ())]),
        (b"\xef\xbb\xbfE-Mail\na@x.test\n", ("E-Mail",), [("a@x.test", ())]),
        (
            b'"n","email"\n"A \\"B\\" C","a@x.test"\n',
            ("n", "email"),
            [("a@x.test", ('A "B" C', "a@x.test"))],
        ),
        (
            b'"A ""B"" C","a@x.test"\n"D","d@x.test"\n',
            ("col0", "email"),
            [("a@x.test", ('A "B" C', "a@x.test")), ("d@x.test", ("D", "d@x.test"))],
        ),
        # rows without an address are left out, shorter ones are filled up
        (b"email,n\na@x.test\n,b\n", ("email", "n"), [("a@x.test", ("a@x.test", ""))]),
    ],
)
def test_a_list_is_read(
    body: bytes, headers: tuple[str, ...], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    op = upload(body, content_type="text/csv")
    assert op.headers == headers
    assert rows(op) == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (URL, URL),
        ("", ""),
        ("not a url", ""),
        ("ftp://x.test/", ""),
        ("http://", ""),
        ("http://[", ""),
        ("https://x.test:0/", ""),
        ("https://x.test/" + "y" * 2_000, ""),
    ],
)
def test_a_callback_that_is_no_url_is_ignored(text: str, url: str) -> None:
    assert upload(b"a@x.test", x_kickbox_callback=text).webhook_url == url


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("list.csv", "list.csv"),
        ("M\u00fcller".encode().decode("latin-1"), "Müller"),
        ("M\u00fcller", "Müller"),
        ("x" * 300, "x" * 255),
        ("a\tb", "ab"),
    ],
)
def test_the_name_of_a_list(text: str, name: str) -> None:
    assert upload(b"a@x.test", x_kickbox_filename=text).name == name


def test_a_list_has_a_million_addresses_at_most() -> None:
    assert batch.MAX_ADDRESSES == 1_000_000
    entries = [BatchEntry(f"a{n}@x.test") for n in range(3)]
    assert len(list(batch.read_entries(iter(entries), most=3))) == 3
    with pytest.raises(Problem) as refused:
        list(batch.read_entries(iter(entries), most=2))
    assert (refused.value.kind, refused.value.limit) == (ProblemKind.TOO_MANY, 2)


# -- callbacks ---------------------------------------------------------------------------


async def call_back(bench: Bench, *statuses: int) -> Bench:
    bench.replies[:] = [f"HTTP {status}" for status in statuses]
    op = upload(b"a@x.test\nb@x.test\n", x_kickbox_callback=URL, x_kickbox_filename="list.csv")
    await bench.jobs(await bench.caller("kickbox")).submit(op)
    await bench.batch_services.drain()
    return bench


async def test_the_callback_has_the_members_of_the_page() -> None:
    async with open_bench("sqlite:///:memory:") as bench:
        ((url, body),) = (await call_back(bench)).posts
        shown = json.loads(body)
        assert url == URL
        assert list(shown) == [
            *("id", "name", "download_url", "stats", "created_at", "status", "error", "duration")
        ]
        assert (shown["name"], shown["status"], shown["error"]) == ("list.csv", "completed", None)
        assert shown["stats"] == {
            **{"deliverable": 2, "undeliverable": 0, "risky": 0, "unknown": 0},
            **{"sendex": 1, "addresses": 2},
        }
        assert isinstance(shown["id"], int)
        assert shown["download_url"].startswith("http://veriplex.test/kickbox/v2/verify-batch/")


async def test_any_2xx_accepts_a_callback() -> None:
    async with open_bench("sqlite:///:memory:") as bench:
        await call_back(bench, 500, 302, 204)
        for posted in (1, 2, 3, 3):
            assert len(bench.posts) == posted
            await bench.wait(900)


async def test_the_callback_of_the_sandbox_has_a_link_that_works() -> None:
    async with open_sandbox("veriplex", url="http://veriplex.test") as server:
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://veriplex.test"
        ) as client:
            headers = {"Authorization": f"token {DIALECT.sandbox_key}"}
            made = await client.put("/v2/verify-batch", content=b"a@x.test", headers=headers)
            (sent,) = server.sandbox.jobs.of_key(
                DIALECT, server.sandbox.keys.callers["kickbox", DIALECT.sandbox_key].sandbox_scope
            )
            status = await client.get(f"/v2/verify-batch/{made.json()['id']}", headers=headers)
            link = status.json()["download_url"]
            assert sent.token not in link, "with the secret one could make links that last"
            assert (await client.get(link)).text.splitlines()[1].startswith("a@x.test,deliverable")
            # in exactly this spelling, which clients compare
            names = {name for name, _ in status.headers.raw}
            assert {b"X-Kickbox-Balance", b"X-Kickbox-Response-Time"} <= names


# -- as an upstream ----------------------------------------------------------------------

BODY: dict[str, Any] = {
    "result": "risky", "reason": "low_deliverability", "role": False, "free": True,
    "disposable": False, "accept_all": True, "did_you_mean": None, "sendex": 0.7,
    "email": "a@x.test", "user": "a", "domain": "x.test", "success": True, "message": None,
}  # fmt: skip


def parsed(**members: Any) -> UpstreamResult | Fault:

    found = parse_verify(reply(200, BODY | members), UpstreamQuery(parse_address("a@x.test")))
    assert isinstance(found, UpstreamResult | Fault)
    return found


@pytest.mark.parametrize(
    ("members", "verdict", "reason", "score"),
    [
        ({}, Verdict.RISKY, Reason.CATCH_ALL, 70),
        ({"accept_all": False}, Verdict.RISKY, Reason.ACCEPTED_EMAIL, 70),
        ({"reason": "low_quality"}, Verdict.RISKY, Reason.LOW_QUALITY, 70),
        (
            {"reason": "low_quality", "disposable": True},
            Verdict.RISKY,
            Reason.DISPOSABLE,
            70,
        ),
        ({"reason": "new_word"}, Verdict.RISKY, Reason.LOW_QUALITY, 70),
        (
            {"result": "deliverable", "reason": "accepted_email", "sendex": 1.0},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
            100,
        ),
        (
            {"result": "deliverable", "reason": "rejected_email", "sendex": "1"},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
            100,
        ),
        (
            {"result": "unknown", "reason": "timeout_smtp", "sendex": 0},
            Verdict.UNKNOWN,
            Reason.UNEXPECTED_ERROR,
            None,
        ),
        ({"sendex": None}, Verdict.RISKY, Reason.CATCH_ALL, None),
        ({"sendex": "NaN"}, Verdict.RISKY, Reason.CATCH_ALL, None),
        ({"sendex": 7}, Verdict.RISKY, Reason.CATCH_ALL, 100),
        ({"result": "gone"}, Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR, None),
    ],
)
def test_a_result_is_read(
    members: dict[str, Any], verdict: Verdict, reason: Reason, score: int | None
) -> None:
    found = parsed(**members)
    assert isinstance(found, UpstreamResult)
    assert (found.verdict, found.reason, found.score) == (verdict, reason, score)


def test_an_unknown_word_is_kept() -> None:
    found = parsed(reason="new_word")
    assert isinstance(found, UpstreamResult)
    assert found.evidence.raw_word == "risky new_word"


def test_accept_all_is_known_where_it_was_checked() -> None:
    def catch_all(result: str, reason: str) -> bool | None:
        found = parsed(result=result, reason=reason, accept_all=False)
        assert isinstance(found, UpstreamResult)
        return found.evidence.catch_all

    assert catch_all("deliverable", "accepted_email") is False
    assert catch_all("undeliverable", "invalid_domain") is None
    assert catch_all("unknown", "timeout") is None


def test_a_result_without_success_is_a_fault() -> None:
    found = parsed(success=False, message="Balance Depleted")
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.NO_CREDITS


@pytest.mark.parametrize(
    ("status", "content_type", "kind"),
    [
        (403, "application/xml", None),
        (404, "", None),
        (410, "text/plain", None),
        (403, "text/html", FaultKind.BANNED),
        (429, "", FaultKind.TOO_FAST),
        (503, "", FaultKind.SERVER_ERROR),
        (200, "text/html", FaultKind.GARBAGE),
    ],
)
def test_the_status_is_asked_for_a_new_link_when_one_has_expired(
    status: int, content_type: str, kind: FaultKind | None
) -> None:
    assert VENDOR_JOBS.page is not None
    answer = UpstreamReply(status, {"content-type": content_type}, b"<Error/>", 0.0)
    found = VENDOR_JOBS.page.parse(answer, JobQuery("7", Checks(), LINK))
    assert (found.kind if isinstance(found, Fault) else None) == kind
    assert not isinstance(found, ResultPage)


def test_a_file_is_read_by_the_names_of_its_columns() -> None:
    assert VENDOR_JOBS.page is not None
    file = "\ufeffSendex,RESULT,Email,Reason\r\n0.7,risky,a@x.test,low_quality\r\n,,b@x.test,\r\n"
    found = VENDOR_JOBS.page.parse(reply(200, file), JobQuery("7", Checks(), LINK))
    assert isinstance(found, ResultPage)
    ((email, result),) = found.rows
    assert (email, result.verdict, result.score) == ("a@x.test", Verdict.RISKY, 70)
