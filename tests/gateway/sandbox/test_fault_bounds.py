"""Faults stay with the test keys that set them, and cost nobody else anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from adapters.contract.problems import Problem, ProblemKind
from gateway.app import Services, open_services
from gateway.sandbox.clock import AdjustableClock, Clocks
from gateway.sandbox.faults import (
    MAX_FAULTS,
    MAX_FAULTS_OF_SCOPE,
    MAX_LIMITED_CALLS,
    MAX_SLOW_REQUESTS,
    ConnectionFault,
    FaultInjector,
    InjectedFault,
    RateLimit,
    TooManyFaults,
)
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from gateway.web.sandbox_control import ControlApi

API = "/veriplex/v1"


@pytest.fixture
def faults() -> FaultInjector:
    return FaultInjector(Clocks(AdjustableClock()), max_slow_requests=MAX_SLOW_REQUESTS)


@asynccontextmanager
async def serving(**sandbox: Any) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    """A server with live keys."""
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": sandbox}
    )
    async with open_services(settings, run_workers=False) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield services, client


async def keys_of(services: Services) -> dict[bool, str]:
    """The key for Emailable's dialect, by whether it is a test key."""
    made = await services.accounts.bootstrap()
    return {key.test: key.key for key in made if key.dialect == "emailable"}


def control_routes(services: Services) -> list[tuple[str, str]]:
    routes: list[Route] = ControlApi(
        services.sandbox, services.native, services.browser_guard
    ).routes()
    return [
        (method, route.path.replace("{id:number}", "1"))
        for route in routes
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


async def test_a_live_key_controls_nothing() -> None:
    async with serving() as (services, client):
        keys = await keys_of(services)
        for method, path in control_routes(services):
            body = {"simulate": "500"} if path == "/faults" else {}
            reply = await client.request(
                method,
                f"{API}{path}",
                params={"key": keys[False]},
                json=body if method == "POST" else None,
            )
            assert reply.status_code == 403, (method, path)
        account = await client.get(f"/emailable/v1/account?api_key={keys[False]}")
        assert account.status_code == 200
        assert services.sandbox.faults.in_scope(None) == []


async def test_a_live_key_has_faults_of_its_own_if_the_settings_say_so() -> None:
    async with serving(live_control=True) as (services, client):
        keys = await keys_of(services)
        fault = {"simulate": "500", "times": 1}
        reply = await client.post(f"{API}/faults", params={"key": keys[False]}, json=fault)
        assert reply.status_code == 200
        statuses = [
            (await client.get(f"/emailable/v1/account?api_key={keys[test]}")).status_code
            for test in (True, False, False)
        ]
        assert statuses == [200, 500, 200]


def test_each_scope_has_a_quota(faults: FaultInjector) -> None:
    fault = InjectedFault(simulate="500")
    for scope in range(MAX_FAULTS // MAX_FAULTS_OF_SCOPE):
        for _ in range(MAX_FAULTS_OF_SCOPE):
            faults.add(scope, fault)
        with pytest.raises(TooManyFaults):
            faults.add(scope, fault)
    with pytest.raises(TooManyFaults):
        faults.add(99, fault)
    assert faults.remove(0) == MAX_FAULTS_OF_SCOPE
    faults.add(99, fault)


async def test_faults_of_other_scopes_are_not_looked_at(faults: FaultInjector) -> None:
    for scope in range(5):
        for _ in range(MAX_FAULTS_OF_SCOPE):
            faults.add(scope, InjectedFault(simulate="500"))
    assert not faults.may_affect(7)
    assert await faults.inject(7, "emailable", "verify") is None
    faults.add(7, InjectedFault(simulate="503"))
    effects = await faults.inject(7, "emailable", "verify")
    assert effects is not None
    assert effects.simulation_word == "503"
    assert sum(active.matched for active in faults.in_scope(None)) == 1
    faults.remove(7)
    assert not faults.may_affect(7)


async def test_faults_of_all_scopes_and_of_one_are_injected_in_the_order_they_were_set(
    faults: FaultInjector,
) -> None:
    for scope, word in ((1, "500"), (None, "503"), (2, "429")):
        faults.add(scope, InjectedFault(simulate=word))
    found = [await faults.inject(scope, "emailable", "verify") for scope in (1, 2, 3, None)]
    assert [effects and (effects.simulation_word, effects.fault_ids) for effects in found] == [
        ("500", [1, 2]),
        ("503", [2, 3]),
        ("503", [2]),
        ("503", [2]),
    ]


def test_the_calls_that_limits_count_are_bounded(faults: FaultInjector) -> None:
    half = InjectedFault(limit=RateLimit(count=MAX_LIMITED_CALLS // 2))
    faults.add(1, half)
    faults.add(2, half)
    with pytest.raises(TooManyFaults):
        faults.add(3, InjectedFault(limit=RateLimit(count=1)))
    faults.add(3, InjectedFault(simulate="500"))
    faults.remove(2)
    faults.add(3, half)


@pytest.mark.parametrize(
    "long",
    [
        {"dialect": "d" * 101},
        {"operation": "o" * 101},
        {"seed": "s" * 101},
        {"times": 10**10},
        {"skip": 10**10},
    ],
    ids=lambda long: next(iter(long)),
)
async def test_nothing_large_is_stored_of_a_fault(
    client: httpx.AsyncClient, long: dict[str, Any]
) -> None:
    reply = await client.post(f"{API}/faults", json={"simulate": "500", **long})
    assert reply.status_code == 400


async def test_slow_requests_of_one_scope_do_not_take_all_connections(
    faults: FaultInjector,
) -> None:
    faults.add(1, InjectedFault(latency_ms=600_000))
    faults.add(2, InjectedFault(connection=ConnectionFault.DRIP))
    faults.add(3, InjectedFault(simulate="500"))
    for scope in (1, 2):
        slow = []
        for _ in range(MAX_SLOW_REQUESTS):
            effects = await faults.inject(scope, "emailable", "verify")
            assert effects is not None
            faults.begin(effects)
            slow.append(effects)
        one_more = await faults.inject(scope, "emailable", "verify")
        assert one_more is not None
        with pytest.raises(Problem) as refused:
            faults.begin(one_more)
        assert refused.value.kind is ProblemKind.UNAVAILABLE
        faults.end(slow.pop())
        faults.begin(one_more)
    quick = await faults.inject(3, "emailable", "verify")
    assert quick is not None
    for _ in range(2 * MAX_SLOW_REQUESTS):
        faults.begin(quick)


async def test_slow_requests_count_until_they_are_answered() -> None:
    async with serving() as (services, client):
        key = (await keys_of(services))[True]
        fault = {"latency_ms": 1, "connection": "drip", "drip": {"bytes": 65_536, "every_ms": 0}}
        await client.post(f"{API}/faults", params={"key": key}, json=fault)
        url = f"/emailable/v1/verify?email=a@b.org&api_key={key}"
        for _ in range(2):
            calls = (client.get(url) for _ in range(MAX_SLOW_REQUESTS))
            replies = await asyncio.gather(*calls)
            assert {reply.status_code for reply in replies} == {200}
