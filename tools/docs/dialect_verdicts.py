"""The tables of what verdicts become in each dialect, there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamResult
from adapters.contract.wire import WireReply, WireRequest
from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
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
from engine.score import START_POINTS
from tools.docs.markdown import row, table_head

DNS_OF_REASON = {
    Reason.INVALID_DOMAIN: Dns.NXDOMAIN,
    Reason.DNS_ERROR: Dns.SERVFAIL,
    Reason.INVALID_EMAIL: Dns.NOT_CHECKED,
}


def verdicts() -> Iterator[str]:
    """The words of each dialect for our verdicts and reasons."""
    yield from table_head("ours", *map(_verdict_title, DIALECTS))
    for verdict, reason in START_POINTS:
        v = engine_verification(verdict, reason)
        yield row(f"{verdict}, `{reason}`", *_verdict_cells(v))
        for facts, words in VARIANTS.get(reason, {}).items():
            other = replace(v, evidence=replace(v.evidence, **dict(facts)))
            yield row(f"{verdict}, `{reason}`, {words}", *_verdict_cells(other))


VARIANTS: Mapping[Reason, Mapping[tuple[tuple[str, Any], ...], str]] = {
    Reason.ACCEPTED_EMAIL: {(("role", True),): "of a role address"},
    Reason.DISPOSABLE: {(("catch_all", True),): "of a domain that accepts everything"},
}
"""Facts that change a vendor's words where our verdict and reason stay the same."""


def _verdict_cells(v: Verification) -> Iterator[str]:
    return (", ".join(f"`{word}`" for word in verdict_words(d, v)) for d in DIALECTS)


def _verdict_title(dialect: Dialect) -> str:
    names = ", ".join(f"`{path.rpartition('.')[2]}`" for path in dialect.verdict_members)
    return f"{dialect.name}: {names}"


def _plain_verification(verdict: Verdict, reason: Reason) -> Verification:
    """With the least evidence that the reason implies."""
    dns = DNS_OF_REASON.get(reason, Dns.MX)
    return Verification(
        address=parse_address("a@example.com"),
        verdict=verdict,
        reason=reason,
        score=50,
        evidence=Evidence(dns=dns, mx=(MxHost("mx.example.com", 10),) if dns is Dns.MX else ()),
        checks=Checks(),
        verified_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def verdict_words(dialect: Dialect, v: Verification) -> Iterator[str]:
    body = orjson.loads(write(dialect, v).body)
    for path in dialect.verdict_members:
        value: Any = body
        for name in path.split("."):
            value = value[name]
        yield str(value) or '""'


def write(dialect: Dialect, v: Verification) -> WireReply:
    """The reply to a single verification, as the dialect's own client asks for it."""
    assert dialect.upstream is not None
    asked = dialect.upstream.verify.build("key", UpstreamQuery(v.address))
    request = WireRequest(
        asked.method, asked.path, urlencode(asked.query), dict(asked.headers), asked.body
    )
    endpoint = next(
        e for e in dialect.endpoints if e.path == asked.path and asked.method in e.methods
    )
    reply = endpoint.write(endpoint.read(request), v)
    assert isinstance(reply, WireReply)
    return reply


def collapses() -> Iterator[str]:
    """Verdicts of which a vendor's words make another verdict."""
    yield from table_head("vendor", "verdict", "turns into")
    for dialect in DIALECTS:
        for verdict in Verdict:
            back: dict[Verdict, list[Reason]] = {}
            for own, reason in START_POINTS:
                if own is verdict and (read := _read_back(dialect, verdict, reason)) is not verdict:
                    back.setdefault(read, []).append(reason)
            for read, reasons in back.items():
                words = ", ".join(f"`{reason}`" for reason in reasons)
                yield row(f"`{dialect.name}`", f"{verdict}: {words}", read)


def _read_back(dialect: Dialect, verdict: Verdict, reason: Reason) -> Verdict:
    assert dialect.upstream is not None
    v = engine_verification(verdict, reason)
    reply = UpstreamReply(200, {}, write(dialect, v).body, 0.0)
    found = dialect.upstream.verify.parse(reply, UpstreamQuery(v.address))
    assert isinstance(found, UpstreamResult)
    return found.verdict


MEANINGS = {
    Reason.CATCH_ALL: Meaning.ACCEPTED,
    Reason.DISPOSABLE: Meaning.ACCEPTED,
    Reason.MAILBOX_FULL: Meaning.MAILBOX_FULL,
}


def engine_verification(verdict: Verdict, reason: Reason) -> Verification:
    """As the engine gives it: with the evidence that belongs to the reason."""
    plain = _plain_verification(verdict, reason)
    meaning = MEANINGS.get(reason)
    evidence = Evidence(
        dns=plain.evidence.dns,
        mx=plain.evidence.mx,
        catch_all=True if reason is Reason.CATCH_ALL else None,
        disposable=reason is Reason.DISPOSABLE,
        mailbox_full=True if reason is Reason.MAILBOX_FULL else None,
        smtp=Smtp(meaning, Stage.RCPT, connected=True) if meaning else None,
    )
    return Verification(
        plain.address, verdict, reason, 50, evidence, plain.checks, plain.verified_at
    )


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "dialect-verdicts": verdicts,
    "dialect-collapses": collapses,
}
