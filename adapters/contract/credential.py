"""Where a client's key stands in a request.

A key in the head (query and headers) can be judged before the body is read, so that the large
body of a stranger costs nothing: a dialect ranks its places so wherever its vendor allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from adapters.contract.wire import WireRequest


@dataclass(frozen=True, slots=True)
class KeyInAuthorization:
    """`Authorization: SCHEME KEY` (RFC 9110 section 11.6.2); the scheme in any case."""

    schemes: tuple[str, ...] = ("bearer",)
    """In lower case; the empty one stands for a key without a scheme."""

    def read(self, request: WireRequest) -> str | None:
        value = request.headers.get("authorization", "").strip()
        scheme, _, rest = value.partition(" ")
        if scheme.lower() in self.schemes:
            return rest.strip() or None
        return (value or None) if "" in self.schemes else None


@dataclass(frozen=True, slots=True)
class KeyInHeader:
    """A header of its own."""

    name: str
    """In lower case."""

    def read(self, request: WireRequest) -> str | None:
        return request.headers.get(self.name, "").strip() or None


@dataclass(frozen=True, slots=True)
class KeyInQuery:
    """A query parameter. Reading it may raise `UnreadableRequest`."""

    name: str
    any_case: bool = False
    """Whether the name may come in any case; `name` is then in lower case."""

    def read(self, request: WireRequest) -> str | None:
        return _member(request.query, self.name, self.any_case)


@dataclass(frozen=True, slots=True)
class KeyInBody:
    """A member of a JSON body, or a field of a form, before or after a file.

    Reading it may raise `UnreadableRequest`.
    """

    name: str
    any_case: bool = False
    """Whether the name may come in any case; `name` is then in lower case."""
    always_json: bool = False
    """Whether the body is JSON whatever its content type says."""
    methods: tuple[str, ...] = ("POST", "PUT", "PATCH")
    """Of requests whose body is looked at."""

    def read(self, request: WireRequest) -> str | None:
        if request.method not in self.methods:
            return None
        members = request.json_object if self.always_json else request.fields
        return _member(members, self.name, self.any_case)


KeyPlace: TypeAlias = KeyInAuthorization | KeyInHeader | KeyInQuery | KeyInBody


@dataclass(frozen=True, slots=True)
class Credential:
    """The places where the clients of a dialect, or of one endpoint, put their key."""

    places: tuple[KeyPlace, ...]
    """In the order of their rank: the first that has a key counts."""

    def read(self, request: WireRequest) -> str | None:
        """The key sent; None without one. May raise `UnreadableRequest`.

        The body is looked at only if no place of a higher rank has a key.
        """
        for place in self.places:
            if key := place.read(request):
                return key
        return None

    def is_decided_by_head(self, request: WireRequest) -> bool:
        """Whether `read` would not look at the body. Does not look at it either."""
        for place in self.places:
            if isinstance(place, KeyInBody):
                if request.method in place.methods:
                    return False
            elif place.read(request):
                return True
        return True


def _member(members: Mapping[str, Any], name: str, any_case: bool) -> str | None:
    """The last member of that name, if it is a text and not empty."""
    if any_case:
        members = {known.lower(): value for known, value in members.items()}
    value = members.get(name)
    return value if isinstance(value, str) and value else None
