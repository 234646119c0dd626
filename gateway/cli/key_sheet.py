"""New keys as they are printed: with the base URL that each of a vendor's clients wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapters.contract.dialect import Dialect
    from gateway.accounts.accounts import NewKey


def base_url(url: str, dialect: Dialect) -> str:
    """The vendor's base URL, on this server."""
    return f"{url}{dialect.base_path}"


def prefixed_base_url(url: str, dialect: Dialect) -> str:
    """The same under the dialect's prefix, where no other dialect has paths."""
    return f"{url}/{dialect.name}{dialect.base_path}"


def client_urls(url: str, dialect: Dialect) -> dict[str, list[str]]:
    """The names of the vendor's clients by the URL to paste, where it is not the base URL."""
    found: dict[str, list[str]] = {}
    for client in dialect.clients:
        if client.base_path and client.base_path != dialect.base_path:
            name = client.name.replace("`", "")
            found.setdefault(f"{url}{client.base_path}", []).append(name)
    return found


def key_sheet(url: str, keys: Iterable[NewKey]) -> Iterator[str]:
    """Lines with each dialect's base URLs and keys."""
    from adapters.registry import DIALECTS

    made = tuple(keys)
    for dialect in DIALECTS:
        own = [key for key in made if key.dialect == dialect.name]
        if not own:
            continue
        yield ""
        yield f"{dialect.name}: {dialect.title}"
        yield f"  base URL  {base_url(url, dialect)}"
        yield f"  or        {prefixed_base_url(url, dialect)}"
        for pasted, names in client_urls(url, dialect).items():
            yield f"  paste     {pasted}  into {', '.join(names)}"
        for key in own:
            yield f"  {'test' if key.test else 'live'} key  {key.key}"
