"""Keys in files. Where secrets are mounted, a key is exchanged while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from gateway.observability.redaction import SecretList
from gateway.settings import Secret, read_secret_file
from gateway.upstreams.source.circuit import CircuitBreaker
from gateway.upstreams.source.keys import KeyRing

log = logging.getLogger(__name__)

REREAD_EVERY_S = 3.0
"""Between two readings of the key files; they are also read when a key is refused."""

READ_TIMEOUT_S = 2.0
"""For the key files of one upstream together: a disk may hang."""


def key_files(
    name: str,
    api_keys: Sequence[Secret],
    ring: KeyRing,
    circuit: CircuitBreaker,
    secrets: SecretList,
) -> KeyFiles | None:
    """The key files of one upstream; None if none of its keys is in a file."""
    paths = {
        number: key.reference.removeprefix("file:")
        for number, key in enumerate(api_keys, start=1)
        if key.reference.startswith("file:")
    }
    return KeyFiles(name, paths, ring, circuit, secrets) if paths else None


class KeyFiles:
    """The files of one upstream's keys."""

    def __init__(
        self,
        name: str,
        paths: Mapping[int, str],
        ring: KeyRing,
        circuit: CircuitBreaker,
        secrets: SecretList,
    ) -> None:
        """`paths` by the key's number; new keys are added to `secrets`."""
        self._name = name
        self._paths = paths
        self._ring = ring
        self._circuit = circuit
        self._secrets = secrets
        self._unreadable: set[int] = set()
        self._reading: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        """Read the files periodically, until cancelled."""
        while True:
            await asyncio.sleep(REREAD_EVERY_S)
            await self.reread()

    async def reread(self) -> None:
        """Put keys that have changed into the ring.

        A file that is empty or cannot be read is being written, or a mistake: its key stays.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._reread())
        done, _ = await asyncio.wait({self._reading}, timeout=READ_TIMEOUT_S)
        for task in done:
            task.result()

    async def _reread(self) -> None:
        found = await asyncio.to_thread(self._read)
        changed: list[int] = []
        for number, (value, error) in found.items():
            if error:
                self._warn(number, error)
                continue
            self._unreadable.discard(number)
            self._secrets.add(value)
            if self._ring.replace_key(number, value):
                changed.append(number)
        if changed:
            log.info("upstream_key.changed", extra={"source": self._name, "keys": changed})
            self._circuit.allow_trial()

    def _read(self) -> dict[int, tuple[str, str]]:
        """By the key's number: the key, and what is wrong with its file."""
        found: dict[int, tuple[str, str]] = {}
        for number, path in self._paths.items():
            try:
                found[number] = (read_secret_file(path), "")
            except ValueError as exc:
                found[number] = ("", str(exc))
        return found

    def _warn(self, number: int, error: str) -> None:
        if number not in self._unreadable:
            self._unreadable.add(number)
            log.warning(
                "upstream_key.file_unreadable",
                extra={"source": self._name, "key": number, "reason": error},
            )
