"""Operations that no vendor's dialect uses yet, through the whole app in the toy dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import (
    ReadRows,
    ShowAccount,
    SubmitJob,
    Verify,
    VerifyMany,
    WithAccount,
)
from adapters.contract.problems import ProblemKind
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from engine.verification import unknown_verification
from gateway.accounts.caller import Caller
from gateway.app import Services, open_services
from gateway.errors import NoAnswer
from gateway.sandbox.samples import Samples
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import ALL
from tests.fakes import toy

MANY = "/toy/v9/validatebatch"


class Scripted:
    """A verifier that answers by the local part: `silent` never, `nobody` with no source."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        self.asked.append(address.raw)
        if address.local.startswith("silent"):
            await asyncio.Event().wait()
        if address.local.startswith("nobody"):
            raise NoAnswer(ProblemKind.UNAVAILABLE)
        if address.local == "timeout":
            return unknown_verification(
                address,
                checks,
                verified_at=datetime(2026, 1, 1, tzinfo=UTC),
                source="local",
                reason=Reason.TIMEOUT,
            )
        if address.local == "bug":
            raise RuntimeError("a bug, on purpose")
        return Verification(
            address=address,
            verdict=Verdict.DELIVERABLE,
            reason=Reason.ACCEPTED_EMAIL,
            score=100,
            evidence=Evidence(),
            checks=checks,
            verified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


class Bench:
    """The app, a client, and a live key of the toy dialect with some credits."""

    def __init__(
        self, services: Services, client: httpx.AsyncClient, key: str, verifier: Scripted
    ) -> None:
        self.services = services
        self.client = client
        self.key = key
        self.verifier = verifier

    async def many(self, *locals_: str, key: str = "") -> httpx.Response:
        rows = [{"email_address": f"{local}@example.org"} for local in locals_]
        body = {"api_key": key or self.key, "email_batch": rows}
        return await self.client.post(MANY, json=body)

    async def credits(self) -> int:
        reply = await self.client.get("/toy/v9/getcredits", params={"api_key": self.key})
        return int(reply.json()["Credits"])

    async def caller(self) -> Caller:
        caller = await self.services.accounts.authenticate("toy", self.key)
        assert caller is not None
        return caller


@asynccontextmanager
async def opened(credits: int = 100, **settings: Any) -> AsyncIterator[Bench]:
    tree = {
        "storage": {"url": "sqlite:///:memory:"},
        "sandbox": {"published": True},
        **settings,
    }
    verifier = Scripted()
    async with open_services(
        Settings.model_validate(tree), verifier=verifier, dialects=ALL, run_workers=False
    ) as services:
        account = await services.accounts.create_account(credits=credits)
        key = (await services.accounts.create_key(account, "toy")).key
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            yield Bench(services, client, key, verifier)


async def test_many_addresses_are_verified_in_one_request_and_charged_each() -> None:
    async with opened() as bench:
        reply = await bench.many("ada", "grace", "ada")
        assert reply.status_code == 200
        rows = reply.json()["email_batch"]
        assert [row["address"] for row in rows] == [
            "ada@example.org",
            "grace@example.org",
            "ada@example.org",
        ]
        assert {row["status"] for row in rows} == {"valid"}
        assert sorted(bench.verifier.asked) == ["ada@example.org", "grace@example.org"]
        assert await bench.credits() == 97
        assert reply.headers["x-veriplex-source"] == "local"


async def test_addresses_without_an_answer_are_unknown_and_refunded() -> None:
    async with opened() as bench:
        reply = await bench.many("ada", "nobody", "grace")
        assert [row["status"] for row in reply.json()["email_batch"]] == [
            "valid",
            "unknown",
            "valid",
        ]
        assert await bench.credits() == 98
        assert reply.headers["x-veriplex-source"] == "several"


async def test_if_no_source_answers_at_all_the_request_fails_and_is_refunded() -> None:
    async with opened() as bench:
        reply = await bench.many("nobody1", "nobody2")
        assert (reply.status_code, reply.json()) == (503, {"error": "Not available"})
        assert await bench.credits() == 100


async def test_a_bug_fails_the_request_and_is_refunded(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as bench:
        reply = await bench.many("ada", "bug")
        assert reply.status_code == 500
        assert await bench.credits() == 100
    assert "a bug, on purpose" in caplog.text


async def test_too_few_credits_verify_nothing() -> None:
    async with opened(credits=2) as bench:
        reply = await bench.many("ada", "grace", "joan")
        assert (reply.status_code, reply.json()) == (200, {"error": toy.KEY_OR_CREDITS})
        assert bench.verifier.asked == []
        assert await bench.credits() == 2


async def test_an_address_that_takes_too_long_is_unknown() -> None:
    async with opened() as bench:
        op = VerifyMany(emails=("ada@example.org", "silent@example.org"), wait_s=0.05)
        result = await bench.services.service.run(toy.DIALECT, await bench.caller(), op)
        done, late = result.outcome
        assert (done.verdict, late.verdict, late.reason) == (
            Verdict.DELIVERABLE,
            Verdict.UNKNOWN,
            Reason.TIMEOUT,
        )
        assert await bench.credits() == 99


async def test_a_test_key_gets_samples() -> None:
    async with opened() as bench:
        reply = await bench.many("ada", "grace", key=toy.DIALECT.sandbox_key)
        assert len(reply.json()["email_batch"]) == 2
        assert reply.headers["x-veriplex-source"] == "sandbox"
        assert bench.verifier.asked == []
        simulated = await bench.many("ada", "b+simulate-429", key=toy.DIALECT.sandbox_key)
        assert simulated.status_code == 429


async def test_another_outcome_with_the_account_after_it() -> None:
    async with opened() as bench:
        op = WithAccount(operation=Verify(email="ada@example.org"))
        service = bench.services.service
        result = await service.run(toy.DIALECT, await bench.caller(), op)
        verification, account = result.outcome
        assert verification.address.raw == "ada@example.org"
        assert account.credits == 99
        assert result.source == "local"
        alone = await service.run(toy.DIALECT, await bench.caller(), ShowAccount())
        assert replace(alone.outcome, at=account.at) == account


async def test_headers_about_the_account_are_in_every_reply_to_its_key() -> None:
    async with opened() as bench:
        params = {"api_key": bench.key, "email": "ada@example.org"}
        good = await bench.client.get("/toy/v9/validate", params=params)
        bad = await bench.client.get("/toy/v9/validate", params={"api_key": bench.key})
        stranger = await bench.client.get("/toy/v9/validate", params={"api_key": "x"})
        assert (good.status_code, bad.status_code) == (200, 400)
        assert (good.headers["x-toy-balance"], bad.headers["x-toy-balance"]) == ("99", "99")
        assert "x-toy-balance" not in stranger.headers
        # in exactly this spelling, which clients compare
        assert b"X-Toy-Balance" in [name for name, _ in good.headers.raw]


async def test_an_option_changes_the_dialect() -> None:
    shielded = toy.configure(toy.DIALECT, toy.Options(key_error="shield"))
    async with open_services(
        Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}}),
        verifier=Scripted(),
        dialects=(shielded,),
    ) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            reply = await client.get("/toy/v9/validate", params={"api_key": "x", "email": "a@b.c"})
        assert (reply.status_code, reply.text) == (403, "error code: 1020")


async def test_a_vendors_own_test_addresses_are_answered_with_a_test_key() -> None:
    async with opened() as bench:
        params = {"api_key": toy.DIALECT.sandbox_key, "email": "disposable@toy.test"}
        known = await bench.client.get("/toy/v9/validate", params=params)
        params["email"] = "no_credits@toy.test"
        failed = await bench.client.get("/toy/v9/validate", params=params)
        assert (known.json()["status"], known.json()["sub_status"]) == ("do_not_mail", "disposable")
        assert failed.json() == {"error": toy.KEY_OR_CREDITS}
        assert bench.verifier.asked == []


def test_a_vendors_own_test_addresses_outrank_those_of_all_dialects() -> None:
    samples = Samples("veriplex")
    magic = "disposable@example.com"

    def draw(email: str, choose: Any = toy.choose_sample, **options: Any) -> Verification:
        return samples.draw("toy", email, Checks(), choose_sample=choose, **options)

    assert draw("disposable@toy.test").score == 7
    assert draw(magic).score != 7
    assert draw(magic, lambda _: toy.SAMPLES["disposable"]).score == 7
    assert draw("no_credits@toy.test").reason is Reason.UNEXPECTED_ERROR
    assert draw("disposable@toy.test", magic_addresses=False).score != 7
    assert draw("disposable", lambda _: toy.SAMPLES["disposable"]).reason is Reason.INVALID_EMAIL


async def test_a_vendors_test_addresses_are_free_with_a_live_key_too() -> None:
    async with opened() as bench:
        params = {"api_key": bench.key, "email": "disposable@toy.test"}
        single = await bench.client.get("/toy/v9/validate", params=params)
        assert (single.json()["sub_status"], single.headers["x-veriplex-source"]) == (
            "disposable",
            "sandbox",
        )
        refused = await bench.client.get(
            "/toy/v9/validate", params=params | {"email": "no_credits@toy.test"}
        )
        assert refused.json() == {"error": toy.KEY_OR_CREDITS}
        rows = [{"email_address": f"{name}@toy.test"} for name in ("disposable", "no_credits")]
        many = await bench.client.post(
            MANY, json={"api_key": bench.key, "email_batch": [*rows, {"email_address": "a@b.test"}]}
        )
        words = [row["sub_status"] or row["status"] for row in many.json()["email_batch"]]
        assert words == ["disposable", "mail_server_temporary_error", "valid"]
        assert bench.verifier.asked == ["a@b.test"]
        assert await bench.credits() == 99


async def test_a_vendors_test_addresses_are_answered_in_batches_of_live_keys() -> None:
    async with opened() as bench:
        caller = await bench.caller()
        jobs = bench.services.service.batches
        assert jobs is not None
        runner = jobs.jobs_of(toy.DIALECT, caller)
        entries = [BatchEntry("disposable@toy.test"), BatchEntry("a@b.test")]
        job = await runner.submit(SubmitJob(entries=entries))
        await bench.services.batch_services.drain()
        rows = await runner.read_rows(ReadRows(job_id=job.id))
        reasons = [row.verification.reason async for row in rows.rows]
        assert reasons == [Reason.DISPOSABLE, Reason.ACCEPTED_EMAIL]
        assert bench.verifier.asked == ["a@b.test"]


async def test_a_result_that_the_dialect_refunds_costs_nothing() -> None:
    async with opened() as bench:
        params = {"api_key": bench.key, "email": "timeout@example.org"}
        reply = await bench.client.get("/toy/v9/validate", params=params)
        assert reply.json()["sub_status"] == "timeout_exceeded"
        assert reply.headers["x-toy-balance"] == "100"
        await bench.many("timeout", "ada")
        assert await bench.credits() == 99


async def test_a_late_verification_can_be_unknown_instead_of_an_error() -> None:
    async with opened() as bench:
        op = Verify(email="silent@example.org", wait_s=0.01, unknown_if_late=True)
        service, caller = bench.services.service, await bench.caller()
        late = (await service.run(toy.DIALECT, caller, op)).outcome
        assert (late.verdict, late.reason) == (Verdict.UNKNOWN, Reason.TIMEOUT)
        assert await bench.credits() == 100
        test_caller = await bench.services.accounts.authenticate("toy", toy.DIALECT.sandbox_key)
        slow = replace(op, email="slow@example.com")
        sample = (await service.run(toy.DIALECT, test_caller, slow)).outcome
        assert (sample.verdict, sample.reason) == (Verdict.UNKNOWN, Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("text", "disposable"),
    [
        ("mailinator.com", True),
        ("ann@mailinator.com", True),
        ("MAILINATOR.com", True),
        ("ann@example.org", False),
        ("example.org", False),
        ("%20", False),
        ("@@", False),
        ("a" * 5_000, False),
    ],
)
async def test_whether_a_domain_is_disposable_needs_no_key(text: str, disposable: bool) -> None:
    async with opened() as bench:
        reply = await bench.client.get(f"/toy/v9/disposable/{text}")
        assert (reply.status_code, reply.content) == (
            200,
            b'{"disposable":true}' if disposable else b'{"disposable":false}',
        )
        assert "x-toy-balance" not in reply.headers


async def test_the_time_of_a_reply_is_in_a_header() -> None:
    async with opened() as bench:
        params = {"api_key": bench.key}
        for path in ("validate", "getcredits"):
            reply = await bench.client.get(f"/toy/v9/{path}", params=params)
            assert reply.headers["x-toy-milliseconds"].isdecimal()
        stranger = await bench.client.get("/toy/v9/getcredits", params={"api_key": "x"})
        assert "x-toy-milliseconds" not in stranger.headers


def test_a_dialect_has_a_sample_for_every_ordinary_address() -> None:
    samples = Samples("veriplex")
    default = toy.SAMPLES["disposable"]
    assert not isinstance(default, ProblemKind)

    def draw(email: str) -> Reason:
        return samples.draw("toy", email, Checks(), default_sample=default).reason

    assert {draw(f"u{n}@example.org") for n in range(50)} == {Reason.DISPOSABLE}
    assert draw("mailbox-full@example.com") is Reason.MAILBOX_FULL
    assert draw("malformed") is Reason.INVALID_EMAIL
