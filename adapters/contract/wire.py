"""HTTP as values: the request a dialect reads and the reply it writes.

Reading a body is pure, and raises `UnreadableRequest` if it is not in the format that it claims.
A large body is in a temporary file. It is read in chunks, and held in memory as a whole only if
it is JSON or a URL-encoded form.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, BinaryIO, TypeAlias

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from adapters.contract.forms import (
    MAX_FIELDS,
    MAX_FORM_FIELDS,
    FormValues,
    TooManyFields,
    form_values,
    parse_form,
)
from adapters.contract.jobs import JobRow
from adapters.contract.json_values import BYTE_ORDER_MARK, parse_json, without_nulls

CHUNK_BYTES = 64 * 1024
"""Bytes of a body file that are parsed at a time."""
READ_BYTES = 16 * CHUNK_BYTES
"""Bytes of a body file that are read at a time. A read releases the interpreter's lock and takes it
again before the event loop has woken, which then begins its wait for the lock anew; so there must
be longer than `sys.getswitchinterval()` between two reads."""

MAX_JSON_BRACKETS = 250_000
"""Objects and arrays in a large body: enough for 50,000 entries that are objects."""
MAX_JSON_COMMAS = 2_000_000
"""Values in a large body. A short value has two bytes in the body and about 60 when parsed: without
this limit, a body that is not too large could take a gigabyte of memory."""
MAX_JSON_MEMBERS = 300_000
"""Members of objects in a large body: six for each of 50,000 entries. An object of 600,000 members
takes 200 ms to parse, in which the interpreter does nothing else."""
_MEMBER = re.compile(rb'"\s*:')

JSON = "application/json"


class UnreadableRequest(ValueError):
    """The body or the query string cannot be decoded. The message is a sentence that says why."""


@dataclass(frozen=True)
class WireRequest:
    """One HTTP request, its path relative to the vendor's own root."""

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    """Empty if it is in `body_file`."""
    body_file: BinaryIO | None = None
    """A large body, seekable. Only an endpoint with `accepts_body_file` gets one."""
    client_ip: str = ""
    path_params: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def query(self) -> FormValues:
        """The query parameters; of a repeated one the last. Raises `UnreadableRequest`."""
        return _parse_form(self.query_string, MAX_FIELDS)

    @cached_property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty without the header."""
        return self.headers.get("content-type", "").split(";", 1)[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """The body from its start, in chunks that are not empty."""
        if self.body_file is None:
            if self.body:
                yield self.body
            return
        read = 0
        while True:
            self.body_file.seek(read)
            piece = self.body_file.read(READ_BYTES)
            if not piece:
                return
            read += len(piece)
            for start in range(0, len(piece), CHUNK_BYTES):
                yield piece[start : start + CHUNK_BYTES]

    @property
    def first_chunk(self) -> bytes:
        """The start of the body: at most `CHUNK_BYTES` of a body file, else the whole."""
        return next(self.chunks(), b"")

    @property
    def whole_body(self) -> bytes:
        """The body in memory, also of a body file. Callers drop it as soon as it is parsed."""
        return self.body if self.body_file is None else b"".join(self.chunks())

    @cached_property
    def json(self) -> Any:
        """The body as JSON, with any content type. Raises `UnreadableRequest`."""
        if self.body_file is not None:
            _check_json_size(self.chunks())
        try:
            return parse_json(self.whole_body)
        except ValueError as exc:
            raise UnreadableRequest(f"The body is not valid JSON: {exc}.") from exc

    @cached_property
    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, without members that are null: clients in Java, Go and C#
        write those for what they leave out. Raises `UnreadableRequest`.
        """
        if not isinstance(self.json, dict):
            raise UnreadableRequest("The body is not a JSON object.")
        return without_nulls(self.json)

    @cached_property
    def parts(self) -> tuple[MultipartPart, ...]:
        """The parts of a `multipart/form-data` body (RFC 7578). Raises `UnreadableRequest`."""
        return _parse_multipart(self.headers.get("content-type", ""), self.chunks)

    @property
    def is_json(self) -> bool:
        """Whether `fields` parses the body as JSON."""
        if self.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
            return False
        start = self.first_chunk.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
        return self.content_type == JSON or start in (b"{", b"[")

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The body's parameters: members of a JSON object, or fields of a form of either kind.

        Files are left out. JSON values keep their types; form values are texts. Without a known
        content type, a body that begins like JSON is JSON, and any other is a URL-encoded form.
        Raises `UnreadableRequest`.
        """
        if self.body_file is None and not self.body.strip():
            return {}
        if self.content_type == "multipart/form-data":
            return form_values(
                (part.name, part.text) for part in self.parts if part.filename is None
            )
        if self.is_json:
            return self.json_object
        text = self.whole_body.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
        return _parse_form(text, MAX_FORM_FIELDS)


@dataclass(frozen=True, slots=True)
class MultipartPart:
    """One part of a multipart body."""

    name: str
    filename: str | None
    size: int
    """Bytes."""
    chunks: Callable[[], Iterator[bytes]]
    """Yields the content from its start. That of a file is read from the body again each time."""

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks())

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class WireReply:
    """One HTTP reply."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StreamReply:
    """A reply with many rows, which are rendered while they are sent.

    Its body is `head`, the rendered rows with `separator` between them, and `tail`.
    """

    rows: AsyncIterator[JobRow]
    render: Callable[[JobRow], bytes]
    head: bytes = b""
    separator: bytes = b""
    tail: bytes = b""
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    zip_member: str = ""
    """If not empty, the body is sent as a ZIP archive that holds it as a file of this name."""


Reply: TypeAlias = WireReply | StreamReply


def is_csv(reply: Reply) -> bool:
    """Whether the body is a CSV file, or an archive of one."""
    if isinstance(reply, StreamReply) and reply.zip_member:
        return reply.zip_member.endswith(".csv")
    return reply.media_type.startswith("text/csv")


def json_reply(
    value: Any,
    status: int = 200,
    *,
    sort_keys: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> WireReply:
    """A JSON reply without blanks, its keys in the order given unless `sort_keys`."""
    option = orjson.OPT_SORT_KEYS if sort_keys else None
    return WireReply(status, orjson.dumps(value, option=option), JSON, headers)


def _check_json_size(chunks: Iterator[bytes]) -> None:
    """Raises `UnreadableRequest` for JSON that would take too much memory or time to parse."""
    brackets = commas = members = 0
    for chunk in chunks:
        brackets += chunk.count(b"{") + chunk.count(b"[")
        commas += chunk.count(b",")
        members += len(_MEMBER.findall(chunk))
        if brackets > MAX_JSON_BRACKETS or commas > MAX_JSON_COMMAS or members > MAX_JSON_MEMBERS:
            raise UnreadableRequest("The body holds too many JSON values.")


def _parse_form(text: str, max_fields: int) -> FormValues:
    try:
        return parse_form(text, max_fields)
    except TooManyFields as exc:
        raise UnreadableRequest(str(exc)) from exc


def _parse_multipart(
    content_type: str, read_chunks: Callable[[], Iterator[bytes]]
) -> tuple[MultipartPart, ...]:
    """The parts by RFC 7578. The content of files is skipped; fields are held in memory, within the
    limit of the body."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise UnreadableRequest("The multipart body names no boundary.")
    reader = _PartReader(lambda number: _part_chunks(boundary, read_chunks(), number))
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        for chunk in read_chunks():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as exc:
        raise UnreadableRequest("The multipart body is broken.") from exc
    return tuple(reader.parts)


def _part_chunks(boundary: bytes, body: Iterator[bytes], number: int) -> Iterator[bytes]:
    """The content of one part of a body that is known to be well-formed."""
    begun = 0
    found: list[bytes] = []

    def begin() -> None:
        nonlocal begun
        begun += 1

    def data(data: bytes, start: int, end: int) -> None:
        if begun == number + 1:
            found.append(data[start:end])

    parser = MultipartParser(boundary, {"on_part_begin": begin, "on_part_data": data})
    for chunk in body:
        parser.write(chunk)
        yield from found
        found.clear()
        if begun > number + 1:
            return


class _PartReader:
    """Makes parts of the multipart tokenizer's callbacks."""

    def __init__(self, read_content: Callable[[int], Iterator[bytes]]) -> None:
        """`read_content` yields the content of the part with a number, from 0."""
        self.parts: list[MultipartPart] = []
        self._read_content = read_content
        self._headers: dict[bytes, bytes] = {}
        self._options: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._content: list[bytes] = []
        self._size = 0

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MAX_FORM_FIELDS:
            raise UnreadableRequest(f"More than {MAX_FORM_FIELDS} parts.")
        self._headers, self._options, self._content, self._size = {}, {}, [], 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, self._options = parse_options_header(disposition)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if b"filename" not in self._options:
            self._content.append(data[start:end])

    def _end(self) -> None:
        name = self._options.get(b"name", b"").decode("utf-8", "replace")
        filename = self._options.get(b"filename")
        if filename is None:
            content = (b"".join(self._content),)
            self.parts.append(MultipartPart(name, None, self._size, lambda: iter(content)))
            return
        self.parts.append(
            MultipartPart(
                name,
                filename.decode("utf-8", "replace"),
                self._size,
                partial(self._read_content, len(self.parts)),
            )
        )
