"""What a client may send to an endpoint, in words and types, for the description of the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from adapters.contract.wire import JSON

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
CSV = "text/csv"

EXAMPLE_ADDRESS = "deliverable@example.com"
EXAMPLE_LIST = """\
email,name
deliverable@example.com,Ann
undeliverable@example.com,Ben
deliverable@example.com,Ann
"""
"""A file as clients upload it, with a repeated row."""


class Place(StrEnum):
    """Where a parameter stands in a request."""

    USUAL = "usual"  # in the body of a request that has one, else in the query
    BODY = "body"  # in the body alone
    QUERY = "query"
    HEADER = "header"
    PATH = "path"
    FILE = "file"  # a part of a multipart body; `Param.example` is its content


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an endpoint. Its type is that of `example`."""

    name: str
    about: str
    """One sentence, as Markdown."""
    example: Any
    """A JSON value that differs from the default, so that it has an effect."""
    required: bool = False
    choices: tuple[str, ...] = ()
    """The only texts that are accepted; empty for any."""
    minimum: int | None = None
    maximum: int | None = None
    place: Place = Place.USUAL
    further: tuple[Any, ...] = ()
    """Other values that the shape of replies depends on."""


@dataclass(frozen=True, slots=True)
class Description:
    """An endpoint in words, and what its clients send."""

    about: str
    """One sentence, as Markdown."""
    params: tuple[Param, ...] = ()
    bodies: tuple[str, ...] = (JSON,)
    """Media types of the body of a POST, PUT or PATCH, the usual one first."""
    list_body: bool = False
    """Whether the body is a list file, such as `EXAMPLE_LIST`, rather than parameters."""
    open_members: frozenset[str] = frozenset()
    """Members of replies that repeat what the client sent, by names of its own."""

    def placed(self, *places: Place) -> Iterator[Param]:
        return (param for param in self.params if param.place in places)


ADDRESS = Param("email", "The address to verify.", EXAMPLE_ADDRESS, required=True)
"""The parameter that most vendors name so."""
