"""A vendor's published clients: where each is given this server's URL, and a first call to paste.

Pure: the server prints both, its start page shows them, and the documentation is filled in from
them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class VendorClient:
    """A client library, command or script that calls the vendor."""

    name: str
    """Language and package, such as `Python emailable`."""
    base_path: str
    """The end of the URL that this client wants, its final slash included; empty if the URL cannot
    be set, so that the vendor's host name has to be redirected."""
    setting: str = ""
    """Where the URL is set, as Markdown; `{url}` stands for the URL."""


@dataclass(frozen=True, slots=True)
class ExampleCall:
    """The shortest verification of one address in a dialect; `{key}` stands for the key."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    """Sent as JSON by POST; without it the request is a GET."""

    def with_address(self, email: str) -> ExampleCall:
        """The call for another address, which it has where a value has an `@`."""
        query = {name: email if "@" in text else text for name, text in self.query.items()}
        body = self.body and {
            name: email if "@" in str(value) else value for name, value in self.body.items()
        }
        return replace(self, query=query, body=body)

    def curl(self, url: str, key: str) -> str:
        """The call as a command for a shell, at the server or prefix `url`.

        In double quotes a `key` such as `$KEY` is a variable of the shell.
        """
        query = f"?{urlencode(self.query, safe='@{}')}" if self.query else ""
        words = [_quoted(f"{url}{self.path}{query}", key)]
        words += [f"-H {_quoted(f'{name}: {value}', key)}" for name, value in self.headers.items()]
        if self.body is not None:
            words.append(f"-d '{json.dumps(self.body)}'")
        return f"curl {' '.join(words)}"


def _quoted(text: str, key: str) -> str:
    quote = '"' if key.startswith("$") and "{key}" in text else "'"
    return f"{quote}{text.replace('{key}', key)}{quote}"
