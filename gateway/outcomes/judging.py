"""Joins outcomes with what the sources had answered before.

An address counts once for each source. It bounced if any mail to it bounced hard: then the newest
hard bounce decides, else the newest mail that arrived. It is joined with the newest answer of the
source from before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Integer, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.model import Verdict
from gateway.outcomes.terms import ARRIVED, BOUNCED
from gateway.store import Store
from gateway.store.tables import judged_answers, outcomes, source_answers

SCORE_BAND = 10
"""The width of the bands of scores in which outcomes are counted."""


async def judge(store: Store, connection: AsyncConnection, digests: Sequence[object]) -> None:
    """Judge the answers about some addresses anew, by all outcomes that are known."""
    o, a = outcomes.c, source_answers.c
    bounced = case((o.outcome.in_([each.value for each in BOUNCED]), 1), else_=0)
    ranked = (
        select(
            o.address,
            o.at,
            o.code,
            o.text,
            bounced.label("bounced"),
            func.row_number()
            .over(partition_by=o.address, order_by=(bounced.desc(), o.at.desc(), o.outcome))
            .label("rank"),
        )
        .where(
            o.address.in_(digests),
            o.outcome.in_([each.value for each in ARRIVED | BOUNCED]),
        )
        .subquery()
    )
    earlier = source_answers.alias()
    newest = (
        select(func.max(earlier.c.at))
        .where(
            earlier.c.address == a.address,
            earlier.c.source == a.source,
            earlier.c.at <= ranked.c.at,
        )
        .scalar_subquery()
    )
    last_band = 100 // SCORE_BAND - 1
    band = case((a.score >= 100, last_band), else_=a.score // SCORE_BAND).cast(Integer)
    wrong = case(
        (and_(a.verdict == Verdict.UNDELIVERABLE.value, ranked.c.bounced == 0), 1),
        (and_(a.verdict == Verdict.DELIVERABLE.value, ranked.c.bounced == 1), 1),
        else_=0,
    )
    judged = {
        "address": a.address,
        "source": a.source,
        "at": ranked.c.at,
        "provider": a.provider,
        "verdict": a.verdict,
        "reason": a.reason,
        "band": band,
        "reply": a.reply,
        "bounced": ranked.c.bounced,
        "code": ranked.c.code,
        "text": ranked.c.text,
        "wrong": wrong,
    }
    found = (
        select(*(column.label(name) for name, column in judged.items()))
        .select_from(
            ranked.join(source_answers, and_(a.address == ranked.c.address, a.at == newest))
        )
        .where(ranked.c.rank == 1)
        .order_by(a.address, a.source)  # in one order everywhere, so that no two writers wait
    )
    insert = store.insert(judged_answers).from_select(list(judged), found)
    keys = {column.name for column in judged_answers.primary_key}
    updated = {name: insert.excluded[name] for name in judged if name not in keys}
    await connection.execute(
        insert.on_conflict_do_update(index_elements=sorted(keys), set_=updated)
    )
