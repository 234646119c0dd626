"""Simulated outcomes: every word of the table, at every dialect's endpoints."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest
from gateway.sandbox.simulate import PROBLEM_WORDS
from tests import dialects
from tests.dialects import ALL, BY_NAME, FACTS, endpoint_of, verify_request
from tools.docs.sandbox import status_of

EMAILABLE, VALIDTO = BY_NAME["emailable"], BY_NAME["validto"]
KEYED = [
    pytest.param(dialect, endpoint, id=f"{dialect.name}-{endpoint.name}-{n}")
    for dialect in ALL
    for n, endpoint in enumerate(dialect.endpoints)
    if endpoint.needs_key
]


async def call(
    client: httpx.AsyncClient,
    dialect: Dialect,
    method: str,
    path: str,
    fields: dict[str, Any] | None = None,
    *,
    key: str = "",
) -> httpx.Response:
    """A request with the sandbox key, or another, where the dialect wants it."""
    return await dialects.call(
        client, dialect, method, path, fields, key=key or dialect.sandbox_key
    )


async def verify(
    client: httpx.AsyncClient, dialect: Dialect, email: str, key: str = ""
) -> httpx.Response:
    request = verify_request(dialect, key or dialect.sandbox_key, email)
    return await dialects.send(client, dialect, request)


@pytest.mark.parametrize(("dialect", "endpoint"), KEYED)
async def test_every_word_works_after_the_key(
    client: httpx.AsyncClient, dialect: Dialect, endpoint: AnyEndpoint
) -> None:
    path = endpoint.path.replace("{", "").replace("}", "")
    for word in sorted(PROBLEM_WORDS):
        key = f"{dialect.sandbox_key}-simulate-{word}"
        reply = await call(client, dialect, endpoint.methods[0], path, key=key)
        assert reply.status_code == status_of(word, dialect, endpoint), (word, reply.text)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
async def test_every_word_works_in_an_address(client: httpx.AsyncClient, dialect: Dialect) -> None:
    endpoint = endpoint_of(dialect, verify_request(dialect, "key", "ada@example.org"))
    for word in sorted(PROBLEM_WORDS):
        reply = await verify(client, dialect, f"ada+simulate-{word}@example.org")
        assert reply.status_code == status_of(word, dialect, endpoint), (word, reply.text)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("status", ["400", "401", "429", "500", "503"])
def test_statuses_that_all_vendors_have_are_answered_as_such(dialect: Dialect, status: str) -> None:
    for endpoint in dialect.endpoints:
        if endpoint.needs_key:
            wanted = FACTS[dialect.name].simulated_status(status, endpoint)
            assert status_of(status, dialect, endpoint) == wanted, endpoint.name


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
async def test_a_simulated_429_has_a_retry_after(
    client: httpx.AsyncClient, dialect: Dialect
) -> None:
    reply = await verify(client, dialect, "ada+simulate-429@example.org")
    expected = "1" if FACTS[dialect.name].names_retry_after else None
    assert reply.headers.get("retry-after") == expected


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
async def test_an_unknown_word_is_refused(client: httpx.AsyncClient, dialect: Dialect) -> None:
    """In an address and after a key, with the nearest word in a header and in the log."""
    invalid = Problem(ProblemKind.INVALID, "", "simulate")
    request = WireRequest("POST", dialect.endpoints[0].path)
    wanted = dialect.write_problem(request, invalid, dialect.endpoints[0]).status
    key = f"{dialect.sandbox_key}-simulate-no-credit"
    for email, used in (("ada+simulate-no-credit@example.org", ""), ("ada@example.org", key)):
        reply = await verify(client, dialect, email, *filter(None, (used,)))
        assert reply.status_code == wanted
        text = "simulate: no outcome is named no-credit; did you mean no-credits?"
        assert reply.headers["x-veriplex-problem"] == text
        last = (await client.get("/veriplex/v1/requests/last")).json()
        assert last["reason"] == text
    other = await verify(client, dialect, "a@b.org", "nothing-simulate-no-credit")
    assert other.headers["x-veriplex-problem"] == "bad credential"


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "email",
    [
        "ada simulate-429@example.org",
        "ada+SIMULATE-429@example.org",
        "ada+x+simulate-429@example.org",
        "ada+simulate-429+7@example.org",
    ],
)
async def test_a_word_may_be_written_in_other_ways(
    client: httpx.AsyncClient, dialect: Dialect, email: str
) -> None:
    as_documented = await verify(client, dialect, "ada+simulate-429@example.org")
    reply = await verify(client, dialect, email)
    assert (reply.status_code, reply.content) == (as_documented.status_code, as_documented.content)


async def test_an_unknown_word_in_a_parameter_or_a_batch_is_refused(
    client: httpx.AsyncClient,
) -> None:
    made = await emailable_batch(client, ["ada@example.org"])
    reply = await emailable_status(client, made.json()["id"], simulate="importin")
    assert reply.status_code == 400
    assert reply.headers["x-veriplex-problem"].endswith("did you mean importing?")
    reply = await emailable_batch(client, ["ada@example.org", "eve+simulate-pausd@example.org"])
    assert reply.json() == {"message": "The simulate parameter is invalid."}
    assert reply.headers["x-veriplex-problem"].endswith("did you mean paused?")


@pytest.mark.parametrize(
    "key",
    ["test_7aff7fc0141c65f86a00", "test_xxxxxxxxxx", "invalid_api_key", "None", "ev_test_sandbox"],
)
async def test_any_other_key_is_refused(client: httpx.AsyncClient, key: str) -> None:
    reply = await verify(client, EMAILABLE, "ada@example.org", key)
    assert (reply.status_code, reply.json()) == (403, {"message": "API key is invalid"})


async def test_slow_is_not_ready_every_time(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await verify(client, EMAILABLE, "slow@example.com")).status_code == 249


async def test_accept_all_shows_catch_all_unasked(client: httpx.AsyncClient) -> None:
    assert (await verify(client, EMAILABLE, "accept-all@example.com")).json()["accept_all"] is True


# -- batches -----------------------------------------------------------------------------


async def emailable_batch(
    client: httpx.AsyncClient, emails: list[str], key: str = "", **options: Any
) -> httpx.Response:
    return await call(
        client, EMAILABLE, "POST", "/v1/batch", {"emails": emails, **options}, key=key
    )


async def emailable_status(
    client: httpx.AsyncClient, id_: str, key: str = "", **options: Any
) -> httpx.Response:
    return await call(client, EMAILABLE, "GET", "/v1/batch", {"id": id_, **options}, key=key)


async def test_an_emailable_batch_is_complete_at_once(client: httpx.AsyncClient) -> None:
    emails = ["undeliverable@example.com", "slow@example.com", "ada@example.org"]
    made = await emailable_batch(client, [*emails, emails[0]])
    status = (await emailable_status(client, made.json()["id"])).json()
    assert status["message"] == "Batch verification completed."
    assert [row["email"] for row in status["emails"]] == emails
    assert status["total_counts"]["duplicate"] == 1
    assert sum(status["reason_counts"].values()) == 3


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("generic_error", 500),
        ("insufficient_credits_error", 402),
        ("payment_error", 402),
        ("card_error", 402),
    ],
)
async def test_emailables_own_words_on_creation(
    client: httpx.AsyncClient, word: str, status: int
) -> None:
    in_body = await emailable_batch(client, ["a@b.org"], url="no url", simulate=word)
    url = f"/emailable/v1/batch?simulate={word}&url=nothing"
    headers = {"Authorization": f"Bearer {EMAILABLE.sandbox_key}"}
    in_query = await client.post(url, headers=headers, json={"emails": ["a@b.org"]})
    assert (in_body.status_code, in_query.status_code) == (status, status)
    assert in_body.json()["message"]


@pytest.mark.parametrize(
    ("word", "status", "message", "processed"),
    [
        ("generic_error", 500, "Internal Server Error", None),
        ("importing", 200, "Your batch is being processed.", 0),
        ("verifying", 200, "Your batch is being processed.", 2),
        (
            "paused",
            200,
            "Your batch is paused. Please contact support at <support@emailable.com>.",
            2,
        ),
    ],
)
async def test_emailables_own_words_on_status(
    client: httpx.AsyncClient, word: str, status: int, message: str, processed: int | None
) -> None:
    made = await emailable_batch(client, [f"ada{n}@example.org" for n in range(4)])
    reply = await emailable_status(client, made.json()["id"], simulate=word)
    assert (reply.status_code, reply.json()["message"]) == (status, message)
    assert reply.json().get("processed") == processed
    again = await emailable_status(client, made.json()["id"])
    assert again.json()["message"] == "Batch verification completed."


async def test_the_documented_example_batches_answer(client: httpx.AsyncClient) -> None:
    for id_ in EMAILABLE.example_job_ids:
        assert (await emailable_status(client, id_)).status_code == 200
    assert (await emailable_status(client, "0" * 24)).status_code == 404


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("preparing", "preparing"),
        ("ready", "ready"),
        ("running", "verifying"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
    ],
)
async def test_validto_lists_show_every_state(
    client: httpx.AsyncClient, word: str, shown: str
) -> None:
    rows = [{"email": "deliverable@example.com"}, {"email": f"ada+simulate-{word}@example.org"}]
    made = await call(client, VALIDTO, "POST", "/v1/bulk", {"emails": rows, "auto_verify": True})
    path = f"/v1/bulk/{made.json()['job_id']}"
    by_address = await call(client, VALIDTO, "GET", path)
    assert by_address.json()["status"] == shown
    plain = await call(client, VALIDTO, "POST", "/v1/bulk", {"emails": rows[:1]})
    key = f"{VALIDTO.sandbox_key}-simulate-{word}"
    path = f"/v1/bulk/{plain.json()['job_id']}"
    assert (await call(client, VALIDTO, "GET", path, key=key)).json()["status"] == shown


async def test_a_batch_with_a_problem_word_is_refused(client: httpx.AsyncClient) -> None:
    made = await emailable_batch(client, ["ada@example.org", "b+simulate-429@example.org"])
    assert made.status_code == 429


async def test_a_sandbox_answer_is_labelled(client: httpx.AsyncClient) -> None:
    reply = await verify(client, EMAILABLE, "ada@example.org")
    assert reply.headers["x-veriplex-source"] == "sandbox"
    assert "sandbox" not in json.dumps(reply.json())
