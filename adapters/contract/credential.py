"""Where a client's key stands in a request.

A key in the head (query and headers) can be checked before the body is read, so that a client
without a key cannot make the server store a large body. A dialect ranks these places first where
its vendor allows that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from adapters.contract.wire import WireRequest

MAX_KEY_CHARACTERS = 400
"""Length of a key that is found in a large body; no vendor issues longer ones."""
MAX_SCANNED_KEYS = 8
"""Different keys that are found in a large body; further ones are ignored."""
MAX_SCANNED_MEMBERS = 1_000
"""Members of the key's name that are looked at in a large body, equal ones too: a body of nothing
else has a million, which take a second of processor time."""
SCAN_OVERLAP = 1_000
"""Bytes of a chunk that are scanned again with the next one: a member may begin in one and end in
the other."""


@dataclass(frozen=True, slots=True)
class KeyInAuthorization:
    """`Authorization: SCHEME KEY` (RFC 9110 section 11.6.2); the scheme in any case."""

    schemes: tuple[str, ...] = ("bearer",)
    """In lower case. An empty one allows a key without a scheme."""

    def read(self, request: WireRequest) -> str | None:
        value = request.headers.get("authorization", "").strip()
        scheme, _, rest = value.partition(" ")
        if scheme.lower() in self.schemes:
            return rest.strip() or None
        return (value or None) if "" in self.schemes else None


@dataclass(frozen=True, slots=True)
class KeyInHeader:
    """A header of the vendor's own, such as `X-API-Key`."""

    name: str
    """In lower case."""

    def read(self, request: WireRequest) -> str | None:
        return request.headers.get(self.name, "").strip() or None


@dataclass(frozen=True, slots=True)
class KeyInQuery:
    """A query parameter. Reading it may raise `UnreadableRequest`."""

    name: str
    any_case: bool = False
    """Whether clients may write the name in any case; `name` is then in lower case."""

    def read(self, request: WireRequest) -> str | None:
        return _member(request.query, self.name, self.any_case)


@dataclass(frozen=True, slots=True)
class KeyInBody:
    """A member of a JSON body, or a field of a form, before or after a file.

    Reading it may raise `UnreadableRequest`.
    """

    name: str
    any_case: bool = False
    """Whether clients may write the name in any case; `name` is then in lower case."""
    always_json: bool = False
    """Whether the body is JSON with any content type."""
    methods: tuple[str, ...] = ("POST", "PUT", "PATCH")
    """Of requests whose body may hold the key."""

    def read(self, request: WireRequest) -> str | None:
        if request.method not in self.methods:
            return None
        members = request.json_object if self.always_json else request.fields
        return _member(members, self.name, self.any_case)

    def scan(self, request: WireRequest) -> frozenset[str] | None:
        """The candidates for the key in a large JSON body, found without parsing it; None for
        another kind of body.

        Every member of the name is a candidate, at any depth; `read` picks the key.
        """
        if request.method not in self.methods or not (self.always_json or request.is_json):
            return None
        name = re.escape(self.name.encode())
        member = re.compile(
            rb'"' + name + rb'"\s{0,20}:\s{0,20}"((?:[^"\\]|\\.){1,%d})"' % MAX_KEY_CHARACTERS,
            re.IGNORECASE if self.any_case else 0,
        )
        found: set[str] = set()
        members = 0
        rest = b""
        for chunk in request.chunks():
            text = rest + chunk
            for match in member.finditer(text):
                found.add(_unescaped(match[1]))
                members += 1
                if len(found) >= MAX_SCANNED_KEYS or members >= MAX_SCANNED_MEMBERS:
                    return frozenset(found)
            rest = text[-SCAN_OVERLAP:]
        return frozenset(found)


KeyPlace: TypeAlias = KeyInAuthorization | KeyInHeader | KeyInQuery | KeyInBody


@dataclass(frozen=True, slots=True)
class Credential:
    """Where the clients of a dialect, or of one endpoint, put their key."""

    places: tuple[KeyPlace, ...]
    """By rank: the first that has a key counts."""

    def read(self, request: WireRequest) -> str | None:
        """The key; None if there is none. May raise `UnreadableRequest`.

        The body is read only if no place of a higher rank has a key.
        """
        for place in self.places:
            if key := place.read(request):
                return key
        return None

    def scan(self, request: WireRequest) -> frozenset[str] | None:
        """The candidates for the key in a large body, found without parsing it; None if it would
        have to be parsed. Only for a request of which `is_decided_by_head` is false."""
        places = [place for place in self.places if isinstance(place, KeyInBody)]
        scanned = [place.scan(request) for place in places]
        if not scanned or None in scanned:
            return None
        return frozenset().union(*filter(None, scanned))

    def is_decided_by_head(self, request: WireRequest) -> bool:
        """Whether `read` needs no body, which is not read here either."""
        for place in self.places:
            if isinstance(place, KeyInBody):
                if request.method in place.methods:
                    return False
            elif place.read(request):
                return True
        return True


def _unescaped(text: bytes) -> str:
    """The value of a JSON string without its quotes; empty if it is malformed."""
    try:
        value = orjson.loads(b'"' + text + b'"')
    except orjson.JSONDecodeError:
        return ""
    return value if isinstance(value, str) else ""


def _member(members: Mapping[str, Any], name: str, any_case: bool) -> str | None:
    """The last member of that name, if it is a non-empty text."""
    if any_case:
        members = {known.lower(): value for known, value in members.items()}
    value = members.get(name)
    return value if isinstance(value, str) and value else None
