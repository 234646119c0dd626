"""Rows that repeat the address of another one (`BatchRules.marks_duplicates`)."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import duplicate_word
from gateway.store.tables import batch_items, batch_results


async def answer_duplicates(
    connection: AsyncConnection, batch_id: int, counts: Counter[str]
) -> int:
    """Give the duplicates of a batch the results of their first rows, and count them.

    Returns their number.
    """
    answered = (
        (batch_results.c.batch_id == batch_items.c.batch_id)
        & (batch_results.c.position == batch_items.c.duplicate_of)
        & (batch_items.c.batch_id == batch_id)
    )
    found = await connection.execute(
        select(batch_results.c.word, func.count())
        .join_from(batch_items, batch_results, answered)
        .group_by(batch_results.c.word)
    )
    by_word = {duplicate_word(word): int(number) for word, number in found}
    results = select(
        batch_items.c.batch_id,
        batch_items.c.position,
        literal(duplicate_word("")) + batch_results.c.word,
        batch_results.c.answer,
    ).join_from(batch_items, batch_results, answered)
    names = ("batch_id", "position", "word", "answer")
    await connection.execute(insert(batch_results).from_select(names, results))
    counts.update(by_word)
    return sum(by_word.values())
