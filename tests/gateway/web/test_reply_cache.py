"""A reply is written once for each request and outcome object."""

from __future__ import annotations

from collections.abc import AsyncIterator

from adapters.contract.jobs import JobRow
from adapters.contract.operations import Acknowledge, Verify
from adapters.contract.wire import StreamReply, WireReply, WireRequest
from adapters.emailable import DIALECT
from gateway.web.reply_cache import (
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    ReplyCache,
    RequestKey,
)

ENDPOINT = next(e for e in DIALECT.endpoints if e.name == "verify")
OP = Verify(email="ada@example.org")


def request(query: str = "email=ada@example.org", body: bytes = b"") -> WireRequest:
    return WireRequest("GET", "/v1/verify", query, body=body)


def key(cache: ReplyCache, query: str, *, is_sample: bool = False) -> RequestKey:
    found = cache.key("emailable", ENDPOINT, request(query), is_sample=is_sample)
    assert found is not None
    return found


class Writer:
    """Counts how often a reply was written."""

    def __init__(self, body: bytes = b"{}") -> None:
        self.body = body
        self.calls = 0

    def __call__(self) -> WireReply:
        self.calls += 1
        return WireReply(200, self.body)


def test_the_same_request_and_outcome_object_have_the_same_reply() -> None:
    cache, write, outcome = ReplyCache(), Writer(), object()
    first = cache.reply_for(key(cache, "a"), OP, outcome, write)
    assert cache.reply_for(key(cache, "a"), OP, outcome, write) is first
    assert write.calls == 1
    found = cache.find(key(cache, "a"))
    assert found is not None
    assert found.op is OP


def test_another_request_or_outcome_has_a_reply_of_its_own() -> None:
    cache, write, outcome = ReplyCache(), Writer(), [1]
    cache.reply_for(key(cache, "a"), OP, outcome, write)
    cache.reply_for(key(cache, "b"), OP, outcome, write)
    cache.reply_for(key(cache, "a"), OP, [1], write)
    assert write.calls == 3
    assert len(cache) == 2


def test_samples_and_live_answers_have_different_keys() -> None:
    cache = ReplyCache()
    assert key(cache, "a", is_sample=True) != key(cache, "a", is_sample=False)


def test_requests_differ_by_everything_that_is_read_from_them() -> None:
    cache = ReplyCache()
    requests = [
        WireRequest("GET", "/v1/verify"),
        WireRequest("POST", "/v1/verify"),
        WireRequest("GET", "/v1/other"),
        WireRequest("GET", "/v1/verify", "a=1"),
        WireRequest("GET", "/v1/verify", body=b"a=1"),
        WireRequest("GET", "/v1/verify", headers={"content-type": "application/json"}),
    ]
    keys = {cache.key("emailable", ENDPOINT, r, is_sample=False) for r in requests}
    keys.add(cache.key("validto", ENDPOINT, requests[0], is_sample=False))
    assert len(keys) == len(requests) + 1


def test_a_large_request_is_not_kept() -> None:
    cache, write = ReplyCache(), Writer()
    large = request("a" * MAX_REQUEST_BYTES, b"b")
    assert cache.key("emailable", ENDPOINT, large, is_sample=False) is None
    cache.reply_for(None, OP, None, write)
    cache.reply_for(None, OP, None, write)
    assert write.calls == 2
    assert cache.find(None) is None


async def no_rows() -> AsyncIterator[JobRow]:
    return
    yield


def render(_: JobRow) -> bytes:
    raise AssertionError("There is no row.")


def test_a_large_or_streamed_reply_is_not_kept() -> None:
    cache = ReplyCache()
    cache.reply_for(key(cache, "a"), OP, None, Writer(b"a" * (MAX_REPLY_BYTES + 1)))
    cache.reply_for(key(cache, "a"), OP, None, lambda: StreamReply(no_rows(), render))
    assert len(cache) == 0


def test_only_verifications_are_kept() -> None:
    cache = ReplyCache()
    cache.reply_for(key(cache, "a"), Acknowledge(), None, Writer())
    assert len(cache) == 0


def test_the_oldest_go_when_there_are_too_many() -> None:
    cache, write = ReplyCache(), Writer()
    for number in range(MAX_ENTRIES + 1):
        cache.reply_for(key(cache, str(number)), OP, None, write)
    assert len(cache) <= MAX_ENTRIES
    assert cache.find(key(cache, "0")) is None
    assert cache.find(key(cache, str(MAX_ENTRIES))) is not None


def test_the_oldest_go_when_they_are_too_large_together() -> None:
    cache, write = ReplyCache(), Writer(b"a" * MAX_REPLY_BYTES)
    most = MAX_BYTES // MAX_REPLY_BYTES
    for number in range(most):
        cache.reply_for(key(cache, str(number)), OP, None, write)
    assert cache.find(key(cache, "0")) is None
    assert cache.find(key(cache, str(most - 1))) is not None
    assert len(cache) * MAX_REPLY_BYTES <= MAX_BYTES
