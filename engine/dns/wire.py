"""A fast encoder of DNS queries and parser of plain DNS responses. Pure.

A message (RFC 1035 section 4.1) is a header of six 16-bit numbers, the question, and three
sections of records. A name may end in a pointer to an earlier place that holds the rest of it
(section 4.1.4). A response that is unusual in any way, valid or not, is left to dnspython
(`engine.dns.reference`), which is the reference for the result as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from struct import Struct
from struct import error as StructError

import dns.ipv6

from engine.dns.terms import (
    EDNS_PAYLOAD,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    DnsQuestion,
    LookupStatus,
    ParsedResponse,
    RecordType,
)

# RFC 1035 section 3.2.2; AAAA: RFC 3596; OPT: RFC 6891.
_A, _NS, _CNAME, _SOA, _PTR, _MX, _TXT, _AAAA, _OPT = 1, 2, 5, 6, 12, 15, 16, 28, 41
_TYPES: Mapping[RecordType, int] = {
    RecordType.A: _A,
    RecordType.AAAA: _AAAA,
    RecordType.MX: _MX,
    RecordType.TXT: _TXT,
    RecordType.PTR: _PTR,
}  # fmt: skip
_CLASS_IN = 1

_HEADER = Struct("!HHHHHH")
"""Id, flags, and the number of questions and of answer, authority and additional records."""
_QUESTION = Struct("!HH")
"""Type and class, after the name of a question."""
_RECORD = Struct("!HHIH")
"""Type, class, TTL and length of the data, after the name of a record."""
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_PLAIN_FLAGS = 0xFA00
"""QR, the opcode and TC (section 4.1.1), of which only QR is set in a plain response."""
_NOERROR, _NXDOMAIN = 0, 3
_EDNS = b"\0" + _RECORD.pack(_OPT, EDNS_PAYLOAD, 0, 0)
"""RFC 6891 section 6.1.2: an OPT record of the root; its class is the size that we accept."""

_POINTER = 0xC0
MAX_LABEL, MAX_NAME = 63, 255
"""Octets; a name includes its length octets (section 2.3.4)."""
MAX_POINTERS = 16
"""Pointers in one name: the limit of dnspython."""
MAX_ALIASES = 8
"""CNAME records followed in one response; dnspython follows more."""
_MAX_TTL = 0x7FFF_FFFF
"""Seconds. RFC 2181 section 8: a larger TTL counts as 0."""

_PLAIN_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_PLAIN_LABEL = re.compile(rb"[A-Za-z0-9_-]+")


class _Unsupported(Exception):
    """The message is left to dnspython."""


def encode_name(name: str) -> bytes | None:
    """A plain name, in lower case and without its final dot, in wire format; None for others."""
    if len(name) > MAX_NAME - 2 or not _PLAIN_NAME.fullmatch(name):
        return None
    labels = name.encode("ascii").split(b".")
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def encode_query(question: DnsQuestion, message_id: int, *, edns: bool = True) -> bytes:
    """The message that asks `question`, with EDNS (RFC 6891) by default."""
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, int(edns))
    body = question.name + _QUESTION.pack(_TYPES[question.record_type], _CLASS_IN)
    return header + body + _EDNS if edns else header + body


def parse_response(wire: bytes, question: DnsQuestion) -> ParsedResponse | None:
    """The answer in a plain response to `question`; None for any other message.

    Never raises. The caller compares the id of the message.
    """
    try:
        return _ResponseParser(wire, question).parse()
    except (_Unsupported, IndexError, StructError):
        return None


class _ResponseParser:
    """Parses one response, section by section."""

    def __init__(self, wire: bytes, question: DnsQuestion) -> None:
        self._wire = wire
        self._question = question
        self._type = _TYPES[question.record_type]
        self._read_data = _DATA_READERS[self._type]
        self._names: dict[int, tuple[bytes, int]] = {}
        """By the offset of a label: the name from that label on, and the pointers in it.

        A pointer refers to a prior name (section 4.1.4), and all prior names are here, so that
        there are no loops and no name is read twice.
        """
        self._records: dict[bytes, dict[bytes, str]] = {}
        """By owner and data, so that equal records count once."""
        self._ttls: dict[bytes, int] = {}
        """By owner; the lowest of its records counts (RFC 2181 section 5.2)."""
        self._aliases: dict[bytes, tuple[bytes, int]] = {}
        """By owner: the target and the TTL."""
        self._soa: tuple[bytes, int] | None = None
        """The owner, and the TTL of a negative answer (RFC 2308 section 5)."""
        self._has_opt = False

    def parse(self) -> ParsedResponse:
        wire, question = self._wire, self._question
        _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(wire)
        rcode = flags & 0x000F
        if (
            flags & _PLAIN_FLAGS != _RESPONSE
            or rcode not in (_NOERROR, _NXDOMAIN)
            or questions != 1
        ):
            raise _Unsupported
        name, at = self.read_name(_HEADER.size)
        if name.lower() != question.name or _QUESTION.unpack_from(wire, at) != (
            self._type,
            _CLASS_IN,
        ):
            raise _Unsupported
        at += _QUESTION.size
        at = self._read_section(at, answers, self._read_answer)
        at = self._read_section(at, authorities, self._read_authority)
        at = self._read_section(at, additionals, self._read_additional)
        if at != len(wire):
            raise _Unsupported
        return self._follow_aliases(is_nxdomain=rcode == _NXDOMAIN)

    def read_name(self, at: int) -> tuple[bytes, int]:
        """The name at the offset `at`, and the offset of its end."""
        wire = self._wire
        start = at
        labels: list[int] = []
        while size := wire[at]:
            if size > MAX_LABEL:
                break
            labels.append(at)
            at += 1 + size
        if not size:
            name, pointers = wire[start : at + 1], 0
            at += 1
        elif size >= _POINTER:
            rest = self._names.get((size - _POINTER) << 8 | wire[at + 1])
            if rest is None:
                raise _Unsupported
            name, pointers = wire[start:at] + rest[0], rest[1] + 1
            at += 2
        else:
            raise _Unsupported
        if len(name) > MAX_NAME or pointers > MAX_POINTERS:
            raise _Unsupported
        for label in labels:
            self._names[label] = name[label - start :], pointers
        return name, at

    # -- the sections --------------------------------------------------------------------

    def _read_section(
        self, at: int, count: int, read_record: Callable[[bytes, int, int, int, int], None]
    ) -> int:
        """Read `count` records from the offset `at` on; returns the offset of their end."""
        for _ in range(count):
            owner, at = self.read_name(at)
            type_, class_, ttl_s, size = _RECORD.unpack_from(self._wire, at)
            at += _RECORD.size
            end = at + size
            if end > len(self._wire) or (
                type_ != _OPT and (class_ != _CLASS_IN or ttl_s > _MAX_TTL)
            ):
                raise _Unsupported
            read_record(owner.lower(), type_, ttl_s, at, end)
            at = end
        return at

    def _read_answer(self, owner: bytes, type_: int, ttl_s: int, at: int, end: int) -> None:
        if type_ == self._type:
            key, text = self._read_data(self, at, end)
            self._records.setdefault(owner, {}).setdefault(key, text)
            self._ttls[owner] = min(ttl_s, self._ttls.get(owner, ttl_s))
        elif type_ == _CNAME and owner not in self._aliases:
            self._aliases[owner] = self._read_whole_name(at, end).lower(), ttl_s
        else:
            raise _Unsupported

    def _read_authority(self, owner: bytes, type_: int, ttl_s: int, at: int, end: int) -> None:
        if type_ == _SOA and self._soa is None:
            _, at = self.read_name(at)
            _, at = self.read_name(at)
            if at + 20 != end:  # five 32-bit numbers, the minimum last (section 3.3.13)
                raise _Unsupported
            minimum_s = int.from_bytes(self._wire[end - 4 : end], "big")
            self._soa = owner, min(ttl_s, minimum_s)
        elif type_ == _NS:
            self._read_whole_name(at, end)
        else:
            raise _Unsupported

    def _read_additional(self, owner: bytes, type_: int, ttl_s: int, at: int, end: int) -> None:
        size = end - at
        if type_ == _OPT and not (self._has_opt or size or len(owner) > 1 or ttl_s >> 24):
            self._has_opt = True  # The upper 8 bits of the response code, in its TTL, are 0.
        elif not (type_ == _A and size == 4) and not (type_ == _AAAA and size == 16):
            raise _Unsupported

    # -- the data of records: a key by which equal records are equal, and the text -----------

    def read_a(self, at: int, end: int) -> tuple[bytes, str]:
        data = self._wire[at:end]
        if len(data) != 4:
            raise _Unsupported
        return data, f"{data[0]}.{data[1]}.{data[2]}.{data[3]}"

    def read_aaaa(self, at: int, end: int) -> tuple[bytes, str]:
        data = self._wire[at:end]
        if len(data) != 16:
            raise _Unsupported
        return data, dns.ipv6.inet_ntoa(data)

    def read_mx(self, at: int, end: int) -> tuple[bytes, str]:
        preference = self._wire[at : at + 2]
        exchange = self._read_whole_name(at + 2, end)
        text = f"{int.from_bytes(preference, 'big')} {_name_text(exchange)}"
        return preference + exchange.lower(), text

    def read_ptr(self, at: int, end: int) -> tuple[bytes, str]:
        name = self._read_whole_name(at, end)
        return name.lower(), _name_text(name)

    def read_txt(self, at: int, end: int) -> tuple[bytes, str]:
        """Section 3.3.14: one or more strings, each after its length."""
        wire = self._wire
        strings: list[bytes] = []
        start = at
        while at < end:
            next_at = at + 1 + wire[at]
            strings.append(wire[at + 1 : next_at])
            at = next_at
        if at != end or not strings:
            raise _Unsupported
        return wire[start:end], b"".join(strings).decode("utf-8", "replace")

    def _read_whole_name(self, at: int, end: int) -> bytes:
        name, at = self.read_name(at)
        if at != end:
            raise _Unsupported
        return name

    # -- the answer ----------------------------------------------------------------------

    def _follow_aliases(self, *, is_nxdomain: bool) -> ParsedResponse:
        name, ttl_s = self._question.name, MAX_TTL_S
        for _ in range(MAX_ALIASES):
            records = self._records.get(name)
            if records is not None:
                if is_nxdomain:
                    raise _Unsupported
                ttl_s = min(ttl_s, self._ttls[name])
                return ParsedResponse(LookupStatus.OK, tuple(records.values()), ttl_s, name)
            if name not in self._aliases:
                return self._negative_response(name, ttl_s, is_nxdomain=is_nxdomain)
            name, alias_ttl_s = self._aliases[name]
            ttl_s = min(ttl_s, alias_ttl_s)
        raise _Unsupported

    def _negative_response(self, end: bytes, ttl_s: int, *, is_nxdomain: bool) -> ParsedResponse:
        """RFC 2308 section 2: without an SOA record of its zone, the answer is not negative."""
        if self._soa is None:
            raise _Unsupported
        zone, negative_ttl_s = self._soa
        parent = end
        while parent != zone:
            if parent == b"\0":
                raise _Unsupported
            parent = parent[1 + parent[0] :]
        ttl_s = min(ttl_s, negative_ttl_s)
        if is_nxdomain:
            return ParsedResponse(LookupStatus.NXDOMAIN, (), min(ttl_s, MAX_NEGATIVE_TTL_S), end)
        if end == self._question.name:
            ttl_s = min(ttl_s, MAX_NEGATIVE_TTL_S)
        return ParsedResponse(LookupStatus.NODATA, (), ttl_s, end)


_DATA_READERS: Mapping[int, Callable[[_ResponseParser, int, int], tuple[bytes, str]]] = {
    _A: _ResponseParser.read_a,
    _AAAA: _ResponseParser.read_aaaa,
    _MX: _ResponseParser.read_mx,
    _PTR: _ResponseParser.read_ptr,
    _TXT: _ResponseParser.read_txt,
}


def _name_text(name: bytes) -> str:
    """The text of a name, with its final dot and its case kept."""
    text: list[bytes] = []
    at = 0
    while size := name[at]:
        label = name[at + 1 : at + 1 + size]
        if not _PLAIN_LABEL.fullmatch(label):
            raise _Unsupported  # The label would have to be escaped (section 5.1).
        text.append(label)
        at += 1 + size
    return b".".join(text).decode("ascii") + "."
