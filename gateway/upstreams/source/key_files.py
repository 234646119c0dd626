"""Keys in files, which are exchanged under a running server where secrets are mounted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from gateway.redaction import SecretList
from gateway.settings import Secret, read_secret_file
from gateway.upstreams.source.circuit import CircuitBreaker
from gateway.upstreams.source.keys import KeyRing

log = logging.getLogger(__name__)

REREAD_EVERY_S = 3.0
"""How often key files are read again; a refused key has its file read at once."""

READ_TIMEOUT_S = 2.0
"""For all files of one upstream."""


def key_files(
    name: str,
    api_keys: Sequence[Secret],
    ring: KeyRing,
    circuit: CircuitBreaker,
    secrets: SecretList,
) -> KeyFiles | None:
    """Those of one upstream; None if none of its keys is in a file."""
    paths = {
        place: key.reference.removeprefix("file:")
        for place, key in enumerate(api_keys, start=1)
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
        """`paths` by the key's place in the ring; new keys are added to `secrets`."""
        self._name = name
        self._paths = paths
        self._ring = ring
        self._circuit = circuit
        self._secrets = secrets
        self._unreadable: set[int] = set()
        self._reading: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        """Read them again and again, until cancelled."""
        while True:
            await asyncio.sleep(REREAD_EVERY_S)
            await self.reread()

    async def reread(self) -> None:
        """Put keys that have changed into the ring; the others stay as they are.

        What cannot be read, or is empty, is on its way or a mistake: the key stays. Nobody waits
        for a disk that hangs.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._reread())
        done, _ = await asyncio.wait({self._reading}, timeout=READ_TIMEOUT_S)
        for task in done:
            task.result()

    async def _reread(self) -> None:
        found = await asyncio.to_thread(self._read)
        changed: list[int] = []
        for place, (value, why) in found.items():
            if why:
                self._warn(place, why)
                continue
            self._unreadable.discard(place)
            self._secrets.add(value)
            if self._ring.replace_key(place, value):
                changed.append(place)
        if changed:
            log.info("upstream_key.changed", extra={"source": self._name, "keys": changed})
            self._circuit.allow_trial()

    def _read(self) -> dict[int, tuple[str, str]]:
        """By place: the key, or why there is none."""
        found: dict[int, tuple[str, str]] = {}
        for place, path in self._paths.items():
            try:
                found[place] = (read_secret_file(path), "")
            except ValueError as exc:
                found[place] = ("", str(exc))
        return found

    def _warn(self, number: int, why: str) -> None:
        if number not in self._unreadable:
            self._unreadable.add(number)
            log.warning(
                "upstream_key.file_unreadable",
                extra={"source": self._name, "key": number, "reason": why},
            )
