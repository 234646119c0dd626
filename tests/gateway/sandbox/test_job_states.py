"""Every state that a vendor documents for a batch, at the vendor's endpoints."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from adapters.contract.dialect import Dialect
from gateway.sandbox.simulate import JOB_WORDS, PROBLEM_WORDS
from tests import dialects
from tests.dialects import ALL, FACTS, WITH_BATCHES, JobView

VIEWS = [
    pytest.param(dialect, view, id=f"{dialect.name}-{view.method}-{view.path}")
    for dialect in ALL
    for view in FACTS[dialect.name].job_views
]
EXAMPLES = [
    pytest.param(dialect, view, id_, id=f"{dialect.name}-{view.method}-{view.path}-{id_}")
    for dialect in ALL
    for view in FACTS[dialect.name].job_views
    for id_ in dialect.example_job_ids
]
ROWS = [
    pytest.param(dialect, view, word, id=f"{dialect.name}-{view.method}-{view.path}-{word}")
    for dialect in ALL
    for view in FACTS[dialect.name].job_views
    for word in view.states
]


async def submit(client: httpx.AsyncClient, dialect: Dialect, word: str = "") -> str:
    tags = [f"+simulate-{word}" if word and n == 3 else "" for n in range(4)]
    emails = [f"deliverable{n}{tag}@example.com" for n, tag in enumerate(tags)]
    made = await dialects.submit(client, dialect, dialect.sandbox_key, emails)
    return dialects.job_id_in(dialect, made)


async def look_at(
    client: httpx.AsyncClient, dialect: Dialect, view: JobView, id_: str, key: str = ""
) -> httpx.Response:
    fields: dict[str, Any] = {
        name: [int(id_)] if value == "IDS" else value.replace("ID", id_)
        for name, value in view.fields.items()
    }
    path = view.path.replace("ID", id_)
    return await dialects.call(
        client, dialect, view.method, path, fields, key=key or dialect.sandbox_key
    )


def check(reply: httpx.Response, seen: tuple[int, Any]) -> None:
    status, shows = seen
    assert reply.status_code == status, reply.text
    if isinstance(shows, int):
        is_json = "json" in reply.headers["content-type"]
        assert len(reply.json() if is_json else reply.text.splitlines()) == shows
        return
    body = reply.json()
    if isinstance(body.get("response"), list) and "response" not in shows:
        (body,) = body["response"]
    shown = {name: body.get(name) for name in shows}
    for name, value in shows.items():
        if isinstance(shown[name], list) and isinstance(value, int):
            shown[name] = len(shown[name])
    assert shown == shows


@pytest.mark.parametrize(("dialect", "view", "word"), ROWS)
async def test_a_key_shows_the_state_of_its_word(
    client: httpx.AsyncClient, dialect: Dialect, view: JobView, word: str
) -> None:
    id_ = await submit(client, dialect)
    key = f"{dialect.sandbox_key}-simulate-{word}"
    if word == "slow":
        # its time starts with the batch
        await client.post("/veriplex/v1/clock", json={"frozen": True})
    check(await look_at(client, dialect, view, id_, key), view.states[word])


@pytest.mark.parametrize(("dialect", "view", "word"), ROWS)
async def test_the_word_of_an_address_stays_with_the_batch(
    client: httpx.AsyncClient, dialect: Dialect, view: JobView, word: str
) -> None:
    await client.post("/veriplex/v1/clock", json={"frozen": True})
    id_ = await submit(client, dialect, word)
    check(await look_at(client, dialect, view, id_), view.states[word])


@pytest.mark.parametrize("name", WITH_BATCHES)
def test_every_word_is_tested_in_every_dialect(name: str) -> None:
    seen = {word for view in FACTS[name].job_views for word in view.states}
    assert seen == set(JOB_WORDS) - PROBLEM_WORDS


@pytest.mark.parametrize(("dialect", "view"), VIEWS)
async def test_a_slow_batch_passes_through_its_states(
    client: httpx.AsyncClient, dialect: Dialect, view: JobView
) -> None:
    await client.post("/veriplex/v1/clock", json={"frozen": True})
    id_ = await submit(client, dialect, "slow")
    for advance_s, word in ((6, "preparing"), (24, "running"), (30, "completed")):
        await client.post("/veriplex/v1/clock", json={"advance_s": advance_s})
        check(await look_at(client, dialect, view, id_), view.states[word])


@pytest.mark.parametrize(("dialect", "view", "id_"), EXAMPLES)
async def test_a_batch_of_the_vendors_page_is_complete(
    client: httpx.AsyncClient, dialect: Dialect, view: JobView, id_: str
) -> None:
    """A snippet that is copied from the page works as it stands."""
    reply = await look_at(client, dialect, view, id_)
    assert reply.status_code == view.states["completed"][0]
    bodies = [view.states[word] for word in ("completed", "preparing")]
    if bodies[0][0] == bodies[1][0]:
        unfinished = await look_at(
            client, dialect, view, id_, f"{dialect.sandbox_key}-simulate-preparing"
        )
        assert unfinished.content != reply.content


def test_several_dialects_have_such_batches() -> None:
    with_examples = {dialect.name for dialect in ALL if dialect.example_job_ids}
    assert with_examples >= {"emailable", "validto", "whoisxml", "generic", "dataoorts"}
