"""A process that submits a batch to a database, for tests that kill it in the middle.

`python -m tests.gateway.cluster.submitter URL KEY COUNT` prints `stored` when all rows but the last
are in the database, then waits for a line, submits the last row, prints `submitted`, and waits.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import SubmitJob
from tests.gateway.batches.conftest import open_bench
from tests.gateway.cluster.processes import dispatch_for


def entries(count: int) -> Iterator[BatchEntry]:
    """Read in a thread, so that they may wait."""
    for number in range(count):
        if number == count - 1:
            print("stored", flush=True)  # noqa: T201
            sys.stdin.readline()
        yield BatchEntry(f"user{number}@domain{number % 7}.example")


async def main(url: str, key: str, count: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
        caller = await bench.accounts.authenticate("emailable", key)
        assert caller is not None
        await bench.jobs(caller).submit(SubmitJob(entries=entries(int(count))))
        print("submitted", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
