"""The vendor as a source: requests to it, and the meaning of its replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.upstream import (
    Call,
    Fault,
    Pending,
    Upstream,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.kit.eleven_reasons import parse_words
from adapters.kit.faults import fault_from_status
from adapters.kit.words import (
    bearer,
    bool_word,
    parse_bool,
    parse_integer,
    parse_mx_hosts,
    text_or_none,
)
from engine.model import Dns, Evidence, Gender, Person, Verdict

MIN_WAIT_S, MAX_WAIT_S = 2, 10
"""Of `timeout`; how long the vendor works before it answers 249."""
TRY_AGAIN_STATUS = 249


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        "/v1/verify",
        query={
            "email": query.address.raw,
            "smtp": bool_word(query.checks.smtp),
            "accept_all": bool_word(query.checks.catch_all),
            "timeout": str(int(min(max(query.wait_s, MIN_WAIT_S), MAX_WAIT_S))),
        },
        headers=bearer(key),
    )


def parse_verify(reply: UpstreamReply, query: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status == TRY_AGAIN_STATUS:
        return Pending()
    if reply.status != 200 or "state" not in body:
        return fault_from_status(reply, body.get("message"))
    return parse_result(body)


def parse_result(body: Mapping[str, Any]) -> UpstreamResult:
    """The result in an object with a `state`, of a reply or of a batch's row."""
    verdict, reason, raw_words = parse_words(str(body["state"]), str(body.get("reason")), body)
    score = parse_integer(body.get("score"))
    return UpstreamResult(
        verdict=verdict,
        reason=reason,
        evidence=_evidence(body, raw_words),
        # 0 is the score of every undeliverable and unknown address, and grades none of them
        score=score if score and score > 0 and verdict is not Verdict.UNKNOWN else None,
    )


def _evidence(body: Mapping[str, Any], raw_word: str | None) -> Evidence:
    mx = parse_mx_hosts(body.get("mx_record"))
    return Evidence(
        disposable=parse_bool(body.get("disposable")) is True,
        free=parse_bool(body.get("free")) is True,
        role=parse_bool(body.get("role")) is True,
        no_reply=parse_bool(body.get("no_reply")) is True,
        did_you_mean=text_or_none(body.get("did_you_mean")),
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        provider=text_or_none(body.get("smtp_provider")),
        catch_all=parse_bool(body.get("accept_all")),
        # false is also the value of a check that was not made
        mailbox_full=True if parse_bool(body.get("mailbox_full")) else None,
        person=_person(body),
        raw_word=raw_word,
    )


def _person(body: Mapping[str, Any]) -> Person | None:
    first, last = text_or_none(body.get("first_name")), text_or_none(body.get("last_name"))
    if first is None and last is None:
        return None
    word = str(body.get("gender"))
    return Person(first, last, Gender(word) if word in tuple(Gender) else None)


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v1/account", headers=bearer(key), is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    credits = parse_integer(body.get("available_credits"))
    if reply.status == 200 and credits is not None:
        return credits
    return fault_from_status(reply, body.get("message"))


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    always_reports=frozenset({"disposable", "free", "role", "no_reply", "did_you_mean", "person"}),
    balance=Call(build_balance, parse_balance),
    # the `timeout` of a request that has none, after which the vendor answers 249
    usual_answer_s=5.0,
)
