"""The Dataoorts dialect, as values; what a client sees is in `compat_fixtures/dataoorts`."""

import contextlib
import json
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.operations import GuessPerson, PersonGuess
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireReply, WireRequest
from adapters.dataoorts import DIALECT, single
from adapters.dataoorts.problems import write_problem
from adapters.dataoorts.words import CAUSES
from engine.address.syntax import parse_address
from engine.model import Checks, Evidence, MxHost, Person, Reason, Verdict, Verification

RAJAT = Person("Rajat", "Vishwakarma", accuracy=0.754)


def verification(
    verdict: Verdict = Verdict.DELIVERABLE,
    reason: Reason = Reason.ACCEPTED_EMAIL,
    *,
    email: str = "john@example.com",
    evidence: Evidence | None = None,
) -> Verification:
    when = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
    return Verification(
        parse_address(email), verdict, reason, 50, evidence or Evidence(), Checks(), when
    )


def written(v: Verification) -> dict[str, Any]:
    op = single.VerifyAndPredict(email=v.address.raw)
    info: dict[str, Any] = body(single.write_verify(op, v))["info"]
    return info


def body(reply: WireReply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)
    return found


def request(value: object) -> WireRequest:
    return WireRequest("POST", "/ai_mails_api/v1", body=json.dumps(value).encode())


@pytest.mark.parametrize(("verdict", "reason"), list(product(Verdict, Reason)))
def test_the_verdict_alone_decides_the_result(verdict: Verdict, reason: Reason) -> None:
    row = written(verification(verdict, reason))
    assert row["test_result"] == verdict.value
    cause = CAUSES[row["result_cause"]]
    assert (row["test_result"], row["test_score"]) == (cause.test_result, cause.base_score)


@pytest.mark.parametrize(
    ("verdict", "reason", "cause", "score", "isv"),
    [
        # isv: format, domain, mx, nocatchall
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, "accepted_email", 100, (1, 1, 1, 1)),
        (Verdict.UNKNOWN, Reason.NO_CONNECT, "no_connect", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.DNS_ERROR, "no_connect", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.NOT_CHECKED, "no_connect", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.TIMEOUT, "timeout", 40, (1, 1, None, 1)),
        (Verdict.RISKY, Reason.CATCH_ALL, "catch_all", 60, (1, 1, 1, 0)),
        (Verdict.RISKY, Reason.DISPOSABLE, "disposable", 40, (1, 1, 1, 1)),
        (Verdict.RISKY, Reason.LOW_QUALITY, "low_quality", 40, (1, 1, 1, 1)),
        (Verdict.RISKY, Reason.MAILBOX_FULL, "low_deliverability", 40, (1, 1, 1, 1)),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, "rejected_email", 0, (1, 1, 1, 1)),
        (Verdict.UNDELIVERABLE, Reason.INVALID_SMTP, "invalid_smtp", 0, (1, 1, 0, 1)),
        (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, "invalid_domain", 0, (1, 0, 0, 1)),
        (Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, "invalid_format", 0, (0, 0, 0, 1)),
        (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP, "unavailable_smtp", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.GREYLISTED, "unavailable_smtp", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.BLOCKED, "unavailable_smtp", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.INVALID_SMTP, "unavailable_smtp", 40, (1, 1, None, 1)),
        (Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR, "unexpected_error", 40, (1, 1, None, 1)),
    ],
)
def test_causes(
    verdict: Verdict, reason: Reason, cause: str, score: int, isv: tuple[int | None, ...]
) -> None:
    row = written(verification(verdict, reason))
    assert (row["result_cause"], row["test_score"]) == (cause, score)
    names = ("isv_format", "isv_domain", "isv_mx", "isv_nocatchall")
    assert tuple(row[name] for name in names) == isv


@pytest.mark.parametrize(
    ("verdict", "reason", "evidence", "score"),
    [
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Evidence(free=True), 100),
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Evidence(role=True), 90),
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Evidence(role=True, no_reply=True), 90),
        (Verdict.UNKNOWN, Reason.NO_CONNECT, Evidence(disposable=True), 10),
        (Verdict.UNKNOWN, Reason.NO_CONNECT, Evidence(disposable=True, role=True), 0),
        (Verdict.RISKY, Reason.DISPOSABLE, Evidence(disposable=True), 40),
        (Verdict.RISKY, Reason.DISPOSABLE, Evidence(disposable=True, role=True), 30),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, Evidence(role=True), 0),
    ],
)
def test_deductions(verdict: Verdict, reason: Reason, evidence: Evidence, score: int) -> None:
    assert written(verification(verdict, reason, evidence=evidence))["test_score"] == score


@pytest.mark.parametrize(
    ("verdict", "reason", "nocatchall"),
    [
        (Verdict.RISKY, Reason.CATCH_ALL, False),
        (Verdict.RISKY, Reason.DISPOSABLE, False),
        (Verdict.UNKNOWN, Reason.GREYLISTED, False),
        # the domain accepts every address but this one
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, True),
    ],
)
def test_a_proven_catch_all_shows_unless_it_refused_this_name(
    verdict: Verdict, reason: Reason, nocatchall: bool
) -> None:
    evidence = Evidence(catch_all=True)
    assert written(verification(verdict, reason, evidence=evidence))["isv_nocatchall"] is nocatchall


@pytest.mark.parametrize(
    ("evidence", "name", "value"),
    [
        (Evidence(), "mx_record", ""),
        (Evidence(mx=(MxHost("a.test", 5), MxHost("b.test", 9))), "mx_record", "a.test"),
        (Evidence(), "provider", None),
        (Evidence(provider="google", free=True), "provider", "gmail"),
        (Evidence(provider="google"), "provider", None),
        (Evidence(provider="microsoft", free=True), "provider", None),
        (Evidence(role=True), "isv_nogeneric", False),
        (Evidence(no_reply=True), "isv_nogeneric", False),
        (Evidence(), "isv_nogeneric", True),
        (Evidence(spamtrap=True), "isv_noblock", False),
        (Evidence(), "isv_noblock", True),
        (Evidence(avatar="https://a.test/1.png"), "email_avatar", "https://a.test/1.png"),
    ],
)
def test_facts(evidence: Evidence, name: str, value: object) -> None:
    assert written(verification(evidence=evidence))[name] == value


@pytest.mark.parametrize(
    ("person", "accuracy", "name"),
    [
        (RAJAT, 0.75, "Rajat Vishwakarma"),
        (Person(accuracy=0.9), 0.0, None),
        (None, 0.0, None),
    ],
)
def test_user_info(person: Person | None, accuracy: float, name: str | None) -> None:
    expected = {"accuracy": accuracy, "name": name, "username": "john+x"}
    v = verification(email="john+x@example.com", evidence=Evidence(person=person))
    op = single.VerifyAndPredict(email=v.address.raw, guess_person=True)
    assert body(single.write_verify(op, v))["user_info"] == expected
    guess = PersonGuess("john+x", person)
    op_guess = GuessPerson(email=v.address.raw)
    assert body(single.write_predict(op_guess, guess)) == {"user_info": expected}


def test_the_sample_of_a_prediction() -> None:
    guess = PersonGuess("rajat696viswwakarrma", Person("Rajat", "Vishwakarma", accuracy=0.81))
    reply = single.write_predict(GuessPerson(email="rajat696viswwakarrma@gmail.com"), guess)
    assert reply.body == (
        b'{"user_info":{"accuracy":0.81,"name":"Rajat Vishwakarma",'
        b'"username":"rajat696viswwakarrma"}}'
    )


def test_keys_are_sorted_at_every_level() -> None:
    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    v = verification(evidence=Evidence(person=RAJAT))
    op = single.VerifyAndPredict(email=v.address.raw, guess_person=True)
    json.loads(single.write_verify(op, v).body, object_pairs_hook=check)


@pytest.mark.parametrize(
    ("info", "predict"),
    [
        ({}, False),
        ({"info": "true"}, True),
        ({"info": "True"}, True),
        ({"info": " FALSE "}, False),
        ({"info": True}, True),
        ({"info": False}, False),
    ],
)
def test_info_is_a_boolean_or_its_text(info: dict[str, object], predict: bool) -> None:
    op = single.read_verify(request({"email": " john@example.com ", **info}))
    assert (op.email, op.guess_person, op.refuse_malformed) == ("john@example.com", predict, False)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"email": None},
        {"email": ""},
        {"email": 5},
        {"email": ["a@b.c"]},
        {"email": "a@b.c", "info": "yes"},
        {"email": "a@b.c", "info": ["true"]},
    ],
)
def test_bad_members(value: object) -> None:
    with pytest.raises(Problem) as caught:
        single.read_verify(request(value))
    assert caught.value.kind is ProblemKind.INVALID


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_arbitrary_bodies_raise_only_what_is_declared(content: bytes) -> None:
    for read in (single.read_verify, single.read_predict):
        with contextlib.suppress(Problem, UnreadableRequest):
            read(WireRequest("POST", "/ai_mails_api/v1", body=content))


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "Token k"}, None),
        ({"x-api-key": "k"}, None),
    ],
)
def test_only_a_bearer_token_is_a_credential(headers: dict[str, str], key: str | None) -> None:
    assert DIALECT.credential.read(WireRequest("POST", "/ai_mails_api/v1", headers=headers)) == key


def test_every_path_is_served_with_a_final_slash_too() -> None:
    ways = {(e.path, e.methods, e.name) for e in DIALECT.endpoints}
    assert {(path.removesuffix("/"), *rest) for path, *rest in ways} <= ways
    assert {(path.removesuffix("/") + "/", *rest) for path, *rest in ways} <= ways


def test_only_health_needs_no_key() -> None:
    for endpoint in DIALECT.endpoints:
        assert endpoint.needs_key is (endpoint.methods != ("GET",))


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_every_problem_is_one_sorted_object(kind: ProblemKind) -> None:
    reply = write_problem(WireRequest("GET", "/"), Problem(kind), None)
    assert reply.status >= 400
    (text,) = body(reply).values()
    assert text


def test_a_client_block_is_an_option() -> None:
    options = DIALECT.options
    assert options is not None
    assert options.apply(DIALECT, {}).client_block is None
    settings = {"block_enabled": True, "block_failures": 3, "block_window_s": 60.0}
    block = options.apply(DIALECT, settings).client_block
    assert block is not None
    assert (block.failures, block.window_s) == (3, 60)
    # unauthorised requests, and unknown batches
    assert block.counted == {
        ProblemKind.NO_CREDENTIAL,
        ProblemKind.BAD_CREDENTIAL,
        ProblemKind.JOB_MALFORMED,
        ProblemKind.JOB_UNKNOWN,
    }
