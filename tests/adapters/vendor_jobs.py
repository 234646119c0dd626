"""Vendor jobs as values, and a server of the dialect that answers their requests."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from adapters.contract.batch_rules import IdSource
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import Job, JobRow, JobRows, JobState
from adapters.contract.operations import (
    ReadRows,
    ReadRowsByToken,
    RowsOperation,
    ShowJobs,
    SubmitJob,
    VerifyMany,
)
from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.contract.wire import StreamReply, WireReply, WireRequest
from engine.address import syntax
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from engine.score import score
from tests.adapters.test_upstream_round_trip import wire
from tests.dialects import BY_NAME, endpoint_of

AT = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
CHECKS = Checks()
KEY = "the-key"
BASE_URL = "http://vendor.test"
D, U, R, K = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN
ADDRESSES = [
    syntax.parse_address(text) for text in ("ann+x@example.com", '"a,b"@example.org', "bad")
]
EMAILS = [address.raw for address in ADDRESSES]


def lists(name: str) -> VendorJobs:
    found = BY_NAME[name].vendor_jobs
    assert found is not None
    return found


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> UpstreamReply:
    """A reply with bytes or a text as its body, or anything else as JSON."""
    if isinstance(body, str):
        body = body.encode()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return UpstreamReply(status, headers or {}, raw, AT.timestamp())


def build_create(vendor: VendorJobs, addresses: Sequence[Address]) -> UpstreamRequest:
    return vendor.create.build(KEY, addresses, CHECKS)


def parse_create(vendor: VendorJobs, created: UpstreamReply) -> str | ResultPage | Fault:
    return vendor.create.parse(created, ADDRESSES, CHECKS)


def build_poll(vendor: VendorJobs, job_id: str) -> UpstreamRequest:
    return vendor.poll.build(KEY, JobQuery(job_id, CHECKS))


def parse_poll(vendor: VendorJobs, polled: UpstreamReply) -> ResultPage | Pending | Fault:
    return vendor.poll.parse(polled, JobQuery("7", CHECKS))


def build_page(vendor: VendorJobs, job_id: str, page: str) -> UpstreamRequest:
    return (vendor.page or vendor.poll).build(KEY, JobQuery(job_id, CHECKS, page))


def parse_page(
    vendor: VendorJobs, page: str, fetched: UpstreamReply
) -> ResultPage | Pending | Fault:
    return (vendor.page or vendor.poll).parse(fetched, JobQuery("7", CHECKS, page))


def rows_of(found: ResultPage | Pending | Fault) -> dict[str, UpstreamResult]:
    assert isinstance(found, ResultPage), found
    return dict(found.rows)


def kind_of(found: object) -> FaultKind:
    assert isinstance(found, Fault), found
    return found.kind


def answer(email: str, verdict: Verdict, reason: Reason, evidence: Evidence) -> Verification:
    points = score(verdict, reason, evidence)
    return Verification(syntax.parse_address(email), verdict, reason, points, evidence, CHECKS, AT)


# -- a server of the same dialect ----------------------------------------------------------


async def _no_rows() -> AsyncIterator[JobRow]:
    return
    yield


class Server:
    """The replies of the dialect's server to requests about one job."""

    def __init__(self, name: str, answers: Sequence[Verification]) -> None:
        self._dialect: Dialect = BY_NAME[name]
        self._answers = {v.address.raw: v for v in answers}
        self._rows: list[JobRow] = []
        self._job: Job | None = None

    def reply(
        self, request: UpstreamRequest, state: JobState = JobState.COMPLETED
    ) -> UpstreamReply:
        seen, endpoint = self._routed(request)
        if endpoint.needs_key:
            assert self._dialect.credential_for(endpoint).read(seen) == KEY
        op = endpoint.read(seen)
        if isinstance(op, VerifyMany):
            at_once = endpoint.write(op, tuple(self._answers[email] for email in op.emails))
            assert isinstance(at_once, WireReply)
            return UpstreamReply(at_once.status, {}, at_once.body, AT.timestamp())
        if isinstance(op, SubmitJob):
            self._take_in(op)
        assert self._job is not None
        job = replace(self._job, state=state)
        if not isinstance(op, SubmitJob):
            self._check_job(op)
        rows: Iterable[JobRow] = ()
        outcome: object = job
        if isinstance(op, ShowJobs):
            outcome = (job,)
        elif isinstance(op, ReadRows | ReadRowsByToken):
            rows = self._selected(op)
            outcome = JobRows(job, len(self._rows), _no_rows())
        written = endpoint.write(op, outcome)
        if isinstance(written, WireReply):
            return UpstreamReply(written.status, {}, written.body, AT.timestamp())
        assert isinstance(written, StreamReply)
        body = written.head + written.separator.join(map(written.render, rows)) + written.tail
        return UpstreamReply(written.status, {}, body, AT.timestamp())

    def _check_job(self, op: Any) -> None:
        """That the operation is on the one job that there is."""
        assert self._job is not None
        if isinstance(op, ReadRowsByToken):
            assert op.token == self._job.token
        else:
            job_id = op.job_ids[0] if isinstance(op, ShowJobs) else op.job_id
            assert job_id == self._job.id

    def _routed(self, request: UpstreamRequest) -> tuple[WireRequest, AnyEndpoint]:
        if request.link:
            path, _, query = request.link.removeprefix(BASE_URL).partition("?")
            request = UpstreamRequest(request.method, path, dict(parse_qsl(query)))
        for endpoint in self._dialect.endpoints:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", endpoint.path)
            found = re.fullmatch(pattern, request.path)
            if found and request.method in endpoint.methods:
                return replace(wire(request), path_params=found.groupdict()), endpoint
        raise AssertionError(request)

    def _take_in(self, op: SubmitJob) -> None:
        rules = self._dialect.batch_rules
        assert rules is not None
        assert op.start
        for entry in op.entries:
            v = self._answers[entry.email]
            self._rows.append(JobRow(entry.email, entry.cells, v, rules.row_word(v)))
        counts: dict[str, int] = {}
        for row in self._rows:
            for counter in (row.word, *rules.extra_counters(row.verification)):
                counts[counter] = counts.get(counter, 0) + 1
        self._job = Job(
            id=rules.new_id(IdSource(7, lambda bound: bound - 1)),
            state=JobState.COMPLETED,
            created_at=AT,
            started_at=AT,
            finished_at=AT,
            total=len(self._rows),
            row_count=len(self._rows),
            valid_count=sum(row.verification.address.valid for row in self._rows),
            done_count=len(self._rows),
            counts=counts,
            headers=op.headers,
            options=op.options,
            base_url=BASE_URL,
            token="0f" * 16,
            link_token="0f" * 16,
        )

    def _selected(self, op: RowsOperation) -> Sequence[JobRow]:
        rows = [row for row in self._rows if op.row_words is None or row.word in op.row_words]
        rows = rows[::-1] if op.reverse_order else rows
        return rows[op.offset :][: op.limit]


def verified(name: str, answers: Sequence[Verification]) -> dict[str, UpstreamResult]:
    """The results of a whole job."""
    vendor, server = lists(name), Server(name, answers)
    created = parse_create(vendor, server.reply(build_create(vendor, [v.address for v in answers])))
    if isinstance(created, ResultPage):
        return dict(created.rows)
    assert isinstance(created, str), created
    job_id = created
    page = parse_poll(vendor, server.reply(build_poll(vendor, job_id)))
    found: list[tuple[str, UpstreamResult]] = []
    while True:
        assert isinstance(page, ResultPage), page
        found += page.rows
        if not page.next_page:
            assert len(dict(found)) == len(found)
            return dict(found)
        answer = server.reply(build_page(vendor, job_id, page.next_page))
        page = parse_page(vendor, page.next_page, answer)


def single(name: str, v: Verification) -> UpstreamResult:
    """The result of the same verification as a single one."""
    dialect = BY_NAME[name]
    assert dialect.upstream is not None
    request = dialect.upstream.verify.build(KEY, UpstreamQuery(v.address))
    endpoint = endpoint_of(dialect, request)
    written = endpoint.write(endpoint.read(wire(request)), v)
    assert isinstance(written, WireReply)
    answer = UpstreamReply(written.status, {}, written.body, AT.timestamp())
    result = dialect.upstream.verify.parse(answer, UpstreamQuery(v.address))
    assert isinstance(result, UpstreamResult)
    return result
