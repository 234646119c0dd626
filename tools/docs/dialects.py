"""The tables that list the dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from adapters.registry import DIALECTS
from tools.docs.markdown import row, table_head


def addresses() -> Iterator[str]:
    yield from table_head("dialect", "at the root", "under its prefix", "host names")
    for dialect in DIALECTS:
        prefixes = (dialect.name, *dialect.aliases)
        yield row(
            f"`{dialect.name}`",
            f"`{dialect.base_path}`",
            ", ".join(f"`/{prefix}{dialect.base_path}`" for prefix in prefixes),
            ", ".join(f"`{host}`" for host in dialect.hosts),
        )


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {"dialect-addresses": addresses}
