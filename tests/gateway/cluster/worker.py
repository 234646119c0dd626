"""A process that works on the batches of a database, for tests that kill or suspend it.

`python -m tests.gateway.cluster.worker URL NAME` prints every address before it verifies it. An
address that begins with `slow` takes long in a process that is named `slow`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterable

from engine.model import Address, Checks, VerificationStream
from tests.gateway.batches.conftest import Scripted, answer, open_bench
from tests.gateway.cluster.processes import dispatch_for


class Printing(Scripted):
    """Prints each address before it answers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        for address in addresses:
            print(address.raw, flush=True)  # noqa: T201
            if self.name == "slow" and address.raw.startswith("slow"):
                await asyncio.sleep(60)
            yield address, answer(address, checks=checks)


async def main(url: str, name: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with open_bench(url, time.time, Printing(name), work=True, dispatch=dispatch_for(url)):
        print("ready", flush=True)  # noqa: T201
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
