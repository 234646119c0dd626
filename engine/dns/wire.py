"""DNS messages as they usually are: writes questions, reads the answers to them. Pure.

A message (RFC 1035 section 4.1) is a header of six 16-bit numbers, the question, and three
sections of records; names may end in a pointer to where their rest stands already (4.1.4).
Only plain answers are read here: what is odd in any way, be it valid or not, is left to
dnspython (`engine.dns.reference`), which is the reference for what a message comes to.
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
    Kind,
    Outcome,
    Question,
    Status,
)

# RFC 1035 section 3.2.2; AAAA: RFC 3596; OPT: RFC 6891.
_A, _NS, _CNAME, _SOA, _PTR, _MX, _TXT, _AAAA, _OPT = 1, 2, 5, 6, 12, 15, 16, 28, 41
_TYPES: Mapping[Kind, int] = {
    Kind.A: _A, Kind.AAAA: _AAAA, Kind.MX: _MX, Kind.TXT: _TXT, Kind.PTR: _PTR,
}  # fmt: skip
_IN = 1

_HEADER = Struct("!HHHHHH")
"""Id, flags, and how many questions, answers, authority and additional records follow."""
_ASKED = Struct("!HH")
"""Type and class, after the name of a question."""
_RECORD = Struct("!HHIH")
"""Type, class, TTL and size of the data, after the name of a record."""
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_PLAIN = 0xFA00
"""The flags that must be those of a plain response: QR, the opcode, TC (section 4.1.1)."""
_NOERROR, _NXDOMAIN = 0, 3
_EDNS = b"\0" + _RECORD.pack(_OPT, EDNS_PAYLOAD, 0, 0)
"""RFC 6891 section 6.1.2: the root's record, the class of which says what size we take."""

_POINTER = 0xC0
MAX_LABEL, MAX_NAME = 63, 255
"""Octets, of a name with its lengths (section 2.3.4)."""
MAX_HOPS = 16
"""Pointers in one name: dnspython's limit."""
MAX_ALIASES = 8
"""In one answer; dnspython follows more."""
_MAX_TTL = 0x7FFF_FFFF
"""RFC 2181 section 8: what is beyond counts as 0."""

_USUAL_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_USUAL_LABEL = re.compile(rb"[A-Za-z0-9_-]+")


class _Odd(Exception):
    """This message is not for us to read."""


def to_wire(name: str) -> bytes | None:
    """A usual name, in lower case and without its final dot, for `Question`; None for others."""
    if len(name) > MAX_NAME - 2 or not _USUAL_NAME.fullmatch(name):
        return None
    labels = name.encode("ascii").split(b".")
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def write(question: Question, message_id: int, *, edns: bool = True) -> bytes:
    """The message that asks `question`; with EDNS (RFC 6891) unless told otherwise."""
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, int(edns))
    asked = question.name + _ASKED.pack(_TYPES[question.kind], _IN)
    return header + asked + _EDNS if edns else header + asked


def read(wire: bytes, question: Question) -> Outcome | None:
    """What a response to `question` says; None if dnspython should look at it.

    Never raises. The id is the caller's to compare.
    """
    try:
        return _Message(wire, question).outcome()
    except (_Odd, IndexError, StructError):
        return None


class _Message:
    """A response on its way through the sections."""

    def __init__(self, wire: bytes, question: Question) -> None:
        self._wire = wire
        self._question = question
        self._type = _TYPES[question.kind]
        self._data = _DATA[self._type]
        self._names: dict[int, tuple[bytes, int]] = {}
        """Where a label stands, the name from there on, and the pointers in it.

        A pointer may only lead to a name that stands before it (section 4.1.4), and all of
        these were read: so there are no loops, and no name is read twice.
        """
        self._records: dict[bytes, dict[bytes, str]] = {}
        """By owner; equal ones count once."""
        self._ttls: dict[bytes, int] = {}
        """The least of the records of an owner (RFC 2181 section 5.2)."""
        self._aliases: dict[bytes, tuple[bytes, int]] = {}
        """Target and TTL, by owner."""
        self._soa: tuple[bytes, int] | None = None
        """Owner, and for how long an answer is no (RFC 2308 section 5)."""
        self._has_opt = False

    def outcome(self) -> Outcome:
        wire, question = self._wire, self._question
        _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(wire)
        rcode = flags & 0x000F
        if flags & _PLAIN != _RESPONSE or rcode not in (_NOERROR, _NXDOMAIN) or questions != 1:
            raise _Odd
        asked, at = self.name(_HEADER.size)
        if asked.lower() != question.name or _ASKED.unpack_from(wire, at) != (self._type, _IN):
            raise _Odd
        at += _ASKED.size
        at = self._section(at, answers, self._answer)
        at = self._section(at, authorities, self._authority)
        at = self._section(at, additionals, self._additional)
        if at != len(wire):
            raise _Odd
        return self._conclude(is_nxdomain=rcode == _NXDOMAIN)

    def name(self, at: int) -> tuple[bytes, int]:
        """The name at `at`, and where it ends."""
        wire = self._wire
        start = at
        labels: list[int] = []
        while size := wire[at]:
            if size > MAX_LABEL:
                break
            labels.append(at)
            at += 1 + size
        if not size:
            name, hops = wire[start : at + 1], 0
            at += 1
        elif size >= _POINTER:
            rest = self._names.get((size - _POINTER) << 8 | wire[at + 1])
            if rest is None:
                raise _Odd
            name, hops = wire[start:at] + rest[0], rest[1] + 1
            at += 2
        else:
            raise _Odd
        if len(name) > MAX_NAME or hops > MAX_HOPS:
            raise _Odd
        for label in labels:
            self._names[label] = name[label - start :], hops
        return name, at

    # -- the sections --------------------------------------------------------------------

    def _section(
        self, at: int, count: int, take: Callable[[bytes, int, int, int, int], None]
    ) -> int:
        """Read `count` records from `at` on; returns where they end."""
        for _ in range(count):
            owner, at = self.name(at)
            kind, class_, ttl_s, size = _RECORD.unpack_from(self._wire, at)
            at += _RECORD.size
            end = at + size
            if end > len(self._wire) or (kind != _OPT and (class_ != _IN or ttl_s > _MAX_TTL)):
                raise _Odd
            take(owner.lower(), kind, ttl_s, at, end)
            at = end
        return at

    def _answer(self, owner: bytes, kind: int, ttl_s: int, at: int, end: int) -> None:
        if kind == self._type:
            key, text = self._data(self, at, end)
            self._records.setdefault(owner, {}).setdefault(key, text)
            self._ttls[owner] = min(ttl_s, self._ttls.get(owner, ttl_s))
        elif kind == _CNAME and owner not in self._aliases:
            self._aliases[owner] = self._whole_name(at, end).lower(), ttl_s
        else:
            raise _Odd

    def _authority(self, owner: bytes, kind: int, ttl_s: int, at: int, end: int) -> None:
        if kind == _SOA and self._soa is None:
            _, at = self.name(at)
            _, at = self.name(at)
            if at + 20 != end:  # five 32-bit numbers, the minimum last (section 3.3.13)
                raise _Odd
            minimum_s = int.from_bytes(self._wire[end - 4 : end], "big")
            self._soa = owner, min(ttl_s, minimum_s)
        elif kind == _NS:
            self._whole_name(at, end)
        else:
            raise _Odd

    def _additional(self, owner: bytes, kind: int, ttl_s: int, at: int, end: int) -> None:
        size = end - at
        if kind == _OPT and not (self._has_opt or size or len(owner) > 1 or ttl_s >> 24):
            self._has_opt = True  # and the upper half of the response code is 0
        elif not (kind == _A and size == 4) and not (kind == _AAAA and size == 16):
            raise _Odd

    # -- the data of records: what makes it equal to another, and its text ------------------

    def a(self, at: int, end: int) -> tuple[bytes, str]:
        data = self._wire[at:end]
        if len(data) != 4:
            raise _Odd
        return data, f"{data[0]}.{data[1]}.{data[2]}.{data[3]}"

    def aaaa(self, at: int, end: int) -> tuple[bytes, str]:
        data = self._wire[at:end]
        if len(data) != 16:
            raise _Odd
        return data, dns.ipv6.inet_ntoa(data)

    def mx(self, at: int, end: int) -> tuple[bytes, str]:
        preference = self._wire[at : at + 2]
        exchange = self._whole_name(at + 2, end)
        text = f"{int.from_bytes(preference, 'big')} {_text(exchange)}"
        return preference + exchange.lower(), text

    def ptr(self, at: int, end: int) -> tuple[bytes, str]:
        name = self._whole_name(at, end)
        return name.lower(), _text(name)

    def txt(self, at: int, end: int) -> tuple[bytes, str]:
        """Section 3.3.14: one or more strings, each after its length."""
        wire = self._wire
        strings: list[bytes] = []
        start = at
        while at < end:
            next_at = at + 1 + wire[at]
            strings.append(wire[at + 1 : next_at])
            at = next_at
        if at != end or not strings:
            raise _Odd
        return wire[start:end], b"".join(strings).decode("utf-8", "replace")

    def _whole_name(self, at: int, end: int) -> bytes:
        name, at = self.name(at)
        if at != end:
            raise _Odd
        return name

    # -- the end -------------------------------------------------------------------------

    def _conclude(self, *, is_nxdomain: bool) -> Outcome:
        name, ttl_s = self._question.name, MAX_TTL_S
        for _ in range(MAX_ALIASES):
            records = self._records.get(name)
            if records is not None:
                if is_nxdomain:
                    raise _Odd
                ttl_s = min(ttl_s, self._ttls[name])
                return Outcome(Status.OK, tuple(records.values()), ttl_s, name)
            if name not in self._aliases:
                return self._no(name, ttl_s, is_nxdomain=is_nxdomain)
            name, alias_ttl_s = self._aliases[name]
            ttl_s = min(ttl_s, alias_ttl_s)
        raise _Odd

    def _no(self, end: bytes, ttl_s: int, *, is_nxdomain: bool) -> Outcome:
        """RFC 2308 section 2: the SOA tells a no from a "do not ask me"."""
        if self._soa is None:
            raise _Odd
        zone, negative_ttl_s = self._soa
        parent = end
        while parent != zone:
            if parent == b"\0":
                raise _Odd
            parent = parent[1 + parent[0] :]
        ttl_s = min(ttl_s, negative_ttl_s)
        if is_nxdomain:
            return Outcome(Status.NXDOMAIN, (), min(ttl_s, MAX_NEGATIVE_TTL_S), end)
        if end == self._question.name:
            ttl_s = min(ttl_s, MAX_NEGATIVE_TTL_S)
        return Outcome(Status.NODATA, (), ttl_s, end)


_DATA: Mapping[int, Callable[[_Message, int, int], tuple[bytes, str]]] = {
    _A: _Message.a,
    _AAAA: _Message.aaaa,
    _MX: _Message.mx,
    _PTR: _Message.ptr,
    _TXT: _Message.txt,
}


def _text(name: bytes) -> str:
    """With its final dot, in the case that it came in."""
    text: list[bytes] = []
    at = 0
    while size := name[at]:
        label = name[at + 1 : at + 1 + size]
        if not _USUAL_LABEL.fullmatch(label):
            raise _Odd  # would have to be escaped (section 5.1)
        text.append(label)
        at += 1 + size
    return b".".join(text).decode("ascii") + "."
