"""Every state that a vendor documents for a batch, at the vendor's endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from adapters.contract.dialect import Dialect
from gateway.sandbox.simulate import JOB_WORDS, PROBLEM_WORDS
from tests.gateway.sandbox.test_simulate import (
    DATAOORTS,
    EMAILABLE,
    GENERIC,
    VALIDTO,
    WHOISXML,
    call,
)

PROCESSING = "Your batch is being processed."
PAUSED = "Your batch is paused. Please contact support at <support@emailable.com>."
PENDING: dict[str, Any] = {"status": "processing"}


class Seen(NamedTuple):
    """The reply to one call: the status, and members of the body (or its number of rows)."""

    status: int
    shows: Any


class Look(NamedTuple):
    """One call that shows the state of a batch."""

    dialect: Dialect
    method: str
    path: str
    fields: dict[str, str]
    states: dict[str, Seen]
    """By word; `ID` stands for the batch's id in path and fields."""


SUBMIT: dict[str, tuple[str, str]] = {
    "emailable": ("/v1/batch", "id"),
    "validto": ("/v1/bulk", "job_id"),
    "whoisxml": ("/api/bevService/request", "id"),
    "generic": ("/api/v1/verify/bulk", "jobId"),
    "dataoorts": ("/ai_mails_api/bulk/v1", "id"),
}
"""The path where a batch is submitted, and the name of its id in the reply."""


def each(words: str, status: int, shows: Any) -> dict[str, Seen]:
    return dict.fromkeys(words.split(), Seen(status, shows))


def not_completed(status: str) -> dict[str, str]:
    return {"error": "job_not_completed", "status": status}


LOOKS = (
    Look(
        EMAILABLE, "GET", "/v1/batch", {"id": "ID"},
        each("preparing importing ready queued", 200,
             {"message": PROCESSING, "processed": 0, "total": 4})
        | each("running verifying failed cancelled", 200,
               {"message": PROCESSING, "processed": 2, "total": 4})
        | each("paused", 200, {"message": PAUSED, "processed": 2, "total": 4})
        | each("completed", 200, {"message": "Batch verification completed.", "emails": 4})
        | each("slow", 200, {"message": PROCESSING, "processed": 0}),
    ),
    Look(
        EMAILABLE, "GET", "/v1/batch", {"id": "ID", "partial": "true"},
        each("preparing importing ready queued slow", 200, {"message": PROCESSING, "emails": 0})
        | each("running verifying paused", 200, {"message": PROCESSING, "emails": 2})
        | each("completed", 200, {"message": "Batch verification completed.", "emails": 4}),
    ),
    Look(
        VALIDTO, "GET", "/v1/bulk/ID", {},
        each("preparing importing slow", 200,
             {"status": "preparing", "message": "Job is being prepared for verification"})
        | each("ready", 200, {"status": "ready", "total": 4})
        | each("queued", 200, {"status": "verifying", "verified": 0, "pending": 4})
        | each("running verifying paused", 200,
               {"status": "verifying", "verified": 2, "pending": 2})
        | each("completed", 200, {"status": "completed", "verified": 4, "pending": 0})
        | each("failed", 200, {"status": "failed", "total": 0, "success": True})
        | each("cancelled", 200, {"status": "cancelled", "message": "Job is cancelled"}),
    ),
    Look(
        VALIDTO, "POST", "/v1/download?jobId=ID", {},
        each("preparing importing slow", 400, {
            "result": "Job is being prepared for verification, please start verifying and then"
                      " download you result."})
        | each("ready", 400, {
            "result": "Job is ready for verification, please start verification and download"
                      " your results once list verified."})
        | each("queued running verifying paused", 400, {
            "result": "Job is being verified, please wait until it completes."})
        | each("failed cancelled", 400, {
            "result": "List cannot be downloaded, The uploaded list contains invalid data."})
        | each("completed", 200, 5),
    ),
    Look(
        VALIDTO, "PATCH", "/v1/bulk/ID", {},
        each("preparing importing slow", 400, {
            "result": "Job is not ready for verification, please call the /status endpoint and"
                      " start verification once the status of the job turns to ready."})
        | each("queued running verifying paused completed failed cancelled", 400,
               {"result": "Verification has already started."})
        | each("ready", 200, {"success": True}),
    ),
    Look(
        VALIDTO, "DELETE", "/v1/bulk/ID", {},
        each("preparing importing slow queued running verifying paused", 400,
             {"result": "List is being processed, and cannot be deleted."})
        | each("ready completed failed cancelled", 200, {"message": "List will be deleted"}),
    ),
    Look(
        WHOISXML, "POST", "/api/bevService/request/status", {"ids": "IDS"},
        each("preparing importing ready queued slow", 200,
             {"ready": 0, "processed_emails": 0, "total_emails": 4})
        | each("running verifying paused failed cancelled", 200,
               {"ready": 0, "processed_emails": 2})
        | each("completed", 200, {"ready": 1, "processed_emails": 4}),
    ),
    Look(
        WHOISXML, "POST", "/api/bevService/request/completed", {"id": "ID"},
        each("preparing importing ready queued running verifying paused failed cancelled slow",
             200, {"response": 0})
        | each("completed", 200, {"response": 4}),
    ),
    Look(
        GENERIC, "GET", "/api/v1/jobs/ID", {},
        each("preparing importing ready queued slow", 200,
             {"status": "queued", "completed": 0, "total_emails": 4})
        | each("running verifying paused", 200, {"status": "processing", "completed": 2})
        | each("failed cancelled", 200, {"status": "failed"})
        | each("completed", 200, {"status": "completed", "completed": 4}),
    ),
    Look(
        GENERIC, "GET", "/api/v1/jobs/ID/results", {},
        each("preparing importing ready queued slow", 400, not_completed("queued"))
        | each("running verifying paused", 400, not_completed("processing"))
        | each("failed cancelled", 400, not_completed("failed"))
        | each("completed", 200, {"total": 4, "results": 4}),
    ),
    Look(
        DATAOORTS, "POST", "/ai_mails_api/bulk_results/v1", {"id": "ID"},
        each("preparing importing ready queued running verifying paused slow", 202, PENDING)
        | each("failed cancelled", 404, {})
        | each("completed", 200, 4),
    ),
)  # fmt: skip


def _rows() -> Iterator[Any]:
    for look in LOOKS:
        for word, seen in look.states.items():
            name = f"{look.dialect.name}-{look.method}-{look.path.rpartition('/')[2]}-{word}"
            yield pytest.param(look, word, seen, id=name)


ROWS = list(_rows())


async def submit(client: httpx.AsyncClient, dialect: Dialect, word: str = "") -> str:
    path, member = SUBMIT[dialect.name]
    tags = [f"+simulate-{word}" if word and n == 3 else "" for n in range(4)]
    emails: list[Any] = [f"deliverable{n}{tag}@example.com" for n, tag in enumerate(tags)]
    if dialect is VALIDTO:
        emails = [{"email": email} for email in emails]
    fields = {"emails": emails, "auto_verify": True}
    made = (await call(client, dialect, "POST", path, fields)).json()
    return str(made.get("response", made)[member])


async def look_at(client: httpx.AsyncClient, look: Look, id_: str, key: str = "") -> httpx.Response:
    fields: dict[str, Any] = {
        k: [int(id_)] if v == "IDS" else v.replace("ID", id_) for k, v in look.fields.items()
    }
    path = look.path.replace("ID", id_)
    if "?" in path:  # the helper adds the key as the first parameter
        bare, _, query = path.partition("?")
        params = f"{query}&apikey={key or look.dialect.sandbox_key}"
        return await client.request(look.method, f"/{look.dialect.name}{bare}?{params}")
    return await call(client, look.dialect, look.method, path, fields, key=key)


def check(reply: httpx.Response, seen: Seen) -> None:
    assert reply.status_code == seen.status, reply.text
    if isinstance(seen.shows, int):
        is_json = "json" in reply.headers["content-type"]
        assert len(reply.json() if is_json else reply.text.splitlines()) == seen.shows
        return
    body = reply.json()
    if isinstance(body.get("response"), list) and "response" not in seen.shows:
        (body,) = body["response"]
    shown = {name: body.get(name) for name in seen.shows}
    for name, value in seen.shows.items():
        if isinstance(shown[name], list) and isinstance(value, int):
            shown[name] = len(shown[name])
    assert shown == seen.shows


@pytest.mark.parametrize(("look", "word", "seen"), ROWS)
async def test_a_key_shows_the_state_of_its_word(
    client: httpx.AsyncClient, look: Look, word: str, seen: Seen
) -> None:
    id_ = await submit(client, look.dialect)
    key = f"{look.dialect.sandbox_key}-simulate-{word}"
    if word == "slow":
        # its time starts with the batch
        await client.post("/veriplex/v1/clock", json={"frozen": True})
    check(await look_at(client, look, id_, key), seen)


@pytest.mark.parametrize(("look", "word", "seen"), ROWS)
async def test_the_word_of_an_address_stays_with_the_batch(
    client: httpx.AsyncClient, look: Look, word: str, seen: Seen
) -> None:
    await client.post("/veriplex/v1/clock", json={"frozen": True})
    id_ = await submit(client, look.dialect, word)
    check(await look_at(client, look, id_), seen)


def test_every_word_is_tested_in_every_dialect() -> None:
    for dialect in (EMAILABLE, VALIDTO, WHOISXML, GENERIC, DATAOORTS):
        seen = {word for look in LOOKS if look.dialect is dialect for word in look.states}
        assert seen == set(JOB_WORDS) - PROBLEM_WORDS


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.dialect.name}{look.path}")
async def test_a_slow_batch_passes_through_its_states(
    client: httpx.AsyncClient, look: Look
) -> None:
    await client.post("/veriplex/v1/clock", json={"frozen": True})
    id_ = await submit(client, look.dialect, "slow")
    for advance_s, word in ((6, "preparing"), (24, "running"), (30, "completed")):
        await client.post("/veriplex/v1/clock", json={"advance_s": advance_s})
        check(await look_at(client, look, id_), look.states[word])
