"""Good requests with one thing wrong: by each dialect's prefix, its host names and at the root.

The requests are those of the fixtures, and the changes follow from a seed: a failure names both,
and can be repeated. Every reply has the form of the dialect that the path belongs to.
"""

import logging
from collections.abc import AsyncIterator, Callable, MutableMapping
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import httpx
import orjson
import pytest

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import Application, create_app
from gateway.web.routing import VendorRoutes, fold_slashes
from tests.dialects import BY_NAME, FACTS
from tests.fuzz.mutations import mutate
from tests.gateway.web.test_bad_input import ADDRESSES, METHODS, TYPES, Answers, check
from tests.test_compat_fixtures import fill, multiplied, part
from tests.test_request_forms import GOOD

REQUESTS_EACH = 300
ROUTES = VendorRoutes(DIALECTS)


class Sent(NamedTuple):
    """A request as it goes over the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    host: str = "veriplex.test"

    @property
    def content_type(self) -> str:
        found = (v for name, v in self.headers.items() if name.lower() == "content-type")
        return next(found, "")


def good_requests(dialect: Dialect, known: dict[str, str]) -> list[Sent]:
    """One for each way in which the fixtures call an endpoint."""
    found: dict[tuple[str, frozenset[str]], Sent] = {}
    for _, (name, endpoint), spec in GOOD:
        if name != dialect.name:
            continue
        asked = fill(spec["request"], known)
        form = frozenset(asked.keys() & {"json", "form", "multipart", "body"})
        found.setdefault((endpoint, form), sent_as(asked))
    return list(found.values())


def sent_as(asked: dict[str, Any]) -> Sent:
    body: dict[str, Any] = {}
    if "json" in asked:
        body["content"] = orjson.dumps(multiplied(asked["json"]))
    elif "form" in asked:
        body["data"] = asked["form"]
    elif "multipart" in asked:
        body["files"] = {name: part(value) for name, value in asked["multipart"].items()}
    elif "body" in asked:
        body["content"] = asked["body"].encode()
    request = httpx.Request(
        asked["method"], f"http://veriplex.test{asked['url']}", headers=asked.get("headers"), **body
    )
    request.read()
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in ("host", "content-length", "transfer-encoding")
    }
    if "json" in asked:
        headers.setdefault("content-type", "application/json")
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return Sent(asked["method"], path, query, headers, request.content)


# -- what can be wrong ---------------------------------------------------------------------


def another_method(sent: Sent, random: Random) -> Sent:
    return sent._replace(method=random.choice(METHODS))


def another_path(sent: Sent, random: Random) -> Sent:
    segments = sent.path.split("/")
    at = random.randrange(1, len(segments))
    own = segments[at]
    odd = [
        *("", ".", "..", "%2e%2e", "%00", "%2F", "%ff", "é", "null", "*", "{job_id}"),
        *("0", "-1", "1" * 40, "\uff11\uff17", "x" * 3_000),
        *(own.upper(), f"{own};a=b", f"{own}%20", f"{own}.json"),
    ]
    change = random.randrange(4)
    if change == 0:
        segments.insert(at, random.choice(odd))
    elif change == 1:
        segments[at] = random.choice(odd)
    elif change == 2:
        segments.append(random.choice(odd))
    else:
        del segments[at]
    return sent._replace(path=quote("/".join(segments) or "/", safe="/%;*{}"))


def another_query(sent: Sent, random: Random) -> Sent:
    fields = sent.query.split("&") if sent.query else []
    name = random.choice(fields).partition("=")[0] if fields else random.choice(("email", "id"))
    address = quote(random.choice(ADDRESSES)[:2_000])
    odd = [
        *("", "=", "&&&", "%", "%zz", "%00", "a=b#c", "?a=b"),
        "&".join(f"p{i}=" for i in range(1_500)),
        *(name, f"{name}=", f"{name}[]=a", f"{name.upper()}=x", f"{name}=1;{name}=2"),
        *(f"{name}={value}" for value in ("null", "%ff%fe", "-1", "1e999", "9" * 40, "%F0%9F")),
        f"{name}={address}",
    ]
    change = random.randrange(3)
    if change == 0 and fields:
        del fields[random.randrange(len(fields))]
    elif change == 1 and fields:
        fields[random.randrange(len(fields))] = random.choice(odd)
    else:
        fields.insert(random.randint(0, len(fields)), random.choice(odd))
    return sent._replace(query="&".join(fields))


def keys_of_others(sent: Sent, random: Random) -> Sent:
    """The key where another vendor's clients have it, alone or besides the right place."""
    name = random.choice(("apikey", "api_key", "apiKey", "key", "token", "secret"))
    value = random.choice(("", "x", "null", random.choice(DIALECTS).sandbox_key))
    query = "&".join(filter(None, (sent.query, f"{name}={value}")))
    header = random.choice(("authorization", "x-api-key", "x-reacher-secret"))
    scheme = random.choice(("", "Bearer ", "token ", "Basic ", "bearer"))
    return sent._replace(query=query, headers={**sent.headers, header: f"{scheme}{value}".strip()})


def another_content_type(sent: Sent, random: Random) -> Sent:
    kind = random.choice(TYPES)
    headers = {k: v for k, v in sent.headers.items() if k.lower() != "content-type"}
    return sent._replace(headers=headers if kind is None else {**headers, "content-type": kind})


def another_header(sent: Sent, random: Random) -> Sent:
    name, value = random.choice((
        ("content-encoding", "gzip"), ("content-encoding", "x"), ("accept", "text/html"),
        ("accept", "image/png"), ("content-length", "0"), ("transfer-encoding", "chunked"),
        ("expect", "100-continue"), ("range", "bytes=5-1"), ("if-none-match", "*"),
        ("origin", "null"), ("x-http-method-override", "DELETE"), ("content-type", ";;;="),
        ("x-kickbox-callback", "http://["), ("x-kickbox-filename", "\xff\xfe"),
        ("cookie", "a=b"), ("forwarded", "for=x"), ("x-forwarded-for", ",,"),
        ("accept-encoding", "gzip;q=x"),
    ))  # fmt: skip
    return sent._replace(headers={**sent.headers, name: value})


def another_body(sent: Sent, random: Random) -> Sent:
    odd = (b"", b"{", b"null", b"[]", b"\x00", b"\xff\xfe", b"--x--", b"[[[[", b"1e999", b'{"":0}')
    body = mutate(sent.body, random) if sent.body else random.choice(odd)
    return sent._replace(body=body, method=random.choice((sent.method, sent.method, "POST")))


CHANGES: tuple[Callable[[Sent, Random], Sent], ...] = (
    another_method,
    another_path,
    another_query,
    keys_of_others,
    another_content_type,
    another_header,
    another_body,
)


def malformed(good: list[Sent], random: Random, dialect: Dialect) -> Sent:
    """A good request with one or two changes, to the prefix, a host name or the root."""
    sent = random.choice(good)
    for change in random.sample(CHANGES, random.choice((1, 1, 2))):
        sent = change(sent, random)
    place = random.randrange(3)
    if place == 0:
        prefix = random.choice((dialect.name, *dialect.aliases))
        return sent._replace(path=f"/{prefix}{sent.path}")
    if place == 1:
        host = random.choice(dialect.hosts)
        return sent._replace(host=random.choice((host, host.upper(), f"{host}:8025", f"{host}.")))
    return sent


# -- the server ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def app(anyio_backend: str) -> AsyncIterator[Application]:
    settings = {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    async with open_services(Settings.model_validate(settings), verifier=Answers()) as services:
        yield create_app(services)


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
async def test_a_malformed_request_gets_the_dialects_own_reply(
    app: Application, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    dialect = BY_NAME[name]
    known = {"key": dialect.sandbox_key, "test_key": dialect.sandbox_key, "job_id": "1000001"}
    known |= {"token": "t" * 32, "base_url": f"http://veriplex.test/{name}", "link": "/v2/x"}
    good, refused = good_requests(dialect, known), 0
    for seed in range(REQUESTS_EACH):
        random = Random(seed)
        sent = malformed(good, random, dialect)
        reply = await answer(app, sent)
        failed = [record for record in caplog.records if record.message == "request.failed"]
        assert not failed, (seed, sent, reply.text[:300])
        owner = owner_of(sent)
        if owner is None:  # at the root, a path of no vendor
            assert reply.status_code < 500, (seed, sent, reply.text[:300])
        elif reply.status_code != 204:
            check(owner, reply, (seed, sent))
            refused += is_refusal(owner, reply)
    assert refused > REQUESTS_EACH / 3, "most changes do not make a request bad"


def is_refusal(dialect: Dialect, reply: httpx.Response) -> bool:
    """By the status, or by the body: NeverBounce's errors have the status 200."""
    if reply.status_code >= 400:
        return True
    is_json = reply.headers.get("content-type", "").startswith("application/json")
    return is_json and FACTS[dialect.name].is_error_body(orjson.loads(reply.content or b"null"))


async def answer(app: Application, sent: Sent) -> httpx.Response:
    """The reply, without a client that would mend the request."""
    headers = [(b"host", sent.host.encode())]
    headers += [(n.lower().encode(), v.encode("latin-1")) for n, v in sent.headers.items()]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": unquote(sent.path),
        "raw_path": sent.path.encode(),
        "query_string": sent.query.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8025),
    }
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start, *parts = messages
    return httpx.Response(
        start["status"],
        headers=start["headers"],
        content=b"".join(part.get("body", b"") for part in parts),
        request=httpx.Request(sent.method, "http://veriplex.test/"),
    )


def owner_of(sent: Sent) -> Dialect | None:
    """The dialect that answers; a request to a host name or a prefix belongs to it in any case."""
    path = fold_slashes(unquote(sent.path))
    host = sent.host.lower().partition(":")[0].rstrip(".")
    addressed = [
        d for d in DIALECTS if host in d.hosts or path.split("/")[1] in (d.name, *d.aliases)
    ]
    if addressed:
        return addressed[0]
    headers = [(b"content-type", sent.content_type.encode())] if sent.content_type else []
    found = ROUTES.match(sent.host, path, sent.query, method=sent.method, headers=headers)
    return found.dialect if found is not None else None
