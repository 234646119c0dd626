"""A key in the head of a request is judged before its large body is read."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import pytest

from adapters.contract.credential import (
    Credential,
    KeyInAuthorization,
    KeyInBody,
    KeyInHeader,
    KeyInQuery,
)
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import CHUNK_BYTES, WireRequest
from adapters.registry import DIALECTS
from gateway.web.bodies import (
    MAX_BYTES_IN_MEMORY,
    MAX_BYTES_OF_STRANGERS,
    BodyBudget,
    IncomingBody,
    incoming_body,
)

Connect = Callable[[], socket.socket]

SIZE = 20_000_000
BAD_KEY = "no-such-key-0123456789"


@dataclass(frozen=True)
class Upload:
    """A POST of a large body to one endpoint."""

    dialect: Dialect
    endpoint: AnyEndpoint

    @property
    def credential(self) -> Credential:
        return self.dialect.credential_for(self.endpoint)

    def request(self, key: str) -> WireRequest:
        """With the key at the first place in the head, if there is one."""
        place = next((p for p in self.credential.places if not isinstance(p, KeyInBody)), None)
        headers = {"host": "veriplex.test", "content-type": "application/json"}
        query = ""
        match place:
            case KeyInAuthorization():
                headers["authorization"] = f"{place.schemes[0]} {key}".strip()
            case KeyInHeader():
                headers[place.name] = key
            case KeyInQuery():
                query = urlencode({place.name: key})
        return WireRequest("POST", self.endpoint.path, query, headers)

    def head(self, key: str, **headers: str) -> bytes:
        """The request up to its body; an empty header is left out."""
        request = self.request(key)
        lines = [f"POST /{self.dialect.name}{request.path}?{request.query_string} HTTP/1.1"]
        all_headers = {**request.headers, "content_length": str(SIZE), **headers}
        lines += [f"{name.replace('_', '-')}: {text}" for name, text in all_headers.items() if text]
        return "\r\n".join([*lines, "", ""]).encode()

    def problem(self, kind: ProblemKind, **fields: Any) -> tuple[int, bytes]:
        reply = self.dialect.write_problem(
            self.request(BAD_KEY), Problem(kind, **fields), self.endpoint
        )
        return reply.status, reply.body


UPLOADS = [
    Upload(dialect, endpoint)
    for dialect in DIALECTS
    for endpoint in dialect.endpoints
    if endpoint.accepts_body_file and "POST" in endpoint.methods and "{" not in endpoint.path
]
DECIDED_BY_HEAD = [
    upload
    for upload in UPLOADS
    if not isinstance(upload.credential.places[0], KeyInBody)
    and upload.credential.is_decided_by_head(upload.request(BAD_KEY))
]
EMAILABLE = next(upload for upload in DECIDED_BY_HEAD if upload.dialect.name == "emailable")


def keys_in_body(upload: Upload) -> list[KeyInBody]:
    return [place for place in upload.credential.places if isinstance(place, KeyInBody)]


def name_of(upload: Upload) -> str:
    return f"{upload.dialect.name} {upload.endpoint.name}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a sandbox in a process of its own."""
    program = "from gateway.cli import main; main()"
    command = [sys.executable, "-c", program, "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("listening on "))
        yield line.split()[-1]
        process.terminate()


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    address = urlsplit(url)
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection((address.hostname, address.port), timeout=10))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def read_reply(connection: socket.socket) -> tuple[int, bytes, str | None]:
    """Status, body and `Connection` of the next reply."""
    reply = http.client.HTTPResponse(connection)
    reply.begin()
    return reply.status, reply.read(), reply.getheader("connection")


def test_most_dialects_take_uploads_with_a_key_in_the_head() -> None:
    assert {upload.dialect.name for upload in DECIDED_BY_HEAD} >= {
        "emailable", "validto", "generic", "dataoorts"
    }  # fmt: skip


@pytest.mark.parametrize("upload", DECIDED_BY_HEAD, ids=name_of)
def test_an_unknown_key_is_refused_before_the_body_is_sent(
    connect: Connect, upload: Upload
) -> None:
    connection = connect()
    connection.sendall(upload.head(BAD_KEY))
    status, body, closes = read_reply(connection)
    assert (status, body) == upload.problem(ProblemKind.BAD_CREDENTIAL)
    assert closes == "close"


@pytest.mark.parametrize("upload", DECIDED_BY_HEAD, ids=name_of)
def test_a_client_that_sends_all_before_it_reads_gets_the_reply(
    connect: Connect, upload: Upload
) -> None:
    connection = connect()
    connection.sendall(upload.head(BAD_KEY))
    for _ in range(SIZE // 10_000):
        connection.sendall(b" " * 10_000)
    status, body, _ = read_reply(connection)
    assert (status, body) == upload.problem(ProblemKind.BAD_CREDENTIAL)
    assert connection.recv(1) == b""


@pytest.mark.parametrize("headers", [{}, {"transfer_encoding": "chunked", "content_length": ""}])
def test_a_body_is_announced_by_its_length_or_as_chunked(
    connect: Connect, headers: dict[str, str]
) -> None:
    connection = connect()
    connection.sendall(EMAILABLE.head(BAD_KEY, **headers))
    status, body, _ = read_reply(connection)
    assert (status, body) == EMAILABLE.problem(ProblemKind.BAD_CREDENTIAL)


def test_100_continue_is_sent_only_to_a_client_with_a_key(
    connect: Connect,
) -> None:
    connection = connect()
    connection.sendall(EMAILABLE.head(BAD_KEY, expect="100-continue"))
    assert connection.recv(12) == b"HTTP/1.1 403"
    connection = connect()
    key = EMAILABLE.dialect.sandbox_key
    head = EMAILABLE.head(key, content_length="1000000", expect="100-continue")
    connection.sendall(head)
    assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_known_key_learns_that_the_body_is_too_large(connect: Connect) -> None:
    connection = connect()
    key = EMAILABLE.dialect.sandbox_key
    length = EMAILABLE.endpoint.body_limit + 1
    connection.sendall(EMAILABLE.head(key, content_length=str(length)))
    status, body, closes = read_reply(connection)
    limit = EMAILABLE.endpoint.body_limit
    assert (status, body) == EMAILABLE.problem(ProblemKind.TOO_LARGE, limit=limit)
    assert closes == "close"


def test_a_key_in_a_large_body_is_found(connect: Connect) -> None:
    key = EMAILABLE.dialect.sandbox_key
    emails = [f"user{n}@example.com" for n in range(20_000)]
    body = orjson.dumps({"emails": emails, "api_key": key})
    assert len(body) > MAX_BYTES_IN_MEMORY
    connection = connect()
    head = [
        "POST /emailable/v1/batch HTTP/1.1",
        "host: veriplex.test",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    status, _, closes = read_reply(connection)
    assert (status, closes) == (200, None)


def test_a_small_body_is_read_first(connect: Connect) -> None:
    # the connection stays open, and the sandbox's request log can show the body
    connection = connect()
    body = b'{"emails": ["a@example.com"]}'
    for _ in range(2):
        connection.sendall(EMAILABLE.head(BAD_KEY, content_length=str(len(body))) + body)
        status, _, closes = read_reply(connection)
        assert (status, closes) == (403, None)


@pytest.mark.parametrize(
    ("headers", "may_be_large"),
    [
        ({}, None),
        ({"content-length": "0"}, None),
        ({"content-length": str(MAX_BYTES_IN_MEMORY)}, False),
        ({"content-length": str(MAX_BYTES_IN_MEMORY + 1)}, True),
        ({"transfer-encoding": "chunked"}, True),
        ({"content-length": "\u00b2"}, None),
    ],
)
async def test_which_bodies_may_be_large(
    headers: dict[str, str], may_be_large: bool | None
) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError

    body = incoming_body(headers, receive, BodyBudget())
    assert (body and body.may_be_large) is may_be_large


# -- keys in large bodies ----------------------------------------------------------------

IN_BODY = [upload for upload in UPLOADS if keys_in_body(upload)]


@pytest.mark.parametrize("upload", IN_BODY, ids=name_of)
def test_a_bomb_with_an_unknown_key_is_refused_unparsed(connect: Connect, upload: Upload) -> None:
    name = keys_in_body(upload)[0].name
    bomb = b'{"%s":"%s","emails":[%s1]}' % (name.encode(), BAD_KEY.encode(), b"{}," * 3_000_000)
    status, body = post(connect(), upload, bomb)
    assert (status, body) == upload.problem(ProblemKind.BAD_CREDENTIAL)


@pytest.mark.parametrize("upload", IN_BODY, ids=name_of)
def test_a_bomb_without_a_key_is_refused_unparsed(connect: Connect, upload: Upload) -> None:
    status, body = post(connect(), upload, b'{"emails":[%s1]}' % (b"[]," * 3_000_000))
    assert (status, body) == upload.problem(ProblemKind.NO_CREDENTIAL)


BOMBS = {
    "objects": b'"emails":[%s1]' % (b"{}," * 3_000_000),
    "members": b",".join(b'"k%d" : 1' % number for number in range(400_000)),
}


@pytest.mark.parametrize("members", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("upload", IN_BODY, ids=name_of)
def test_a_bomb_with_a_good_key_is_unreadable(
    connect: Connect, upload: Upload, members: bytes
) -> None:
    name = keys_in_body(upload)[0].name
    key = upload.dialect.sandbox_key
    bomb = b'{"%s":"%s",%s}' % (name.encode(), key.encode(), members)
    status, body = post(connect(), upload, bomb)
    detail = "The body holds too many JSON values."
    assert (status, body) == upload.problem(ProblemKind.UNREADABLE, detail=detail)


@pytest.mark.parametrize("upload", IN_BODY, ids=name_of)
def test_a_good_key_is_found_wherever_it_stands(connect: Connect, upload: Upload) -> None:
    name, key = keys_in_body(upload)[0].name, upload.dialect.sandbox_key
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    for members in (f'"{name}": "{key}", "x": "{{}}"', f'"x": "{{}}", "{name}" :"{escaped}"'):
        for length in (CHUNK_BYTES * 8, *range(CHUNK_BYTES * 8 - 60, CHUNK_BYTES * 8, 7)):
            body = ("{" + members.format("y" * length) + "}").encode()
            status, refusal = post(connect(), upload, body)
            assert (status, refusal) != upload.problem(ProblemKind.BAD_CREDENTIAL)
            assert (status, refusal) != upload.problem(ProblemKind.NO_CREDENTIAL)


def post(connection: socket.socket, upload: Upload, body: bytes) -> tuple[int, bytes]:
    head = [
        f"POST /{upload.dialect.name}{upload.endpoint.path} HTTP/1.1",
        "host: veriplex.test",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    status, reply, _ = read_reply(connection)
    return status, reply


def bodies_of(budget: BodyBudget, size: int, *, pieces: int = 1) -> Callable[[], IncomingBody]:
    """Bodies of `size` bytes, or as many in each of their pieces."""

    def body() -> IncomingBody:
        left = pieces

        async def piece() -> dict[str, Any]:
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": b"x" * size, "more_body": left > 0}

        return IncomingBody(piece, size * pieces, budget)

    return body


async def read(body: IncomingBody, party: int | None) -> None:
    await body.read(max_bytes=1_000, spill_to_file=False, party=party)


async def test_bodies_of_strangers_have_a_limit() -> None:
    body = bodies_of(BodyBudget(total=1_000, strangers=400), 100)
    bodies = [body() for _ in range(4)]
    for one in bodies:
        await read(one, None)
    with pytest.raises(Problem) as refused:
        await read(body(), None)
    assert refused.value.kind is ProblemKind.UNAVAILABLE
    await read(body(), 1)
    bodies[0].close()
    bodies[0].close()
    await read(body(), None)


async def test_bodies_together_have_a_limit() -> None:
    body = bodies_of(BodyBudget(total=1_000, strangers=400), 100)
    bodies = [body() for _ in range(10)]
    for account, one in enumerate(bodies):
        await read(one, account)
    with pytest.raises(Problem) as refused:
        await read(body(), 10)
    assert refused.value.kind is ProblemKind.UNAVAILABLE
    bodies[0].close()
    bodies[0].close()
    await read(body(), 10)


async def test_one_account_leaves_room_for_the_bodies_of_others() -> None:
    body = bodies_of(BodyBudget(total=1_000, strangers=400, least_share=10), 10)
    flood = [body() for _ in range(100)]

    async def read_all() -> None:
        for one in flood:
            await read(one, 1)

    with pytest.raises(Problem) as refused:
        await read_all()
    assert refused.value.kind is ProblemKind.UNAVAILABLE
    for account in range(2, 32):
        await read(body(), account)
    for one in flood:
        one.close()
    await read(body(), 1)


async def test_the_only_body_of_an_account_may_be_larger_than_its_share() -> None:
    budget = BodyBudget(total=1_000, strangers=400, least_share=10)
    large = bodies_of(budget, 10, pieces=60)()
    await read(large, 1)
    small = bodies_of(budget, 10)
    with pytest.raises(Problem):
        await read(small(), 1)
    await read(small(), 2)
    large.close()
    await read(small(), 1)


def test_a_known_key_is_served_while_strangers_fill_their_part(connect: Connect) -> None:
    """Their uploads lack the last byte, and are held until the client is gone."""
    upload = max(IN_BODY, key=lambda each: each.endpoint.body_limit)
    count = -(-MAX_BYTES_OF_STRANGERS // upload.endpoint.body_limit)
    size = MAX_BYTES_OF_STRANGERS // count
    head = f"POST /{upload.dialect.name}{upload.endpoint.path} HTTP/1.1\r\nhost: veriplex.test\r\n"
    head += f"content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    for _ in range(count):
        connection = connect()
        connection.sendall(head.encode())
        for start in range(0, size - 1, 100_000):
            connection.sendall(b" " * min(100_000, size - 1 - start))
    # until all is received, what has no key has room
    assert any(post(connect(), EMAILABLE, b'{"a":"ada@example.com"}')[0] == 503 for _ in range(999))
    body = b'{"emails":["ada@example.com"]}'
    connection = connect()
    key = EMAILABLE.dialect.sandbox_key
    connection.sendall(EMAILABLE.head(key, content_length=str(len(body))) + body)
    assert read_reply(connection)[0] == 200
