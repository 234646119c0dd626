"""How long the console's pages take with 10,000 batches, one of them of 200,000 rows."""

from __future__ import annotations

import asyncio
import sys
import tempfile

from tests.gateway.web.console.console_client import browser, running
from tests.gateway.web.console.month_of_use import Volume, fill, time_pages
from tests.postgres import PostgresServer

VOLUME = Volume(batches=10_000, rows=200_000)


def console_pages(rounds: int, _: float) -> None:
    """Milliseconds of each page on SQLite and PostgreSQL; each should take less than 300."""
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            urls = {"SQLite": f"sqlite:///{folder}/v.db", "PostgreSQL": server.empty_database()}
            found = {name: asyncio.run(_measure(url, rounds)) for name, url in urls.items()}
    finally:
        server.close()
    for path in found["SQLite"]:
        times = "".join(f"{pages[path]:>9.0f} ms" for pages in found.values())
        sys.stdout.write(f"/console{path:<34}{times}\n")


async def _measure(url: str, rounds: int) -> dict[str, float]:
    async with running(storage={"url": url}) as services:
        await fill(services, VOLUME)
        visitor = browser(services)
        await visitor.log_in()
        return await time_pages(visitor, rounds)
