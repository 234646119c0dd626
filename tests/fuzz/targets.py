"""What is fuzzed: one function for each parser of foreign bytes.

A target takes any bytes and returns nothing. It lets pass what the parser declares to raise, and
asserts what must hold of the result; any other exception is a finding. Where a parser needs to
know more than the bytes, such as the dialect of a request, the first line says it; a first line
that says nothing known makes the input meaningless, and the target returns.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any
from urllib.parse import urlencode

import uvicorn
from uvicorn.server import ServerState

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.operations import SubmitJob
from adapters.contract.problems import Problem
from adapters.contract.upstream import (
    Call,
    Fault,
    Pending,
    UpstreamQuery,
    UpstreamReply,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage
from adapters.contract.wire import UnreadableRequest, WireRequest
from adapters.kit.csv import NotCsv, find_email_column, read_lines, read_table
from engine.address import people
from engine.address.offline import offline_evidence
from engine.address.syntax import MAX_PARSED_CHARACTERS, parse_address
from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.terms import DnsFormatError, DnsQuestion, ParsedResponse, RecordType
from engine.model import Checks, Stage
from engine.smtp.pipe import MAX_REPLY_OCTETS, PipeBroken, ReplyPipe
from engine.smtp.reply import classify_reply
from engine.smtp.terms import MAX_REPLY_CHARACTERS
from engine.verification import verification_from_verdict
from gateway.cli.lists import read_list
from gateway.cli.terminal import CommandError
from gateway.doctor.spf import _parse_term, _PermanentError
from gateway.observability.redaction import SecretList
from gateway.sandbox.redact import redact_keys
from gateway.verdicts.codec import decode_verification, encode_verification
from gateway.web.edge import Edge, EdgeProtocol
from gateway.web.routing import VendorPath, VendorRoutes
from tests.dialects import ALL, BY_NAME, endpoint_of
from tests.fuzz.outcome_targets import delivery_reports, mailboxes, outcomes

MAX_ROW_BYTES = 4_000
"""Of a verdict in the database, whatever a vendor said."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, and the largest input that it may get."""

    run: Callable[[bytes], None]
    max_bytes: int
    limit_s: float = 0.5
    """Of CPU, for 64 kB or what it may get if that is less."""


# -- mail servers --------------------------------------------------------------------------


class _NoTransport(asyncio.Transport):
    """Takes what is written and drops it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def _pieces(data: bytes) -> Iterator[bytes]:
    """The data in pieces of sizes that follow from it."""
    at = 0
    while at < len(data):
        size = 1 + (data[at] * 37) % 1500
        yield data[at : at + size]
        at += size


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def smtp_replies(data: bytes) -> None:
    """What a mail server sends: replies, and what they mean."""
    _loop().run_until_complete(_read_replies(data))


async def _read_replies(data: bytes) -> None:
    pipe = ReplyPipe()
    pipe.attach(_NoTransport())
    for piece in _pieces(data):
        pipe.data_received(piece)
    pipe.connection_lost(None)
    octets = 0
    try:
        while True:
            reply = await pipe.read_reply(1.0)
            assert 200 <= reply.code <= 599
            assert len(reply.text) <= MAX_REPLY_CHARACTERS
            octets += len(reply.text)
            for stage in (Stage.BANNER, Stage.RCPT):
                found = classify_reply(stage, reply.code, reply.text)
                assert found.retry_after_s is None or 0 <= found.retry_after_s <= 86_400
    except PipeBroken:
        assert octets <= len(data) + MAX_REPLY_OCTETS


# -- DNS -----------------------------------------------------------------------------------


def dns_responses(data: bytes) -> None:
    """A datagram or a message over TCP, as the response to each kind of question for its name."""
    message_id = int.from_bytes(data[:2], "big")
    for name in (b"\4mail\4test\0", b"\1a\4test\0"):
        for record_type in RecordType:
            question = DnsQuestion(name, record_type)
            plain = dns_wire.parse_response(data, question)
            message = dns_reference.parse_message(data, question, message_id)
            parsed = _interpreted(message, question)
            if plain is None:
                continue
            # The fast parser reads a message only as dnspython does.
            assert parsed is not None
            assert (plain.status, set(plain.records)) == (parsed.status, set(parsed.records))


def _interpreted(message: Any, question: DnsQuestion) -> ParsedResponse | None:
    if message is None:
        return None
    try:
        return dns_reference.interpret(message, question)
    except DnsFormatError:
        return None


def spf_records(data: bytes) -> None:
    """The terms of an SPF record of a stranger."""
    for term in data.decode("ascii", "replace").split(" "):
        try:
            _parse_term(term)
        except _PermanentError:
            continue


# -- addresses -----------------------------------------------------------------------------


def addresses(data: bytes) -> None:
    try:
        text = data.decode("utf-8", "surrogatepass")  # JSON may name half of a character
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    address = parse_address(text)
    assert not address.valid or len(address.raw) <= MAX_PARSED_CHARACTERS
    offline_evidence(address)
    people.guess_person(address.local)
    if address.valid:
        assert parse_address(address.normalized).normalized == address.normalized


# -- clients -------------------------------------------------------------------------------


async def _app(scope: Any, receive: Any, send: Any) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@cache
def _server_config() -> uvicorn.Config:
    config = uvicorn.Config(_app, log_config=None, lifespan="off", access_log=False)
    config.load()
    return config


def http_heads(data: bytes) -> None:
    """What a client sends on a connection, up to its end."""
    _loop().run_until_complete(_serve(data))


async def _serve(data: bytes) -> None:
    state = ServerState()
    edge = Edge()
    protocol = EdgeProtocol(
        config=_server_config(), server_state=state, app_state={}, edge=edge, _loop=_loop()
    )
    transport = _NoTransport()
    protocol.connection_made(transport)
    for piece in _pieces(data):
        protocol.data_received(piece)
    turns = 10 + 10 * data.count(b"HTTP/")
    while state.tasks and turns:
        turns -= 1
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.gather(*state.tasks, return_exceptions=True)
    assert not edge.idle
    assert not transport.written or transport.written.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in transport.written


@cache
def _routes() -> VendorRoutes:
    return VendorRoutes(ALL)


def _request(data: bytes) -> tuple[VendorPath, WireRequest] | None:
    """`METHOD dialect target`, header lines and a blank line before the body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    words = first.split(" ", 2)
    if len(words) != 3 or words[1] not in BY_NAME:
        return None
    path, _, query = words[2].partition("?")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    vendor_path = VendorPath(BY_NAME[words[1]], path)
    return vendor_path, WireRequest(words[0], path, query, headers, body)


def requests(data: bytes) -> None:
    """A request in each dialect: where its key is, and what it asks."""
    found = _request(data)
    if found is None:
        return
    vendor_path, request = found
    endpoint, params, _ = _routes().find_endpoint(vendor_path, request.method)
    if endpoint is None:
        return
    small = WireRequest(**{**_fields_of(request), "path_params": params})
    in_file = WireRequest(
        **{
            **_fields_of(request),
            "path_params": params,
            "body": b"",
            "body_file": io.BytesIO(request.body),
        }
    )
    results = [_read(vendor_path, endpoint, small)]
    if endpoint.accepts_body_file:
        results.append(_read(vendor_path, endpoint, in_file))
        assert (results[0] is None) == (results[1] is None), "a body in a file is read otherwise"


def _fields_of(request: WireRequest) -> dict[str, Any]:
    names = ("method", "path", "query_string", "headers", "body")
    return {name: getattr(request, name) for name in names}


def _read(vendor_path: VendorPath, endpoint: Any, request: WireRequest) -> list[Any] | None:
    """The entries that a request has; None if it cannot be read."""
    try:
        vendor_path.dialect.credential_for(endpoint).read(request)
        op = endpoint.read(request)
        return list(op.entries) if isinstance(op, SubmitJob) else []
    except (Problem, UnreadableRequest):
        return None


def multipart(data: bytes) -> None:
    """A body whose first line is its content type."""
    content_type, _, body = data.partition(b"\n")
    headers = {"content-type": content_type.decode("latin-1")}
    request = WireRequest("POST", "/", headers=headers, body=body)
    try:
        parts = request.parts
        # A dialect reads one part again, from the beginning of the body.
        assert all(part.size == len(part.content) for part in parts[-2:])
    except UnreadableRequest:
        return
    assert sum(part.size for part in parts) <= len(body)


def forms(data: bytes) -> None:
    """A query string or a form."""
    text = data.decode("utf-8", "replace")
    try:
        assert WireRequest("GET", "/", text).query is not None
        assert WireRequest("POST", "/", body=data).fields is not None
    except UnreadableRequest:
        return


def csv_files(data: bytes) -> None:
    """A table that a client uploads."""
    try:
        lines = read_lines(iter(_pieces(data)))
        table = read_table(lines, max_cells=100, max_cell_characters=1_000)
        column = find_email_column(table.headers, table.sample)
        assert column is None or column < table.width
        for row in table.rows:
            assert len(row) <= 100
    except NotCsv:
        return


def list_files(data: bytes) -> None:
    """A file that is given to `veriplex bulk`; its first line is its name."""
    name, _, content = data.partition(b"\n")
    try:
        found = read_list(name.decode("utf-8", "replace"), lambda: _pieces(content))
        for entry in found.entries:
            assert not found.headers or len(entry.cells) == len(found.headers)
    except CommandError:
        return


def logged_requests(data: bytes) -> None:
    """The body of a request in the sandbox's log, without keys."""
    text = data.decode("utf-8", "replace")
    redact_keys(text, "test_credential-0123456789")
    secret = "live_0123456789abcdef"
    clean = SecretList([secret]).redact_bytes(data)
    assert secret.encode() not in clean


# -- vendors -------------------------------------------------------------------------------

_CHECKS = Checks()
_ADDRESSES = tuple(parse_address(f"{name}@example.com") for name in ("a", "b", "john.smith"))
_QUERY = UpstreamQuery(_ADDRESSES[0])
_JOB, _PAGE = JobQuery("7", _CHECKS), JobQuery("7", _CHECKS, "2")


def _calls_of(dialect: str) -> Mapping[str, Callable[[UpstreamReply], Any]]:
    """By name, what reads a reply of the vendor."""
    calls: dict[str, Callable[[UpstreamReply], Any]] = {}

    def add(name: str, call: Call[..., Any] | None, *args: Any) -> None:
        if call is not None:
            calls[name] = partial(_parse, call, args)

    upstream, jobs = BY_NAME[dialect].upstream, BY_NAME[dialect].vendor_jobs
    if upstream is not None:
        add("verify", upstream.verify, _QUERY)
        add("balance", upstream.balance)
    if jobs is not None:
        add("create", jobs.create, _ADDRESSES, _CHECKS)
        add("poll", jobs.poll, _JOB)
        add("page", jobs.page, _PAGE)
    return calls


def _parse(call: Call[..., Any], args: tuple[Any, ...], reply: UpstreamReply) -> Any:
    return call.parse(reply, *args)


_cached_calls = cache(_calls_of)


def vendor_replies(data: bytes) -> None:
    """`dialect call status`, and the body of the reply."""
    first, _, body = data.partition(b"\n")
    words = first.decode("latin-1").split(" ", 3)
    if len(words) < 3 or words[0] not in BY_NAME or not words[2].isdecimal():
        return
    parse = _cached_calls(words[0]).get(words[1])
    if parse is None:
        return
    headers = {"content-type": words[3] if len(words) > 3 else "application/json"}
    reply = UpstreamReply(int(words[2][:3]), headers, body, 1_780_000_000.0)
    found = parse(reply)
    assert isinstance(found, UpstreamResult | Pending | Fault | ResultPage | str | int)
    if isinstance(found, UpstreamResult):
        _write_everywhere(found)
    if isinstance(found, ResultPage):
        assert all(isinstance(address, str) for address, _ in found.rows)
        for _, row in found.rows[:3]:
            _write_everywhere(row)


def _write_everywhere(found: UpstreamResult) -> None:
    """A vendor's result goes into the database, and out in the form of every dialect."""
    verification = verification_from_verdict(
        _ADDRESSES[0],
        found.verdict,
        found.reason,
        found.evidence,
        _CHECKS,
        verified_at=found.verified_at or datetime(2026, 1, 1, tzinfo=UTC),
        source="vendor",
        source_score=None if found.score is None else min(max(found.score, 0), 100),
    )
    row = encode_verification(verification)
    assert len(row) < MAX_ROW_BYTES
    decoded = decode_verification(row, verification.address.raw, _CHECKS)
    assert (decoded.verdict, decoded.reason) == (found.verdict, found.reason)
    for endpoint, op in _verify_endpoints():
        assert endpoint.write(op, verification).status


@cache
def _verify_endpoints() -> tuple[tuple[AnyEndpoint, Any], ...]:
    """The endpoint that verifies one address in each dialect, and an operation."""
    found = []
    for dialect in ALL:
        if dialect.upstream is not None:
            sent = dialect.upstream.verify.build("key", _QUERY)
            request = WireRequest(
                sent.method, sent.path, urlencode(sent.query), sent.headers, sent.body
            )
            endpoint = endpoint_of(dialect, sent)
            found.append((endpoint, endpoint.read(request)))
    return tuple(found)


TARGETS: Mapping[str, Target] = {
    "smtp_replies": Target(smtp_replies, 64 * 1024),
    "dns_responses": Target(dns_responses, 64 * 1024, limit_s=5.0),
    "spf_records": Target(spf_records, 64 * 1024),
    "addresses": Target(addresses, 64 * 1024),
    "http_heads": Target(http_heads, 128 * 1024),
    "requests": Target(requests, 64 * 1024),
    "multipart": Target(multipart, 256 * 1024),
    "forms": Target(forms, 64 * 1024),
    "csv_files": Target(csv_files, 256 * 1024),
    "list_files": Target(list_files, 256 * 1024),
    "logged_requests": Target(logged_requests, 64 * 1024),
    "vendor_replies": Target(vendor_replies, 256 * 1024),
    "outcomes": Target(outcomes, 256 * 1024),
    "delivery_reports": Target(delivery_reports, 64 * 1024),
    "mailboxes": Target(mailboxes, 256 * 1024),
}
