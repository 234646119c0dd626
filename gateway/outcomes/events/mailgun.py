"""Events of Mailgun: one in a request, whose timestamp and token are signed by HMAC. Pure.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks and
…/webhook-payloads (seen November 2026). The signature is in the body and does not cover the event,
so a token may come with one event alone. Fixtures: `compat_fixtures/mail_services/_mailgun.json`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.outcomes.events.terms import (
    Row,
    WrongSignature,
    bounce_row,
    object_of,
    parse_json,
    read_events,
    row,
    text_of,
    unknown,
)
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes, WrongRow
from gateway.outcomes.terms import Outcome

MAX_AGE_S = 24 * 3600.0
"""Of a signature: Mailgun tries for eight hours."""
MAX_AHEAD_S = 600.0
MAX_TOKEN_CHARACTERS = 200

OUTCOMES = {
    "delivered": Outcome.DELIVERED,
    "complained": Outcome.COMPLAINT,
    "unsubscribed": Outcome.UNSUBSCRIBED,
}
IGNORED = frozenset(
    {"accepted", "stored", "opened", "clicked", "rejected", "list_member_uploaded"}
    | {"list_member_upload_error", "list_uploaded", "email_validation"}
)
"""`rejected`: Mailgun itself refused to send."""
NOT_SENT = ("suppress-bounce", "suppress-complaint", "suppress-unsubscribe")
"""Reasons of failures for which nothing was sent: the address is on a list of Mailgun's."""


@dataclass(frozen=True, slots=True)
class SignedOnce:
    """A token and the event that came with it."""

    token: bytes
    event: bytes


def verify(body: bytes, signing_keys: Iterable[str], now: float) -> SignedOnce:
    """Raises WrongSignature and UnreadableOutcomes. `now` is Unix time in seconds."""
    members = _members(body)
    signature = members.get("signature")
    if not isinstance(signature, Mapping):
        raise WrongSignature("The body has no `signature`.")
    timestamp, token = signature.get("timestamp"), signature.get("token")
    if isinstance(timestamp, int) and not isinstance(timestamp, bool):
        timestamp = str(timestamp)
    if not isinstance(timestamp, str) or not isinstance(token, str):
        raise WrongSignature("`signature` has no timestamp and token.")
    if not (token.isascii() and 0 < len(token) <= MAX_TOKEN_CHARACTERS):
        raise WrongSignature("The token is not one of Mailgun's.")
    # of a subaccount, whose own key is another one, the account signs too
    given = [signature.get(name) for name in ("signature", "parent-signature")]
    signed = f"{timestamp}{token}".encode("utf-8", "surrogatepass")
    if not any(
        hmac.compare_digest(hmac.digest(key.encode(), signed, "sha256").hex().encode(), one)
        for key in signing_keys
        for text in given
        if isinstance(text, str)
        for one in (text.encode("utf-8", "surrogatepass"),)
    ):
        raise WrongSignature("The signature is not by outcomes.mailgun_signing_key.")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise WrongSignature("The timestamp is not in Unix seconds.")
    if not now - MAX_AGE_S <= int(timestamp) <= now + MAX_AHEAD_S:
        raise WrongSignature("The signature is too old, or the clock of this server is wrong.")
    event = hashlib.sha256(_canonical(members.get("event-data"))).digest()[:16]
    return SignedOnce(hashlib.sha256(token.encode()).digest()[:16], event)


def _canonical(event: Any) -> bytes:
    import orjson

    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def read(body: bytes, now: float) -> ReadOutcomes:
    """Raises UnreadableOutcomes. `now` is Unix time in seconds."""
    return read_events([_members(body)], _rows, now)


def _members(body: bytes) -> Mapping[str, Any]:
    members = parse_json(body)
    if not isinstance(members, dict):
        raise UnreadableOutcomes("The body is not an object with `signature` and `event-data`.")
    return members


def _rows(members: Mapping[str, Any]) -> Iterator[Row]:
    event = object_of(members, "event-data")
    word = event.get("event")
    if not isinstance(word, str):
        raise WrongRow("`event-data` has no `event`")
    if word in IGNORED:
        return
    email, at = text_of(event, "recipient"), event.get("timestamp")
    if word in OUTCOMES:
        yield row(email, OUTCOMES[word], at)
    elif word == "failed":
        if event.get("reason") in NOT_SENT:
            return
        status = event.get("delivery-status")
        status = status if isinstance(status, Mapping) else {}
        yield bounce_row(
            email,
            at,
            text_of(status, "code"),
            text_of(status, "message") or text_of(status, "description"),
            is_permanent=event.get("severity") == "permanent",
        )
    else:
        raise unknown("event", word)
