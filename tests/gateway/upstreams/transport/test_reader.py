"""Replies as they arrive, byte by byte and at once, whole and broken."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.transport.reader import MAX_HEAD_BYTES, REPLY_TOO_LONG, BadReply, ReplyParser

MOST = 1000
GZIPPED = zlib.compressobj(wbits=31)
PACKED = GZIPPED.compress(b"hello" * 20) + GZIPPED.flush()
BOMB = zlib.compressobj(wbits=31)
BOMB_PACKED = BOMB.compress(b"\0" * 1_000_000) + BOMB.flush()


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode()


LENGTH = head("Content-Length: 5")
CHUNKED = head("Transfer-Encoding: chunked")
PACKED_HEAD = head("Content-Encoding: gzip", f"Content-Length: {len(PACKED)}")


def feed(reader: ReplyParser, pieces: list[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece)


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("data", "status", "body", "keep"),
    [
        (LENGTH + b"hello", 200, b"hello", True),
        (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", 200, b"hello", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: x\r\n\r\n", 200, b"hello", True),
        (PACKED_HEAD + PACKED, 200, b"hello" * 20, True),
        (head("Content-Encoding: gzip", "Content-Length: 0"), 200, b"", True),
        (head("Content-Encoding: br", "Content-Length: 2") + b"\0\1", 200, b"\0\1", True),
        (head(status="204 No Content"), 204, b"", True),
        (head("Content-Length: 0", status="249 Try Again"), 249, b"", True),
        (head("Content-Length: 5", "Connection: close") + b"hello", 200, b"hello", False),
        (head("Content-Length: 5", version="1.0") + b"hello", 200, b"hello", False),
        (head(status="100 Continue") + LENGTH + b"hello", 200, b"hello", True),
        (head("A: b", status="103 Early Hints") * 3 + LENGTH + b"hello", 200, b"hello", True),
        (head("Connection: upgrade", "Upgrade: h2", "Content-Length: 2") + b"hi", 200, b"hi", True),
        # more than was asked for
        (LENGTH + b"hello" + LENGTH, 200, b"hello", False),
        (LENGTH + b"hello\r\n\r\nworld", 200, b"hello", False),
        (head("Content-Length: 5", "Connection: close") + b"hello!", 200, b"hello", False),
    ],
)
def test_a_reply(data: bytes, step: int, status: int, body: bytes, keep: bool) -> None:
    reader = ReplyParser(MOST)
    feed(reader, [data[start : start + step] for start in range(0, len(data), step)])
    assert reader.complete
    assert (reader.status, reader.body) == (status, body)
    assert reader.keep_alive is keep


def test_headers_are_lower_case_and_the_last_of_a_name_counts() -> None:
    reader = ReplyParser(MOST)
    reader.feed(head("Retry-After: 1", "RETRY-AFTER: 2", "X: \N{SNOWMAN}", "Content-Length: 0"))
    assert reader.headers == {"retry-after": "2", "x": "\N{SNOWMAN}", "content-length": "0"}


def test_neither_early_hints_nor_trailers_are_the_replys_headers() -> None:
    reader = ReplyParser(MOST)
    reader.feed(head("Retry-After: 1", status="103 Early Hints"))
    reader.feed(CHUNKED + b"0\r\nRetry-After: 2\r\n\r\n")
    assert reader.complete
    assert reader.headers == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (head("A: b") + b"hello", True),
        (head("A: b"), True),
        (LENGTH + b"hell", False),
        (CHUNKED + b"5\r\nhello\r\n", False),
        (head("Transfer-Encoding: gzip") + b"hello", False),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", False),
        (head(status="100 Continue"), False),
        (b"", False),
    ],
)
def test_the_end_of_the_connection_ends_a_body_without_a_length_alone(
    data: bytes, complete: bool
) -> None:
    reader = ReplyParser(MOST)
    reader.feed(data)
    assert not reader.complete
    reader.feed_eof()
    assert reader.complete is complete
    assert not reader.keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"<html>maintenance</html>",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        head("Content-Length: 1", "Content-Length: 2"),
        head("Content-Length: 1", "Transfer-Encoding: chunked"),
        head("Content-Length: -1"),
        head("Content Length: 1"),
        head("A: b\0"),
        CHUNKED + b"x\r\n",
        head("Upgrade: x", "Connection: upgrade", status="101 Switching Protocols"),
        head("Content-Encoding: gzip", "Content-Length: 5") + b"hello",
    ],
)
def test_no_http(data: bytes) -> None:
    with pytest.raises(BadReply):
        ReplyParser(MOST).feed(data)


@pytest.mark.parametrize(
    "pieces",
    [
        [head(f"Content-Length: {MOST + 1}"), b"x" * (MOST + 1)],
        [head("A: b"), *[b"x" * 100] * 11],
        [CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11],
        [head("Content-Encoding: gzip", f"Content-Length: {len(BOMB_PACKED)}"), BOMB_PACKED],
    ],
)
def test_a_body_that_is_too_long(pieces: list[bytes]) -> None:
    reader = ReplyParser(MOST)
    with pytest.raises(BadReply, match=REPLY_TOO_LONG):
        feed(reader, pieces)
    assert reader.status == 200


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"A: " + b"x" * 997 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x" * 1000),
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (b"", head(status="100 Continue")),
        (CHUNKED + b"1;", b"x" * 1000),
        (CHUNKED + b"0\r\nA: ", b"x" * 1000),
    ],
)
def test_whatever_else_is_too_long(start: bytes, more: bytes) -> None:
    reader = ReplyParser(MOST)
    reader.feed(start)
    with pytest.raises(BadReply, match=REPLY_TOO_LONG):
        feed(reader, [more] * (2 * MAX_HEAD_BYTES // len(more)))


def test_half_of_a_compressed_body() -> None:
    reader = ReplyParser(MOST)
    reader.feed(head("Content-Encoding: gzip", "Content-Length: 20") + PACKED[:20])
    assert reader.complete
    with pytest.raises(BadReply):
        _ = reader.body


@given(st.lists(st.binary(max_size=50)), st.sampled_from([b"", LENGTH, CHUNKED, PACKED_HEAD]))
def test_any_bytes_are_a_reply_or_none(pieces: list[bytes], start: bytes) -> None:
    reader = ReplyParser(MOST)
    try:
        feed(reader, [start, *pieces])
        reader.feed_eof()
        assert len(reader.body) <= MOST
    except BadReply:
        pass
