"""Other forms of the fixtures' requests, as clients in other languages write them.

Each form is a kind that holds in every dialect: the request gets the reply that its fixture wants.
One good request of each endpoint is sent.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from gateway.web.routing import VendorRoutes
from tests.dialects import ALL, BY_NAME, verify_request
from tests.test_compat_fixtures import CASES, compare, play

SAMPLE = "john.smith@example.com"
TAGGED = "john.smith+news@example.com"
WITH_QUERY = [d for d in ALL if SAMPLE in verify_request(d, "key", SAMPLE).query.values()]
"""Dialects whose clients put the address into the query."""
ROUTES = VendorRoutes(DIALECTS)
Spec = dict[str, Any]


def good_requests() -> Iterator[tuple[str, tuple[str, str], Spec]]:
    """The cases with a result: their names, endpoints and contents."""
    for case, path in CASES.items():
        spec = orjson.loads(path.read_bytes())
        request, dialect = spec["request"], case.split("/")[0]
        if spec["reply"]["status"] >= 300 or spec["reply"]["status"] == 249:
            continue
        found = ROUTES.match("", f"/{dialect}{request['url'].partition('?')[0]}", "")
        if found is None:
            continue
        endpoint, _, problem = ROUTES.find_endpoint(found, request["method"])
        if endpoint is not None and problem is None:
            yield case, (dialect, endpoint.name), spec


GOOD = tuple(good_requests())


def first_of_endpoint(wanted: Callable[[Spec], bool]) -> list[Any]:
    """The first case of each endpoint whose request is `wanted`, as parameters of a test."""
    found = {e: (case, spec) for case, e, spec in reversed(GOOD) if wanted(spec["request"])}
    return [pytest.param(case, spec, id=case) for case, spec in sorted(found.values())]


WITH_JSON = first_of_endpoint(lambda request: isinstance(request.get("json"), dict))
WITH_GET = first_of_endpoint(lambda request: request["method"] == "GET")
ANY = first_of_endpoint(lambda _: True)


def test_every_dialect_has_good_requests() -> None:
    assert {case.split("/")[0] for case, _, _ in GOOD} == {d.name for d in DIALECTS}


@pytest.mark.parametrize(("case", "spec"), WITH_JSON)
async def test_json_may_begin_with_a_byte_order_mark(case: str, spec: Spec) -> None:
    compare(*await play(case, spec, mark="\ufeff"))


@pytest.mark.parametrize(("case", "spec"), WITH_JSON)
async def test_a_member_that_is_null_is_absent(case: str, spec: Spec) -> None:
    """Every member that any fixture sends to the dialect, so that their names need no list."""
    dialect = case.split("/")[0]
    names = {
        name
        for other, _, sent in GOOD
        if other.split("/")[0] == dialect and isinstance(sent["request"].get("json"), dict)
        for name in sent["request"]["json"]
    }
    nulls = dict.fromkeys(sorted(names | {"a_member_of_nobody"}))
    compare(*await play(case, spec, json={**nulls, **spec["request"]["json"]}))


@pytest.mark.parametrize(("case", "spec"), WITH_GET)
async def test_head_is_answered_as_get_without_a_body(case: str, spec: Spec) -> None:
    reply, wanted = await play(case, spec, method="HEAD")
    assert reply.content == b""
    if not BY_NAME[case.split("/")[0]].answers_head:
        assert reply.status_code == 405
        return
    assert reply.status_code == wanted["status"]
    for name, value in wanted.get("headers", {}).items():
        assert reply.headers.get(name) == value


@pytest.mark.parametrize(("case", "spec"), WITH_JSON)
async def test_numbers_and_booleans_may_be_those_of_another_language(case: str, spec: Spec) -> None:
    """Whole numbers as floats (Lua) and texts, booleans as 0 and 1 (PHP) and texts."""
    for booleans, integers in ((int, float), (str, str), (float, float)):
        sent = {
            name: booleans(value)
            if isinstance(value, bool)
            else integers(value)
            if isinstance(value, int)
            else value
            for name, value in spec["request"]["json"].items()
        }
        compare(*await play(case, spec, json=sent))


# -- forms that no fixture has -------------------------------------------------------------


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Of a server with every dialect, the toy included."""
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    )
    async with (
        open_services(settings, dialects=ALL, run_workers=False) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("plus", ["+", "%20", "%2B"])
@pytest.mark.parametrize("dialect", WITH_QUERY, ids=lambda d: d.name)
async def test_a_plus_in_a_query_need_not_be_encoded(
    client: httpx.AsyncClient, dialect: Dialect, plus: str
) -> None:
    request = verify_request(dialect, dialect.sandbox_key, SAMPLE)
    query = "&".join(
        f"{name}={TAGGED.replace('+', plus) if value == SAMPLE else value}"
        for name, value in request.query.items()
    )
    reply = await client.request(
        request.method, f"/{dialect.name}{request.path}?{query}", headers=dict(request.headers)
    )
    assert reply.status_code == 200
    # NeverBounce does not repeat the address
    assert "+news" in reply.text or "contains_alias" in reply.text
    assert "john.smith news" not in reply.text


@pytest.mark.parametrize("plus", ["+", "%20", "%2B"])
async def test_a_plus_in_a_native_query_need_not_be_encoded(
    client: httpx.AsyncClient, plus: str
) -> None:
    reply = await client.get(
        f"/veriplex/v1/verify?email={TAGGED.replace('+', plus)}",
        headers={"Authorization": f"Bearer {DIALECTS[0].sandbox_key}"},
    )
    assert reply.json()["address"] == TAGGED
