"""Outcomes over the API, and the report that joins them with what was said before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from engine.address.syntax import parse_address
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.app import Services, open_services
from gateway.outcomes.answers import SourceAnswer, SourceAnswers
from gateway.outcomes.reading import MAX_REFUSED_SHOWN, UnreadableOutcomes, read_outcomes
from gateway.outcomes.recorder import AnswerRecorder
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.report import make_report
from gateway.outcomes.terms import MailOutcome, Outcome
from gateway.settings import Settings
from gateway.store import Store, open_store
from gateway.store.tables import source_answers
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

NOW = 1_780_000_000.0
DAY = 86_400.0


def read(body: str, content_type: str = "application/json") -> Any:
    return read_outcomes(body.encode(), content_type, NOW)


@pytest.mark.parametrize(
    "body",
    [
        '\ufeff{"email": "ada@example.com", "outcome": "hard_bounce", "at": 1777629600}',
        '{"email": "ada@example.com", "outcome": "hard_bounce", "at": "2026-05-01T10:00:00Z"}',
        '[{"email": "ada@example.com", "outcome": "hard_bounce", "at": 1777629600}]',
        '{"outcomes": [{"email": " ada@example.com", "outcome": "Hard_Bounce",'
        ' "at": "1777629600"}]}',
        '{"email": "ada@example.com", "outcome": "hard_bounce", "at": "2026-05-01T12:00:00+02:00"}'
        "\n\n",
    ],
)
def test_forms_of_json(body: str) -> None:
    (found,) = read(body).outcomes
    assert found == MailOutcome(
        parse_address("ada@example.com"), Outcome.HARD_BOUNCE, 1_777_629_600.0
    )


def test_csv() -> None:
    found = read(
        "Email,Outcome,Code,Text\n"
        "ada@example.com,hard_bounce,5.1.1,<ada@example.com> no such user\n"
        "eve@example.com,delivered,,\n",
        "text/csv; charset=utf-8",
    )
    first, second = found.outcomes
    assert (first.code, second.outcome, first.at) == ("5.1.1", Outcome.DELIVERED, NOW)
    assert "ada" not in first.text
    assert "no such user" in first.text


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("", "application/json", "no outcome"),
        ("[]", "application/json", "no outcome"),
        ('{"email": "a@b.co", "outcome": "delivered"}\nrubbish', "application/json", "Line 2"),
        ("email\na@b.co\n", "text/csv", "`outcome`"),
        ("name,outcome\nx,delivered\n", "text/csv", "`email`"),
    ],
)
def test_no_list_of_outcomes(body: str, content_type: str, words: str) -> None:
    with pytest.raises(UnreadableOutcomes, match=words):
        read(body, content_type)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("7", "object"),
        ('{"outcome": "delivered"}', "no `email`"),
        ('{"email": "nobody", "outcome": "delivered"}', "not an address"),
        ('{"email": "a@b.co", "outcome": "lost"}', "one of delivered"),
        ('{"email": "a@b.co"}', "one of delivered"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": "soon"}', "ISO 8601"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": 99999999999999999999}', "ISO 8601"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": "2126-01-01"}', "future"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": "0001-01-01T00:00+23:59"}', "1970"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": "1969-12-31T23:59:59Z"}', "1970"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": -62135683140}', "ISO 8601"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": -1}', "1970"),
        ('{"email": "a@b.co", "outcome": "delivered", "at": true}', "ISO 8601"),
        ('{"email": "a@b.co", "outcome": "delivered", "text": 7}', "texts"),
    ],
)
def test_no_row_is_lost_in_silence(row: str, why: str) -> None:
    found = read(f'[{row}, {{"email": "a@b.co", "outcome": "delivered"}}]')
    assert len(found.outcomes) == 1
    assert found.refused_count == 1
    assert found.refused[0][0] == 1
    assert why in found.refused[0][1]
    many = read(f"[{','.join([row] * 150)}]")
    assert (many.refused_count, len(many.refused)) == (150, MAX_REFUSED_SHOWN)


async def test_no_byte_breaks_the_database(store: Store) -> None:
    found = read(
        '[{"email": "a@b.co", "outcome": "hard_bounce", "code": "5\\u0000", "text": "\\u0000x"}]'
    )
    records = OutcomeRecords(store, SourceAnswers(store, b"secret"))
    await records.add(found.outcomes, "api")
    assert await records.counts() == {"hard_bounce": 1}


# -- the join ----------------------------------------------------------------------------


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


def emails(count: int) -> Iterator[Address]:
    return (parse_address(f"user{n}@example.com") for n in range(count))


async def tell(
    answers: SourceAnswers, source: str, address: Address, verdict: Verdict, at: float
) -> None:
    answer = SourceAnswer(verdict, Reason.ACCEPTED_EMAIL, 95, 12, 0, at)
    await answers.add_rows([answers.row(answers.digest(address), source, answer, "google")])


async def test_the_join(store: Store) -> None:
    answers = SourceAnswers(store, b"secret")
    records = OutcomeRecords(store, answers)
    first, second, third, fourth = emails(4)
    for address in (first, second, third):
        await tell(answers, "one", address, Verdict.DELIVERABLE, NOW - 2 * DAY)
    # said again before the bounce, and once more after it, which proves nothing
    await tell(answers, "one", second, Verdict.UNDELIVERABLE, NOW - DAY)
    await tell(answers, "one", third, Verdict.RISKY, NOW + DAY)
    await tell(answers, "other", third, Verdict.RISKY, NOW - DAY)
    known = await records.add(
        [
            MailOutcome(first, Outcome.DELIVERED, NOW),
            MailOutcome(first, Outcome.DELIVERED, NOW),  # told twice
            MailOutcome(second, Outcome.HARD_BOUNCE, NOW, "550", "no such user"),
            MailOutcome(third, Outcome.HARD_BOUNCE, NOW, "550", "no such user"),
            MailOutcome(third, Outcome.DELIVERED, NOW - 60),
            MailOutcome(fourth, Outcome.SOFT_BOUNCE, NOW),
        ],
        "api",
    )
    assert known == 3
    report = make_report(
        await records.counts(), await records.tallies(), await records.wrong_reasons(10)
    )
    assert report.outcomes == {"delivered": 2, "hard_bounce": 2, "soft_bounce": 1}
    overall = {
        (row.source, row.verdict): (row.bounced.hits, row.bounced.count)
        for row in report.verdicts
        if not row.provider
    }
    assert overall == {
        ("one", Verdict.DELIVERABLE): (1, 2),
        ("one", Verdict.UNDELIVERABLE): (1, 1),
        ("other", Verdict.RISKY): (1, 1),
    }
    assert [(w.source, w.code, w.text, w.count) for w in report.wrong] == [
        ("one", "550", "no such user", 1)
    ]
    await records.remove_older(NOW - 30)
    await answers.remove_older(NOW - 1.5 * DAY)
    assert (await records.counts())["delivered"] == 1
    assert await answers.newest("one", [answers.digest(first)], since=lambda _: 0.0) == {}


async def test_an_outcome_within_the_second_of_the_answer(store: Store) -> None:
    answers = SourceAnswers(store, b"secret")
    records = OutcomeRecords(store, answers)
    recorder = AnswerRecorder(answers, records, keep_s=DAY, clock=lambda: NOW + 0.6)
    (address,) = emails(1)
    recorder.record(await Knowing().verify(address))
    await recorder.write()
    await records.add([MailOutcome(address, Outcome.DELIVERED, NOW + 0.7)], "api")
    assert [(tally.count, tally.bounced) for tally in await records.tallies()] == [(1, 0)]


async def test_an_answer_that_is_stored_after_its_outcome(store: Store) -> None:
    """As where one process answered, and another was told the outcome a second later."""
    answers = SourceAnswers(store, b"secret")
    records = OutcomeRecords(store, answers)
    recorder = AnswerRecorder(answers, records, keep_s=DAY, clock=lambda: NOW)
    early, late = emails(2)
    for address in (early, late):
        recorder.record(await Knowing().verify(address))
    outcome = Outcome.HARD_BOUNCE
    await records.add(
        [MailOutcome(early, outcome, NOW - 1), MailOutcome(late, outcome, NOW)], "api"
    )
    await recorder.write()
    assert [(tally.count, tally.bounced) for tally in await records.tallies()] == [(1, 1)]


class Knowing(Local):
    """Finds that nobody whose name begins with `gone` has a mailbox."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        found = await super().verify(address, checks, deadline_s)
        verdict = Verdict.UNDELIVERABLE if address.local.startswith("gone") else Verdict.DELIVERABLE
        return Verification(
            address=address,
            verdict=verdict,
            reason=Reason.ACCEPTED_EMAIL,
            score=95,
            evidence=Evidence(provider="google"),
            checks=checks,
            verified_at=found.verified_at,
        )


async def open_server(keep_days: int) -> AsyncIterator[tuple[Services, httpx.AsyncClient, str]]:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "outcomes": {"keep_days": keep_days}}
    )
    async with open_services(settings, verifier=Knowing(), clock=lambda: NOW) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "emailable", label="app")).key
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://veriplex.test"
        ) as client:
            yield services, client, key


async def test_over_http() -> None:
    async for services, client, key in open_server(90):
        bearer = {"Authorization": f"Bearer {key}"}
        url = "/veriplex/v1/outcomes"
        for name in ("ada", "eve", "gone"):
            query = {"email": f"{name}@example.com"}
            await client.get("/veriplex/v1/verify", params=query, headers=bearer)
        assert services.outcomes is not None
        await services.outcomes.write()
        rows = [
            {"email": "ada@example.com", "outcome": "delivered", "at": NOW + 1},
            {"email": "eve@example.com", "outcome": "hard_bounce", "at": NOW + 1},
            {"email": "stranger@example.com", "outcome": "delivered", "at": NOW + 1},
            {"email": "eve@example.com"},
        ]
        reply = await client.post(url, json=rows, headers=bearer)
        assert reply.status_code == 200
        assert reply.json() == {
            "received": 4,
            "stored": 3,
            "known_addresses": 2,
            "refused": 1,
            "refused_rows": [
                {
                    "row": 4,
                    "why": "`outcome` is one of delivered, hard_bounce, soft_bounce, complaint,"
                    " unsubscribed",
                }
            ],
        }
        report = (await client.get("/veriplex/v1/sources/report", headers=bearer)).json()
        assert report["verdicts"][0]["source"] == "local"
        assert report["verdicts"][0]["bounced"]["hits"] == 1
        assert report["verdicts"][0]["bounced"]["count"] == 2
        assert report["wrong"][0]["count"] == 1

        reply = await client.post(url, json=[{}], headers=bearer)
        assert reply.status_code == 400
        assert reply.json()["detail"] == "No row is an outcome; row 1 has no `email`."
        reply = await client.post(url, content=b"rubbish", headers=bearer)
        assert (reply.status_code, reply.json()["detail"]) == (
            400,
            "Line 1 is not JSON. For CSV, send Content-Type: text/csv.",
        )
        assert (await client.post(url, json=rows)).status_code == 401


async def test_nothing_is_kept_unless_wanted() -> None:
    async for services, client, key in open_server(0):
        bearer = {"Authorization": f"Bearer {key}"}
        query = {"email": "ada@example.com"}
        await client.get("/veriplex/v1/verify", params=query, headers=bearer)
        row = {"email": "ada@example.com", "outcome": "delivered"}
        reply = await client.post("/veriplex/v1/outcomes", json=row, headers=bearer)
        assert reply.json()["stored"] == 0
        assert services.outcomes is not None
        assert await services.outcomes.records.counts() == {}


async def test_stored_times_compare_with_those_of_queries(store: Store) -> None:
    """On SQLite both are texts, which must have the same form."""
    answers = SourceAnswers(store, b"secret")
    (address,) = emails(1)
    at = float(int(NOW))
    await tell(answers, "one", address, Verdict.DELIVERABLE, at)
    moment = datetime.fromtimestamp(at, UTC)
    query = select(source_answers.c.at).where(source_answers.c.at == moment)
    (row,) = await store.fetch_all(query)
    assert row.at == moment
