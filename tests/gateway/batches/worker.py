"""A process that verifies the batches of a database, for tests that kill it.

`python -m tests.gateway.batches.worker FILE` prints every address before it verifies it, and `done`
after the webhook.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from engine.model import Address, Checks, VerificationStream
from tests.fakes.clock import Clock
from tests.gateway.batches.conftest import Scripted, answer, open_bench


class Printing(Scripted):
    """Prints each address before it answers."""

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        for address in addresses:
            print(address.raw, flush=True)  # noqa: T201
            await asyncio.sleep(0.001)
            yield address, answer(address, checks=checks)


async def main(path: str) -> None:
    async with open_bench(f"sqlite:///{path}", Clock(), Printing(), work=True) as bench:
        await bench.sent["http://done.example"].wait()
        print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
