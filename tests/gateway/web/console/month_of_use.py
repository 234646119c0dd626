"""A database with the use of months, and how long each page of the console takes on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address.syntax import parse_address
from engine.model import Verdict
from gateway.app import Services
from gateway.observability.activity import LATENCY_BOUNDS_MS, Outcome, Subject
from gateway.observability.activity_log import KEPT_S
from gateway.store.tables import accounts, activity, batch_items, batch_results, batches
from gateway.verdicts.codec import encode_verification
from tests.gateway.batches.conftest import answer
from tests.gateway.web.console.console_client import Browser

UPSTREAMS = tuple(f"vendor-{number}" for number in range(5))
VERDICTS = tuple(verdict.value for verdict in Verdict)
NAMES: Mapping[Subject, tuple[str, ...]] = {
    Subject.DIALECT: tuple(f"dialect-{number}" for number in range(9)),
    Subject.OUTCOME: tuple(Outcome),
    Subject.VERDICT: VERDICTS,
    Subject.BATCH_VERDICT: VERDICTS,
    Subject.SOURCE: UPSTREAMS,
    Subject.CACHE: ("hit", "miss", "stored"),
    Subject.LATENCY: tuple(map(str, LATENCY_BOUNDS_MS)),
    Subject.ATTEMPT: tuple(f"{name} {word}" for name in UPSTREAMS for word in (*VERDICTS, "busy")),
    Subject.SPENT: UPSTREAMS,
}
"""What a server with five upstreams counts, all of it in each bucket."""
PIECE = 5_000
ACCOUNTS_PER_BATCH = 10

PAGES = (
    "", "?period=day", "?period=month", "/activity?period=month", "/sources", "/egress", "/keys",
    "/keys?q=owner-1", "/keys?page=2", "/keys/accounts/1", "/settings", "/batches",
    "/batches?page=9", "/batches?words=list+7", "/batches?state=running", "/batches/1",
    "/batches/1?word=unknown", "/batches/1?page=90", "/batches/1?word=unknown&page=40",
    "/batches/1/again",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Volume:
    """How much is in the database."""

    batches: int
    rows: int
    """Of the first batch."""
    activity_share: float = 1.0
    """Of the buckets that are stored."""


async def fill(services: Services, volume: Volume) -> None:
    """Write it. The requests are in the buckets of the overview, however many there were."""
    async with services.store.write() as connection:
        await _add_activity(services, connection, volume.activity_share)
        owners = [
            {"owner_email": f"owner-{number}@example.com", "status": "active", "plan": "unlimited"}
            | {"created_at": datetime.now(UTC)}
            for number in range(max(100, volume.batches // ACCOUNTS_PER_BATCH))
        ]
        await connection.execute(accounts.insert(), owners)
        made = [_batch(number, volume) for number in range(volume.batches)]
        await connection.execute(batches.insert(), made)
        await _add_rows(services, connection, volume.rows)


async def _add_activity(services: Services, connection: AsyncConnection, share: float) -> None:
    now = int(time.time())
    rows = [
        {"span": span, "start": start, "subject": subject, "name": name, "count": 9, "total": 9_999}
        for span, kept_s in KEPT_S.items()
        for start in range(now - now % span - int(kept_s * share), now + 1, span)
        for subject, names in NAMES.items()
        for name in names
    ]
    for first in range(0, len(rows), PIECE):
        await services.store.insert_rows(connection, activity, rows[first : first + PIECE])


def _batch(number: int, volume: Volume) -> dict[str, Any]:
    rows = 0 if number else volume.rows
    is_over = number % 500 < 499
    at = datetime.now(UTC) - timedelta(minutes=4 * (volume.batches - number))
    counts = {word: rows // len(VERDICTS) for word in VERDICTS}
    return {
        "public_id": f"{number:024x}",
        "dialect": "emailable",
        "account_id": 1 + number // ACCOUNTS_PER_BATCH,
        "key_id": 1,
        "key_label": f"key {number}",
        "state": "completed" if is_over else "running",
        "created_at": at,
        "started_at": at,
        "finished_at": at if is_over else None,
        "total": rows,
        "rows": rows,
        "valid": rows,
        "done": rows,
        "counts": orjson.dumps(counts).decode(),
        "start": True,
        "retries": True,
        "checks": "dns,smtp",
        "name": f"list {number}",
        "headers": "[]",
        "options": "{}",
        "webhook_url": "",
        "token": f"token-{number}",
        "charged_units": rows,
        "turn": number,
        "rows_gone": False,
    }


async def _add_rows(services: Services, connection: AsyncConnection, rows: int) -> None:
    answers = [
        (verdict.value, encode_verification(answer(parse_address("ada@example.com"), verdict)))
        for verdict in Verdict
    ]
    for first in range(0, rows, PIECE):
        items, results = [], []
        for position in range(first, first + PIECE):
            word, encoded = answers[position % len(answers)]
            key = {"batch_id": 1, "position": position}
            email = f"person-{position}@example.com"
            items.append(key | {"email": email, "cells": None, "duplicate_of": None})
            results.append(key | {"word": word, "answer": encoded})
        await services.store.insert_rows(connection, batch_items, items)
        await services.store.insert_rows(connection, batch_results, results)


async def time_pages(visitor: Browser, tries: int = 3) -> dict[str, float]:
    """Milliseconds of each page, the best of some tries; the visitor is logged in."""
    best = {}
    for path in PAGES:
        took = []
        for _ in range(tries):
            began = time.perf_counter()
            reply = await visitor.get(f"/console{path}")
            took.append((time.perf_counter() - began) * 1000)
            assert reply.status_code == 200, path
        best[path] = min(took)
    return best
