"""Entries of a batch on their way into the database: counted, merged, and cut into chunks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isqrt
from typing import Any

import orjson

from adapters.contract.batch_rules import BilledUnit
from adapters.contract.jobs import BatchEntry
from engine.address import syntax
from gateway.batches.model import pack_positions

ROWS_PER_INSERT = 5_000
"""Rows stored in one transaction; it bounds how long other writers wait, and the memory."""
CHUNK_SIZE = 1_000
"""Addresses in a chunk, by default; it bounds how long a small batch waits for a large one.
Claiming
and finishing a chunk takes some 20 ms of the database, large or small."""


class Intake:
    """Reads entries, `ROWS_PER_INSERT` at a time. Not for two threads at once."""

    def __init__(
        self,
        entries: Iterable[BatchEntry],
        *,
        merge: bool,
        mark: bool = False,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        """`merge` drops repeated addresses, `mark` marks them; `chunk_size` is in addresses."""
        self._entries = iter(entries)
        self._merge = merge
        self._positions: dict[str, int] | None = {} if merge or mark else None
        """Of the first row with each address; None if nobody cares."""
        self._duplicates = array("q")
        """Positions of the marked rows."""
        self._domain_hashes = array("q")
        self._chunk_size = chunk_size
        self.total = 0
        self.valid = 0

    @property
    def rows(self) -> int:
        return len(self._domain_hashes)

    @property
    def duplicates(self) -> int:
        """Marked rows."""
        return len(self._duplicates)

    def count_of(self, unit: BilledUnit) -> int:
        return {
            BilledUnit.ENTRIES: self.total,
            BilledUnit.ROWS: self.rows - self.duplicates,
            BilledUnit.VALID: self.valid,
        }[unit]

    def next_rows(self) -> tuple[list[dict[str, Any]], bool]:
        """Up to `ROWS_PER_INSERT` rows, and whether there may be more. Raises `Problem`."""
        taken = list(islice(self._entries, ROWS_PER_INSERT))
        rows = []
        for entry in taken:
            address = syntax.parse_address(entry.email)
            duplicate_of = None
            if self._positions is not None:
                first = self._positions.setdefault(address.normalized, self.rows)
                if first != self.rows:
                    if self._merge:
                        continue
                    duplicate_of = first
                    self._duplicates.append(self.rows)
            cells = orjson.dumps(entry.cells).decode() if entry.cells else None
            # A NUL is invalid in any case, and PostgreSQL cannot store it.
            email = entry.email.replace("\0", "\N{REPLACEMENT CHARACTER}")
            rows.append(
                {
                    "position": self.rows,
                    "email": email,
                    "cells": cells,
                    "duplicate_of": duplicate_of,
                }
            )
            # only for sorting: it puts equal domains next to each other, in any order
            self._domain_hashes.append(hash(address.ascii_domain))
            self.valid += address.valid and duplicate_of is None
        self.total += len(taken)
        return rows, len(taken) == ROWS_PER_INSERT

    def chunks(self) -> Iterator[bytes]:
        """The positions of each chunk, addresses of one domain together.

        Neighbouring chunks are spread, so that a domain with many addresses does not occupy every
        worker with one mail host while the others idle.
        """
        marked = set(self._duplicates)
        verified = (position for position in range(self.rows) if position not in marked)
        order = sorted(verified, key=self._domain_hashes.__getitem__)
        size = self._chunk_size
        chunks = [order[i : i + size] for i in range(0, len(order), size)]
        step = max(isqrt(len(chunks)), 1)
        for i in sorted(range(len(chunks)), key=lambda i: (i % step, i)):
            yield pack_positions(chunks[i])
