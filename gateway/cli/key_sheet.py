"""New keys as they are printed: with the base URL that a vendor's client needs."""

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
        for key in own:
            yield f"  {'test' if key.test else 'live'} key  {key.key}"
