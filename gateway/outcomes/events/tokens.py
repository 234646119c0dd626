"""Tokens that came with an event, so that none comes with another one."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert, literal, select

from gateway.outcomes.answers import remove_rows_before
from gateway.outcomes.events.mailgun import MAX_AGE_S, MAX_AHEAD_S, SignedOnce
from gateway.outcomes.events.terms import WrongSignature
from gateway.store import Store
from gateway.store.tables import event_tokens

PURGE_EVERY_S = 3600.0


class EventTokens:
    """Every method may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._purged_at = 0.0

    async def use(self, signed: SignedOnce, now: float) -> None:
        """Note a token with its event; the same event may come again. Raises WrongSignature."""
        if now - self._purged_at > PURGE_EVERY_S:
            self._purged_at = now
            await remove_rows_before(self._store, event_tokens, now - MAX_AGE_S - MAX_AHEAD_S)
        row = {
            "token": signed.token,
            "event": signed.event,
            "at": datetime.fromtimestamp(now, UTC),
        }
        query = select(event_tokens.c.event).where(event_tokens.c.token == signed.token)
        # the first writer's row stays, whichever process it is of
        first = select(*(literal(value, event_tokens.c[name].type) for name, value in row.items()))
        added = insert(event_tokens).from_select(list(row), first.where(~query.exists()))
        async with self._store.write() as connection:
            await connection.execute(added)
            (kept,) = (await connection.execute(query)).one()
        if bytes(kept) != signed.event:
            raise WrongSignature("The token of this signature came with another event before.")
