"""A dialect's upstream client reads what the dialect's server writes."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from urllib.parse import urlencode

import pytest

from adapters.contract.dialect import Dialect
from adapters.contract.operations import Verify
from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamRequest, UpstreamResult
from adapters.contract.wire import WireReply, WireRequest
from engine.address import syntax
from engine.model import (
    Checks,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from engine.score import score
from tests.dialects import BY_NAME, FACTS, NAMES, endpoint_of

AT = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
ADDRESS = syntax.parse_address("ann+x@example.com")
MX = (MxHost("mx1.example.com", 0), MxHost("mx2.example.com", 10))

EVIDENCES = (
    Evidence(),
    Evidence(dns=Dns.MX, mx=MX, catch_all=False),
    Evidence(dns=Dns.MX, mx=MX, catch_all=True, free=True, provider="google"),
    Evidence(dns=Dns.MX, mx=MX, disposable=True, role=True),
    Evidence(dns=Dns.MX, mx=MX, mailbox_full=True, no_reply=True, spf=True, dmarc=True),
    Evidence(
        dns=Dns.MX,
        mx=MX,
        smtp=Smtp(Meaning.ACCEPTED, Stage.RCPT, connected=True, code=250, latency_ms=12),
    ),
    Evidence(
        dns=Dns.MX,
        mx=MX,
        smtp=Smtp(Meaning.GREYLISTED, Stage.RCPT, connected=True, code=451, latency_ms=12),
    ),
)

HONEST: dict[Verdict, tuple[Reason, ...]] = {
    Verdict.DELIVERABLE: (Reason.ACCEPTED_EMAIL,),
    Verdict.UNDELIVERABLE: (
        Reason.REJECTED_EMAIL,
        Reason.INVALID_DOMAIN,
    ),
    Verdict.RISKY: (Reason.CATCH_ALL, Reason.MAILBOX_FULL, Reason.LOW_QUALITY, Reason.DISPOSABLE),
    Verdict.UNKNOWN: (
        Reason.DNS_ERROR,
        Reason.NO_CONNECT,
        Reason.TIMEOUT,
        Reason.UNAVAILABLE_SMTP,
        Reason.INVALID_SMTP,
        Reason.GREYLISTED,
        Reason.BLOCKED,
        Reason.NOT_CHECKED,
        Reason.UNEXPECTED_ERROR,
    ),
}
"""The verdicts and reasons that the engine gives a well-formed address."""


def verification(verdict: Verdict, reason: Reason, evidence: Evidence) -> Verification:
    if verdict is Verdict.DELIVERABLE or reason in (Reason.MAILBOX_FULL, Reason.LOW_QUALITY):
        # the engine has reasons of their own for a catch-all and a disposable domain
        evidence = replace(evidence, catch_all=evidence.catch_all and None, disposable=False)
    if reason is Reason.DISPOSABLE:
        evidence = replace(evidence, disposable=True)
    if reason is Reason.MAILBOX_FULL:
        evidence = replace(evidence, mailbox_full=True)
    if reason is Reason.CATCH_ALL:
        evidence = replace(evidence, catch_all=True)
    if reason is Reason.INVALID_DOMAIN:
        evidence = replace(evidence, dns=Dns.NXDOMAIN, mx=(), smtp=None)
    points = score(verdict, reason, evidence)
    return Verification(ADDRESS, verdict, reason, points, evidence, Checks(), AT)


def wire(request: UpstreamRequest) -> WireRequest:
    """The request as the dialect's server gets it."""
    return WireRequest(
        method=request.method,
        path=request.path,
        query_string=urlencode(request.query),
        headers=dict(request.headers),
        body=request.body,
    )


def read_operation(dialect: Dialect, query: UpstreamQuery) -> Verify:
    """The operation that the dialect's server reads from the client's request."""
    assert dialect.upstream is not None
    request = dialect.upstream.verify.build("the-key", query)
    seen = wire(request)
    endpoint = endpoint_of(dialect, request)
    assert dialect.credential_for(endpoint).read(seen) == "the-key"
    op = endpoint.read(seen)
    assert isinstance(op, Verify)
    return op


def written(dialect: Dialect, v: Verification) -> UpstreamReply:
    """The reply of the dialect's server to its client."""
    assert dialect.upstream is not None
    request = dialect.upstream.verify.build("the-key", UpstreamQuery(v.address))
    endpoint = endpoint_of(dialect, request)
    reply = endpoint.write(endpoint.read(wire(request)), v)
    assert isinstance(reply, WireReply)
    return UpstreamReply(reply.status, {}, reply.body, AT.timestamp())


def read(dialect: Dialect, reply: UpstreamReply) -> Verification:
    assert dialect.upstream is not None
    result = dialect.upstream.verify.parse(reply, UpstreamQuery(ADDRESS))
    assert isinstance(result, UpstreamResult), result
    points = (
        score(result.verdict, result.reason, result.evidence)
        if result.score is None
        else result.score
    )
    return Verification(
        ADDRESS,
        result.verdict,
        result.reason,
        points,
        result.evidence,
        Checks(),
        result.verified_at or AT,
    )


CASES = [
    (verdict, reason, evidence)
    for verdict, reasons in HONEST.items()
    for reason, evidence in product(reasons, EVIDENCES)
]


@pytest.mark.parametrize("name", NAMES)
def test_the_server_reads_the_query_from_the_request(name: str) -> None:
    query = UpstreamQuery(ADDRESS, Checks(), refresh=True, wait_s=60)
    op = read_operation(BY_NAME[name], query)
    assert op.email == ADDRESS.raw
    # The policies are the dialect's own wish: no vendor's client names them.
    assert replace(op.checks, policies=False) == query.checks
    assert op.refresh is FACTS[name].asks_for_fresh_results


@pytest.mark.parametrize("name", NAMES)
def test_every_verdict_and_reason_makes_the_same_reply_again(name: str) -> None:
    """Written again, the result that was read makes the same reply."""
    dialect = BY_NAME[name]
    for verdict, reason, evidence in CASES:
        first = written(dialect, verification(verdict, reason, evidence))
        again = written(dialect, read(dialect, first))
        assert again.json == first.json, (verdict, reason, evidence)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_becomes_deliverable_on_the_way(name: str) -> None:
    """For all pairs of verdict and reason, also those that the engine never gives."""
    dialect = BY_NAME[name]
    for verdict, reason, evidence in product(Verdict, Reason, EVIDENCES):
        there = verification(verdict, reason, evidence)
        back = read(dialect, written(dialect, there))
        assert (back.verdict is Verdict.DELIVERABLE) <= (verdict is Verdict.DELIVERABLE)


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_read_back(name: str) -> None:
    dialect = BY_NAME[name]
    for verdict, reasons in HONEST.items():
        for reason, evidence in product(reasons, EVIDENCES):
            v = verification(verdict, reason, evidence)
            wanted = FACTS[name].verdict_back(verdict, reason, v)
            assert read(dialect, written(dialect, v)).verdict is wanted, (verdict, reason, evidence)


@pytest.mark.parametrize(("front", "back"), list(product(NAMES, NAMES)))
def test_a_verdict_passes_through_any_two_dialects(front: str, back: str) -> None:
    """Through two dialects a verdict loses no more than through each of them."""
    for verdict, reasons in HONEST.items():
        for reason in reasons:
            v = verification(verdict, reason, Evidence(dns=Dns.MX, mx=MX))
            behind = read(BY_NAME[back], written(BY_NAME[back], v))
            seen = read(BY_NAME[front], written(BY_NAME[front], behind))
            through = FACTS[back].verdict_back(verdict, reason)
            assert behind.verdict is through
            assert seen.verdict is FACTS[front].verdict_back(through, behind.reason)
            assert (seen.verdict is Verdict.DELIVERABLE) <= (verdict is Verdict.DELIVERABLE)
