"""Many rows at once, on both databases: whatever is in them, alike."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.store import Store, StoreConflict, open_store
from gateway.store.tables import batch_chunks, batch_items, batch_results, metadata

ODD_TEXTS = ("", "\t\n\\N", "\\.", "a\\tb", "né@exämple.test", "😀", '"', "NULL", "x" * 5_000)


def items(batch: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "batch_id": batch,
            "position": number,
            "email": ODD_TEXTS[number % len(ODD_TEXTS)],
            "cells": None if number % 2 else ODD_TEXTS[number % len(ODD_TEXTS)],
            "duplicate_of": None if number % 3 else number,
        }
        for number in range(count)
    ]


async def stored(store: Store) -> list[dict[str, Any]]:
    names = ("batch_id", "position", "email", "cells", "duplicate_of")
    query = select(*(batch_items.c[name] for name in names)).order_by(batch_items.c.position)
    return [dict(row._mapping) for row in await store.fetch_all(query)]


@pytest.mark.parametrize("count", [1, 49, 2_000])
async def test_rows_are_read_as_they_were_written(database_url: str, count: int) -> None:
    async with open_store(database_url) as store:
        async with store.write() as connection:
            await store.insert_rows(connection, batch_items, items(1, count))
        assert await stored(store) == items(1, count)


async def test_bytes_and_numbers_are_copied_too(database_url: str) -> None:
    blob = bytes(range(256))
    chunks = [
        {
            "batch_id": 1,
            "number": number,
            "origin": None,
            "positions": blob,
            "attempt": number % 3,
            "due_at": 1e15 + 0.5,
            "lease": None,
            "lease_until": 1.25,
        }
        for number in range(200)
    ]
    async with open_store(database_url) as store:
        async with store.write() as connection:
            await store.insert_rows(connection, batch_chunks, chunks)
        found = await store.fetch_all(select(batch_chunks).order_by(batch_chunks.c.number))
    wanted = [(row["attempt"], row["positions"], row["due_at"], 1.25) for row in chunks]
    assert [(row.attempt, row.positions, row.due_at, row.lease_until) for row in found] == wanted


@pytest.mark.parametrize("count", [10, 500])
async def test_a_row_that_exists_is_a_conflict_and_nothing_is_written(
    database_url: str, count: int
) -> None:
    async with open_store(database_url) as store:
        async with store.write() as connection:
            await store.insert_rows(connection, batch_items, items(1, 1))
        with pytest.raises(StoreConflict):
            async with store.write() as connection:
                await store.insert_rows(connection, batch_items, items(1, count))
        assert len(await stored(store)) == 1
        assert not store.last_write_failed


async def test_one_of_many_values(database_url: str) -> None:
    async with open_store(database_url) as store:
        async with store.write() as connection:
            await store.insert_rows(connection, batch_items, items(1, 3_000))
        wanted = range(0, 6_000, 2)
        listed = select(store.listed(tuple(wanted)).c.value)
        assert [row.value for row in await store.fetch_all(listed)] == list(wanted)
        query = select(func.count()).where(
            batch_items.c.batch_id == 1, batch_items.c.position.in_(listed)
        )
        assert (await store.fetch_all(query))[0][0] == 1_500
        assert await store.fetch_all(select(store.listed(()).c.value)) == []


def test_each_column_that_is_written_in_many_rows_can_be_copied() -> None:
    from gateway.store.postgres import _COPIED_TYPES

    for table in (batch_items, batch_chunks, batch_results):
        assert table.metadata is metadata
        assert {type(column.type) for column in table.columns} <= _COPIED_TYPES.keys()
