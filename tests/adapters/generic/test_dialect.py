"""The generic dialect, as values; what a client sees is in `compat_fixtures/generic`."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.operations import (
    UNLIMITED,
    UNLIMITED_CREDITS,
    AccountInfo,
    Acknowledge,
    Plan,
    Rate,
    ShowAccount,
    Verify,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireReply, WireRequest
from adapters.generic import DIALECT, account, single
from adapters.generic.problems import write_problem
from adapters.generic.words import SCORES
from engine.address.syntax import parse_address
from engine.model import (
    Checks,
    Evidence,
    Meaning,
    MxHost,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)

WHEN = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)

RESULTS = {
    "ok": ("deliverable", "OK"),
    "risky": ("risky", "Risky"),
    "catch_all": ("risky", "Catch-All"),
    "invalid": ("undeliverable", "Invalid"),
    "unknown": ("unknown", "Unknown"),
}
"""Tier and label of each result."""


def verification(
    verdict: Verdict = Verdict.DELIVERABLE,
    reason: Reason = Reason.ACCEPTED_EMAIL,
    *,
    email: str = "john@example.com",
    score: int = 92,
    evidence: Evidence | None = None,
    verified_at: datetime = WHEN,
) -> Verification:
    return Verification(
        parse_address(email), verdict, reason, score, evidence or Evidence(), Checks(), verified_at
    )


def written(v: Verification) -> dict[str, Any]:
    return body(single.write_verify(Verify(email=v.address.raw), v))


def body(reply: WireReply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)
    return found


def request(value: object) -> WireRequest:
    return WireRequest("POST", "/api/v1/verify", body=json.dumps(value).encode())


@pytest.mark.parametrize(("verdict", "reason"), list(product(Verdict, Reason)))
def test_the_verdict_alone_decides_the_tier(verdict: Verdict, reason: Reason) -> None:
    for score in (0, 39, 40, 79, 80, 100):
        row = written(verification(verdict, reason, score=score))
        assert row["tier"] == row["quality"] == verdict.value
        assert RESULTS[row["result"]] == (row["tier"], row["tierLabel"])
        lowest, highest = SCORES[verdict]
        assert lowest <= row["score"] <= highest


@pytest.mark.parametrize(
    ("verdict", "reason", "result"),
    [
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, "ok"),
        (Verdict.RISKY, Reason.CATCH_ALL, "catch_all"),
        (Verdict.RISKY, Reason.DISPOSABLE, "risky"),
        (Verdict.RISKY, Reason.MAILBOX_FULL, "risky"),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, "invalid"),
        (Verdict.UNKNOWN, Reason.BLOCKED, "unknown"),
    ],
)
def test_results(verdict: Verdict, reason: Reason, result: str) -> None:
    assert written(verification(verdict, reason))["result"] == result


@pytest.mark.parametrize(
    ("verdict", "reason", "connected", "exists"),
    [
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, True, True),
        (Verdict.RISKY, Reason.CATCH_ALL, True, True),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, True, False),
        (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, False, False),
        (Verdict.UNKNOWN, Reason.TIMEOUT, False, False),
    ],
)
def test_a_result_without_an_smtp_dialogue_shows_what_its_reason_implies(
    verdict: Verdict, reason: Reason, connected: bool, exists: bool
) -> None:
    assert written(verification(verdict, reason))["smtp"] == {
        "connected": connected,
        "mailboxExists": exists,
        "responseCode": None,
        "latencyMs": None,
    }


def test_the_smtp_dialogue_outranks_the_reason() -> None:
    smtp = Smtp(Meaning.MAILBOX_FULL, Stage.RCPT, connected=True, code=452, latency_ms=12)
    row = written(verification(Verdict.RISKY, Reason.MAILBOX_FULL, evidence=Evidence(smtp=smtp)))
    assert row["smtp"] == {
        "connected": True,
        "mailboxExists": False,
        "responseCode": 452,
        "latencyMs": 12,
    }


@pytest.mark.parametrize(
    ("provider", "free", "shown"),
    [
        (None, False, None),
        ("google", False, "Google Workspace"),
        ("google", True, "Gmail"),
        ("microsoft", False, "Microsoft 365"),
        ("microsoft", True, "Outlook.com"),
        ("yahoo", True, "Yahoo"),
        ("trendmicro", False, "Trend Micro"),
        ("unlisted provider", True, "Unlisted Provider"),
    ],
)
def test_provider_names(provider: str | None, free: bool, shown: str | None) -> None:
    evidence = Evidence(provider=provider, free=free)
    assert written(verification(evidence=evidence))["provider"] == shown


def test_mx_hosts_keep_their_order_and_preference() -> None:
    evidence = Evidence(mx=(MxHost("a.example", 10), MxHost("b.example", 5)))
    assert written(verification(evidence=evidence))["mx"] == [
        {"exchange": "a.example", "priority": 10},
        {"exchange": "b.example", "priority": 5},
    ]


@pytest.mark.parametrize(
    "when",
    [WHEN, WHEN.astimezone(timezone(timedelta(hours=2)))],
)
def test_times_are_utc_with_milliseconds(when: datetime) -> None:
    assert written(verification(verified_at=when))["verifiedAt"] == "2026-05-15T10:30:00.000Z"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer a"}, "a"),
        ({"authorization": "bearer a"}, "a"),
        ({"x-api-key": "b"}, "b"),
        ({"x-api-key": " "}, None),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a"),
        ({"authorization": "Bearer ", "x-api-key": "b"}, "b"),
        ({"authorization": "Basic a", "x-api-key": "b"}, "b"),
    ],
)
def test_credentials(headers: dict[str, str], key: str | None) -> None:
    assert DIALECT.credential.read(WireRequest("POST", "/api/v1/verify", headers=headers)) == key


@pytest.mark.parametrize(
    ("value", "kind", "field"),
    [
        ({}, ProblemKind.MISSING, "email"),
        ({"email": None}, ProblemKind.MISSING, "email"),
        ({"email": " "}, ProblemKind.MISSING, "email"),
        ({"email": 5}, ProblemKind.INVALID, "email"),
        ({"email": ["a@b.c"]}, ProblemKind.INVALID, "email"),
        ({"email": "john"}, ProblemKind.INVALID, "email"),
        ({"email": "john@ "}, ProblemKind.INVALID, "email"),
        ({"email": "x" * 309 + "@example.com"}, ProblemKind.INVALID, "email"),
        ({"email": "a@b.c", "refresh": "soon"}, ProblemKind.INVALID, "refresh"),
        ({"email": "a@b.c", "refresh": 2}, ProblemKind.INVALID, "refresh"),
        ({"email": "a@b.c", "refresh": [True]}, ProblemKind.INVALID, "refresh"),
    ],
)
def test_bad_parameters(value: object, kind: ProblemKind, field: str) -> None:
    with pytest.raises(Problem) as caught:
        single.read_verify(request(value))
    assert (caught.value.kind, caught.value.field) == (kind, field)


@pytest.mark.parametrize(
    ("value", "email", "refresh"),
    [
        ({"email": " a@b.c "}, "a@b.c", False),
        ({"email": "a@b.c", "refresh": True, "more": 1}, "a@b.c", True),
        ({"email": "a@b.c", "refresh": "True"}, "a@b.c", True),
        ({"email": "a@b.c", "refresh": 1}, "a@b.c", True),
        ({"email": "a@b.c", "refresh": None}, "a@b.c", False),
        # malformed, but for the domain: a verdict
        ({"email": "@b.c"}, "@b.c", False),
        ({"email": "a b@b.c"}, "a b@b.c", False),
        ({"email": "x" * 308 + "@example.com"}, "x" * 308 + "@example.com", False),
    ],
)
def test_good_parameters(value: object, email: str, refresh: bool) -> None:
    op = single.read_verify(request(value))
    assert (op.email, op.refresh, op.refuse_malformed) == (email, refresh, False)


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_arbitrary_bodies_raise_only_what_is_declared(content: bytes) -> None:
    with contextlib.suppress(Problem, UnreadableRequest):
        single.read_verify(WireRequest("POST", "/api/v1/verify", body=content))


@pytest.mark.parametrize(
    ("plan", "used", "credits_left", "shown"),
    [
        # included, remaining, overage, overageRate, rateLimit
        ("free", 42, 58, (100, 58, 0, None, 10)),
        ("free", 100, 0, (100, 0, 0, None, 10)),
        ("starter", 5_100, None, (5_000, 0, 100, 0.008, 60)),
        ("pro", 0, None, (25_000, 25_000, 0, 0.005, 300)),
        ("enterprise", 1, None, (100_000, 99_999, 0, 0.003, 1_000)),
    ],
)
def test_account(
    plan: str, used: int, credits_left: int | None, shown: tuple[float | None, ...]
) -> None:
    found = next(p for p in DIALECT.plans if p.name == plan)
    row = account_row(found, used, credits_left)
    names = ("included", "remaining", "overage", "overageRate", "rateLimit")
    assert tuple(row[name] for name in names) == shown
    assert (row["plan"], row["planName"], row["used"]) == (plan, plan.title(), used)


def test_an_unlimited_account_shows_large_numbers() -> None:
    row = account_row(UNLIMITED, 42, None)
    assert row["included"] == UNLIMITED_CREDITS
    assert row["remaining"] == UNLIMITED_CREDITS - 42
    assert row["rateLimit"] == UNLIMITED_CREDITS


def test_prepaid_credits_are_the_remaining_ones() -> None:
    row = account_row(UNLIMITED, 42, 5)
    assert (row["included"], row["remaining"], row["overage"]) == (47, 5, 0)


def test_another_vendors_rate_is_shown_per_minute() -> None:
    assert account_row(Plan("x", "X", rates={"verify": Rate(25, 1)}), 0, None)["rateLimit"] == 1_500


def account_row(plan: Plan, used: int, credits_left: int | None) -> dict[str, Any]:
    shown = AccountInfo("john@smith.com", plan, "2026-05", used, credits_left)
    return body(account.write_account(ShowAccount(), shown))


def test_only_the_free_plan_is_capped() -> None:
    assert [plan.name for plan in DIALECT.plans if plan.hard_cap] == ["free"]


def test_plans_are_public_and_uncounted() -> None:
    (endpoint,) = (e for e in DIALECT.endpoints if e.name == "plans")
    assert not endpoint.needs_key
    assert endpoint.bucket is None
    rows = body(account.write_plans(Acknowledge(), None))["plans"]
    assert [row["price"] for row in rows] == [0, 29, 99, 299]


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_every_problem_has_a_code_and_a_message(kind: ProblemKind) -> None:
    problem = Problem(kind, used=100, limit=100, retry_after_s=7)
    reply = write_problem(WireRequest("GET", "/"), problem, None)
    assert reply.status >= 400
    row = body(reply)
    assert list(row)[:2] == ["error", "message"]
    assert row["error"]
    assert row["message"]
    assert "{" not in row["message"]
