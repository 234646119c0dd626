"""The control API: the request log, faults, the clock, keys, reset."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.registry import DIALECTS
from gateway.accounts.keys import mint_key
from gateway.app import open_services
from gateway.sandbox_app import SandboxServer
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import NAMES
from tests.gateway.sandbox.conftest import START, Time

KEY = "test_7aff7fc0142c65f86a00"
API = "/veriplex/v1"
JSON = {"Content-Type": "application/json"}


async def verify(
    client: httpx.AsyncClient, email: str = "ada@example.org", key: str = KEY
) -> httpx.Response:
    return await client.get(f"/emailable/v1/verify?email={email}&api_key={key}")


async def fresh_keys(client: httpx.AsyncClient) -> dict[str, str]:
    keys: dict[str, str] = (await client.post(f"{API}/keys")).json()["keys"]
    return keys


async def fault(client: httpx.AsyncClient, key: str = "", **fault: Any) -> int:
    reply = await client.post(f"{API}/faults", params={"key": key} if key else {}, json=fault)
    assert reply.status_code == 200, reply.text
    return int(reply.json()["id"])


# -- the log -----------------------------------------------------------------------------


async def test_the_log_shows_request_and_reply(client: httpx.AsyncClient) -> None:
    await client.post(
        "/emailable/v1/verify",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"email": "a@b.org"},
    )
    seen = (await client.get(f"{API}/requests/last")).json()
    assert seen["dialect"] == "emailable"
    assert seen["operation"] == "verify"
    assert (seen["method"], seen["path"], seen["status"]) == ("POST", "/v1/verify", 200)
    assert seen["body"] == {"email": "a@b.org"}
    assert seen["reply"]["email"] == "a@b.org"
    assert seen["problem"] is None


@pytest.mark.parametrize("depth", [100, 300, 1_000])
async def test_a_body_that_is_nested_deeply_is_shown_as_text(
    client: httpx.AsyncClient, depth: int
) -> None:
    nested = "[" * depth + "]" * depth
    await client.post("/emailable/v1/verify", params={"api_key": KEY}, content=nested)
    reply = await client.get(f"{API}/requests/last")
    assert reply.status_code == 200
    assert reply.json()["body"] == nested


@pytest.mark.parametrize(
    ("url", "headers", "problem"),
    [
        (f"/emailable/v1/verify?email=a@b.org&api_key={KEY}", {}, None),
        ("/emailable/v1/verify?email=a@b.org", {"Authorization": f"Bearer {KEY}"}, None),
        ("/emailable/v1/verify?email=a@b.org&api_key=test_1234567890", {}, "bad_credential"),
        ("/emailable/v1/verify?email=a@b.org", {}, "no_credential"),
        (f"/emailable/v1/verify?api_key={KEY}", {}, "missing"),
        (f"/emailable/v1/nothing?api_key={KEY}", {}, "unknown_path"),
        ("/validto/v1/verify?email=nonsense&apikey=sandbox" + "0" * 25, {}, "invalid"),
    ],
)
async def test_refused_and_malformed_requests_are_logged_without_their_key(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], problem: str | None
) -> None:
    await client.get(url, headers=headers)
    shown = (await client.get(f"{API}/requests/last")).json()
    assert shown["problem"] == problem
    assert (shown["reason"] is None) == (problem is None)
    text = str(shown)
    assert not any(key in text for key in (KEY, "test_1234567890", "sandbox" + "0" * 25))


LIVE_KEYS = {dialect.name: mint_key(dialect.key_shape, test=False) for dialect in DIALECTS}


@pytest.mark.parametrize(
    "key",
    [*LIVE_KEYS.values(), "own-key", "no key of any shape"],
    ids=[*LIVE_KEYS, "own", "shapeless"],
)
@pytest.mark.parametrize(
    "body",
    [
        '{{"emails": ["a@b.org"], "api_key": "{key}"',
        '{{"apiKey" : "{key}", ',
        "api_key={key}&email=%zz",
        "<apiKey>{key}</apiKey>",
        'access_token = "{key}',
        '--x\r\nContent-Disposition: form-data; name="api_key"\r\n\r\n{key}\r\n--',
    ],
)
async def test_keys_in_malformed_bodies_are_redacted(
    client: httpx.AsyncClient, body: str, key: str
) -> None:
    key = key.replace(" ", "%20")
    sent = body.format(key=key)
    await client.post(
        f"/whoisxml/api/bevService/request?apiKey={key}",
        content=sent,
        headers={"Content-Type": "application/json", "X-Api-Key": key, "Authorization": key},
    )
    shown = (await client.get(f"{API}/requests/last")).json()
    assert shown["status"] >= 400
    assert key not in str(shown)
    assert key[-4:] in str(shown) or len(key) < 9


@pytest.mark.parametrize("key", LIVE_KEYS.values(), ids=LIVE_KEYS)
async def test_texts_that_look_like_keys_are_redacted(client: httpx.AsyncClient, key: str) -> None:
    await client.post(
        f"/emailable/v1/verify?email={key}@example.com&api_key={KEY}",
        content=f"garbage {key}, '{key}' \xff",
        headers={"X-Note": f"see {key}."},
    )
    shown = str((await client.get(f"{API}/requests/last")).json())
    assert key not in shown
    assert KEY not in shown
    assert shown.count(f"…{key[-4:]}") >= 4


async def test_the_log_can_be_filtered_counted_and_cleared(client: httpx.AsyncClient) -> None:
    await verify(client)
    await verify(client, "slow@example.com")
    await client.get("/generic/api/v1/account", headers={"X-API-Key": "ev_test_sandbox"})

    async def count(**filters: object) -> int:
        params = {name: str(value) for name, value in filters.items()}
        reply = await client.get(f"{API}/requests/count", params=params)
        return int(reply.json()["count"])

    assert await count() == 3
    assert await count(dialect="emailable") == 2
    assert await count(status=249) == 1
    assert await count(text="slow@") == 1
    assert await count(operation="account", dialect="generic") == 1
    assert await count(after=2) == 1
    listed = (await client.get(f"{API}/requests?limit=2")).json()["requests"]
    assert [seen["id"] for seen in listed] == [2, 3]
    assert (await client.get(f"{API}/requests/2")).json()["status"] == 249
    assert (await client.delete(f"{API}/requests")).json() == {"cleared": 3}
    assert (await client.get(f"{API}/requests/last")).status_code == 404


async def test_waiting_ends_when_the_requests_arrive(client: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.get(f"{API}/requests/wait?count=2&timeout_s=30"))
        await verify(client)
        await verify(client)
    assert len(waiting.result().json()["requests"]) == 2
    late = await client.get(f"{API}/requests/wait?count=3&timeout_s=0")
    assert late.status_code == 408


# -- isolation ---------------------------------------------------------------------------


async def test_created_keys_are_isolated(client: httpx.AsyncClient) -> None:
    ours, theirs = await fresh_keys(client), await fresh_keys(client)
    assert set(ours) == set(NAMES)
    await fault(client, ours["emailable"], simulate="503")
    assert (await verify(client, key=ours["emailable"])).status_code == 503
    assert (await verify(client, key=theirs["emailable"])).status_code == 200
    assert (await verify(client)).status_code == 200
    made = await client.post(
        "/emailable/v1/batch", json={"emails": ["a@b.org"], "api_key": theirs["emailable"]}
    )
    id_ = made.json()["id"]
    asked = await client.get(f"/emailable/v1/batch?id={id_}&api_key={KEY}")
    assert asked.status_code == 404

    counts = [
        (await client.get(f"{API}/requests/count", params={"key": keys["generic"]})).json()["count"]
        for keys in (ours, theirs)
    ]
    assert counts == [1, 2]
    await client.post(f"{API}/reset", params={"key": ours["whoisxml"]})
    assert (await verify(client, key=ours["emailable"])).status_code == 200
    everything = (await client.get(f"{API}/requests/count")).json()["count"]
    assert everything == 5


async def test_additional_keys_are_valid_in_every_dialect(client: httpx.AsyncClient) -> None:
    assert (await verify(client, key="own-key")).status_code == 200
    reply = await client.get("/generic/api/v1/account", headers={"X-API-Key": "own-key"})
    assert reply.status_code == 200


async def test_an_unknown_key_controls_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{API}/requests?key=nobody")).status_code == 401


# -- faults ------------------------------------------------------------------------------


async def test_fail_three_times_then_succeed(client: httpx.AsyncClient) -> None:
    await fault(client, simulate="503", times=3)
    statuses = [(await verify(client)).status_code for _ in range(5)]
    assert statuses == [503, 503, 503, 200, 200]


async def test_skip_lets_the_first_requests_pass(client: httpx.AsyncClient) -> None:
    await fault(client, simulate="429", skip=2, times=1)
    assert [(await verify(client)).status_code for _ in range(4)] == [200, 200, 429, 200]


async def test_an_error_rate_is_a_function_of_its_seed(client: httpx.AsyncClient) -> None:
    async def drawn(seed: str) -> list[int]:
        id_ = await fault(client, simulate="500", rate=0.3, seed=seed)
        statuses = [(await verify(client)).status_code for _ in range(100)]
        await client.delete(f"{API}/faults/{id_}")
        return statuses

    first = await drawn("a")
    assert first == await drawn("a")
    assert first != await drawn("b")
    assert 15 <= first.count(500) <= 45


async def test_a_rate_limit_ends_by_the_clock(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/clock", json={"frozen": True})
    await fault(client, limit={"count": 2, "per_s": 60})
    url = "/generic/api/v1/verify"
    headers = {"X-API-Key": "ev_test_sandbox"}
    replies = [await client.post(url, headers=headers, json={"email": "a@b.org"}) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].headers["retry-after"] == "60"
    await client.post(f"{API}/clock", json={"advance_s": 60})
    again = await client.post(url, headers=headers, json={"email": "a@b.org"})
    assert again.status_code == 200


async def test_faults_match_dialect_and_operation(client: httpx.AsyncClient) -> None:
    await fault(client, simulate="500", dialect="emailable", operation="account")
    assert (await verify(client)).status_code == 200
    assert (await client.get(f"/emailable/v1/account?api_key={KEY}")).status_code == 500
    listed = (await client.get(f"{API}/faults")).json()["faults"]
    assert [(f["seen"], f["struck"]) for f in listed] == [(1, 1)]
    assert (await client.get(f"{API}/requests/last")).json()["simulated"]


@pytest.mark.parametrize(
    ("latency", "least_s", "most_s"),
    [
        (0, 0, 0),
        (100, 0.1, 0.1),
        ([50, 200], 0.05, 0.2),
        ({"median": 100, "sigma": 0}, 0.1, 0.1),
        ({"median": 100, "sigma": 0.5}, 0.001, 2),
    ],
)
async def test_latency_has_the_given_distribution(
    server: SandboxServer, client: httpx.AsyncClient, latency: Any, least_s: float, most_s: float
) -> None:
    await fault(client, latency_ms=latency)
    drawn = []
    for _ in range(50):
        effects = await server.sandbox.faults.inject(0, "emailable", "verify")
        assert effects is not None
        drawn.append(effects.delay_s)
    assert least_s <= min(drawn) + 1e-9
    assert max(drawn) <= most_s + 1e-9
    assert (len(set(drawn)) > 1) == (least_s != most_s)


async def test_latency_delays_the_reply(client: httpx.AsyncClient) -> None:
    await fault(client, latency_ms=30)
    began = asyncio.get_running_loop().time()
    await verify(client)
    assert asyncio.get_running_loop().time() - began >= 0.029


@pytest.mark.parametrize(
    "wrong",
    [
        "{}",
        "no json",
        '{"simulate": "999"}',
        '{"simulate": "500", "rate": 2}',
        '{"simulate": "500", "times": 0}',
        '{"latency_ms": -1}',
        '{"latency_ms": NaN}',
        '{"latency_ms": {"median": 1, "nonsense": 2}}',
        '{"limit": {"count": 1, "per_s": 0}}',
        '{"connection": "explode"}',
        '{"simulate": "500", "unknown": 1}',
    ],
)
async def test_invalid_faults_are_refused(client: httpx.AsyncClient, wrong: str) -> None:
    reply = await client.post(f"{API}/faults", content=wrong, headers=JSON)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert (await client.get(f"{API}/faults")).json() == {"faults": []}


# -- the clock ---------------------------------------------------------------------------


async def test_the_clock_is_frozen_and_moved(client: httpx.AsyncClient, time: Time) -> None:
    async def now() -> str:
        return str((await client.get(f"{API}/clock")).json()["now"])

    assert await now() == "2026-05-28T20:26:40+00:00"
    await client.post(f"{API}/clock", json={"at": "2027-01-01T00:00:00", "frozen": True})
    time.now += 100
    assert await now() == "2027-01-01T00:00:00+00:00"
    await client.post(f"{API}/clock", json={"advance_s": 3600})
    assert await now() == "2027-01-01T01:00:00+00:00"
    await client.post(f"{API}/clock", json={"frozen": False})
    time.now += 1
    assert await now() == "2027-01-01T01:00:01+00:00"
    shown = (await client.delete(f"{API}/clock")).json()
    assert shown == {"now": "2026-05-28T20:28:21+00:00", "frozen": False, "moved": False}
    assert time.now == START + 101


@pytest.mark.parametrize("wrong", ['{"at": "soon"}', '{"advance_s": "x"}', '{"warp": 9}', "[]"])
async def test_invalid_changes_do_not_move_the_clock(client: httpx.AsyncClient, wrong: str) -> None:
    reply = await client.post(f"{API}/clock", content=wrong, headers=JSON)
    assert reply.status_code == 400
    assert (await client.get(f"{API}/clock")).json()["moved"] is False


async def test_samples_show_the_time_of_a_moved_clock(client: httpx.AsyncClient) -> None:
    headers = {"X-API-Key": "ev_test_sandbox"}

    async def verified_at() -> str:
        reply = await client.post(
            "/generic/api/v1/verify", headers=headers, json={"email": "a@b.org"}
        )
        return str(reply.json()["verifiedAt"])

    assert await verified_at() == "2026-01-01T00:00:00.000Z"
    await client.post(f"{API}/clock", json={"at": "2027-03-01T12:00:00Z", "frozen": True})
    assert await verified_at() == "2027-03-01T12:00:00.000Z"


async def test_retention_ends_by_the_clock(client: httpx.AsyncClient) -> None:
    made = await client.post("/emailable/v1/batch", json={"emails": ["a@b.org"], "api_key": KEY})
    url = f"/emailable/v1/batch?id={made.json()['id']}&api_key={KEY}"
    assert "emails" in (await client.get(url)).json()
    await client.post(f"{API}/clock", json={"advance_s": 31 * 86_400})
    gone = (await client.get(url)).json()
    assert "emails" not in gone
    assert gone["total_counts"]["total"] == 1


async def test_a_slow_batch_follows_the_clock(client: httpx.AsyncClient) -> None:
    emails = [f"ada{n}+simulate-slow@example.org" for n in range(10)]
    made = await client.post("/emailable/v1/batch", json={"emails": emails, "api_key": KEY})
    url = f"/emailable/v1/batch?id={made.json()['id']}&api_key={KEY}"
    await client.post(f"{API}/clock", json={"frozen": True})
    processed = []
    for _ in range(3):
        processed.append((await client.get(url)).json().get("processed"))
        await client.post(f"{API}/clock", json={"advance_s": 30})
    assert processed == [0, 5, None]


async def test_each_key_can_have_its_own_clock(client: httpx.AsyncClient, time: Time) -> None:
    ours, theirs = await fresh_keys(client), await fresh_keys(client)

    async def emailed(keys: dict[str, str]) -> str:
        body = {"emails": ["a@b.org"], "api_key": keys["emailable"]}
        made = await client.post("/emailable/v1/batch", json=body)
        return f"/emailable/v1/batch?id={made.json()['id']}&api_key={keys['emailable']}"

    async def limited(keys: dict[str, str]) -> str | None:
        headers = {"X-API-Key": keys["generic"]}
        reply = await client.get("/generic/api/v1/account", headers=headers)
        return str(reply.headers["retry-after"]) if reply.status_code == 429 else None

    async def now(keys: dict[str, str] | None) -> str:
        params = {"key": keys["validto"]} if keys else {}
        return str((await client.get(f"{API}/clock", params=params)).json()["now"])

    urls = [await emailed(keys) for keys in (ours, theirs)]
    for keys in (ours, theirs):
        await fault(client, keys["emailable"], limit={"count": 1, "per_s": 60}, dialect="generic")
        assert await limited(keys) is None
        assert await limited(keys) == "60"
    own = {"key": ours["whoisxml"]}
    await client.post(f"{API}/clock", params=own, json={"advance_s": 20, "frozen": True})
    assert (await limited(ours), await limited(theirs)) == ("40", "60")
    await client.post(f"{API}/clock", params=own, json={"advance_s": 31 * 86_400})
    rows = ["emails" in (await client.get(url)).json() for url in urls]
    assert rows == [False, True]
    assert (await limited(ours), await limited(theirs)) == (None, "60")
    time.now += 60
    shown = [await now(keys) for keys in (ours, theirs, None)]
    assert shown[0].startswith("2026-06-28T20:27:00")
    assert shown[1] == shown[2] == "2026-05-28T20:27:40+00:00"
    seen = [await client.get(f"{API}/requests/last?key={k['generic']}") for k in (ours, theirs)]
    assert [s.json()["at"][:7] for s in seen] == ["2026-06", "2026-05"]
    verified = await client.get(f"/emailable/v1/verify?email=a@b.org&api_key={ours['emailable']}")
    assert verified.status_code == 200
    await client.post(f"{API}/reset", params=own)
    assert await now(ours) == shown[1]


async def test_a_shared_rate_limit_counts_separately_for_a_key_with_its_own_clock(
    client: httpx.AsyncClient,
) -> None:
    ours = (await fresh_keys(client))["emailable"]
    await client.post(f"{API}/clock", params={"key": ours}, json={"advance_s": 3600})
    await fault(client, limit={"count": 1, "per_s": 60})
    statuses = [(await verify(client, key=key)).status_code for key in (KEY, ours, KEY, ours)]
    assert statuses == [200, 200, 429, 429]


async def test_a_sample_shows_the_time_of_the_keys_clock(client: httpx.AsyncClient) -> None:
    ours, theirs = (await fresh_keys(client))["generic"], (await fresh_keys(client))["generic"]

    async def verified_at(key: str) -> str:
        url, headers = "/generic/api/v1/verify", {"X-API-Key": key}
        reply = await client.post(url, headers=headers, json={"email": "a@b.org"})
        return str(reply.json()["verifiedAt"])[:4]

    assert [await verified_at(key) for key in (ours, theirs)] == ["2026", "2026"]
    change = {"at": "2031-03-01T12:00:00Z", "frozen": True}
    await client.post(f"{API}/clock", params={"key": ours}, json=change)
    assert [await verified_at(key) for key in (ours, theirs, ours)] == ["2031", "2026", "2031"]


async def test_reset_removes_everything(client: httpx.AsyncClient) -> None:
    made = await client.post("/emailable/v1/batch", json={"emails": ["a@b.org"], "api_key": KEY})
    await fault(client, simulate="500")
    await client.post(f"{API}/clock", json={"advance_s": 1000})
    assert (await client.post(f"{API}/reset")).status_code == 200
    assert (await client.get(f"{API}/requests/count")).json() == {"count": 0}
    assert (await client.get(f"{API}/faults")).json() == {"faults": []}
    assert (await client.get(f"{API}/clock")).json()["moved"] is False
    url = f"/emailable/v1/batch?id={made.json()['id']}&api_key={KEY}"
    assert (await client.get(url)).status_code == 404


# -- beside live keys --------------------------------------------------------------------


async def test_on_a_live_server_the_control_api_needs_a_key() -> None:
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    )
    async with open_services(settings) as services:
        keys = {(key.dialect, key.test): key.key for key in await services.accounts.bootstrap()}
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get(f"{API}/requests")).status_code == 401
            assert (await client.post(f"{API}/keys")).status_code == 403
            for method in ("GET", "POST", "DELETE"):
                assert (await client.request(method, f"{API}/clock")).status_code == 401
            own = keys["emailable", True]
            at = {"at": "2030-01-01T00:00:00Z", "frozen": True}
            await client.post(f"{API}/clock", params={"key": own}, json=at)
            moved = [
                (await client.get(f"{API}/clock", params={"key": key})).json()["moved"]
                for key in (own, KEY)
            ]
            assert moved == [True, False]
            await fault(client, own, simulate="503")
            assert (await verify(client, key=own)).status_code == 503
            assert (await verify(client)).status_code == 200
            counted = await client.get(f"{API}/requests/count", params={"key": KEY})
            assert counted.json() == {"count": 1}
