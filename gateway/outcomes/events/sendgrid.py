"""Events of SendGrid: an array of them, signed by ECDSA. Pure.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event and
…/getting-started-event-webhook-security-features (seen November 2026). The signature is over the
timestamp and the body as it was sent. Fixtures: `compat_fixtures/mail_services/_sendgrid.json`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.outcomes.events.terms import (
    INSTALL,
    MissingExtra,
    Row,
    WrongSignature,
    bounce_row,
    parse_json,
    read_events,
    row,
    text_of,
    unknown,
)
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes, WrongRow
from gateway.outcomes.terms import Outcome

SIGNATURE_HEADER = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER = "x-twilio-email-event-webhook-timestamp"

OUTCOMES = {
    "delivered": Outcome.DELIVERED,
    "deferred": Outcome.SOFT_BOUNCE,  # the server will be tried again
    "spamreport": Outcome.COMPLAINT,
    "unsubscribe": Outcome.UNSUBSCRIBED,
    "group_unsubscribe": Outcome.UNSUBSCRIBED,
}
IGNORED = frozenset(
    {
        "processed",
        "open",
        "click",
        "group_resubscribe",
        "account_status_change",
        # SendGrid did not send this mail: the address bounced, complained or unsubscribed before
        "dropped",
    }
)


def verify(headers: Mapping[str, str], body: bytes, public_keys: Iterable[str]) -> None:
    """Raises WrongSignature and MissingExtra. `headers` have names in lower case."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_der_public_key
    except ImportError as exc:
        raise MissingExtra(INSTALL) from exc
    signature, timestamp = headers.get(SIGNATURE_HEADER, ""), headers.get(TIMESTAMP_HEADER, "")
    if not signature or not timestamp:
        raise WrongSignature(
            "The request has no signature; enable the Signed Event Webhook at SendGrid."
        )
    try:
        given = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise WrongSignature("The signature is not base64.") from None
    signed = timestamp.encode("latin-1", "replace") + body
    for text in public_keys:
        try:
            key = load_der_public_key(base64.b64decode(_bare(text), validate=True))
        except (ValueError, UnsupportedAlgorithm):
            continue  # nothing is signed by it
        if not isinstance(key, ec.EllipticCurvePublicKey):
            continue
        try:
            key.verify(given, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return
    raise WrongSignature("The signature is not by outcomes.sendgrid_public_key.")


def _bare(key: str) -> str:
    """The key without the lines of PEM around it."""
    return "".join(line.strip() for line in key.splitlines() if "-----" not in line)


def read(body: bytes, now: float) -> ReadOutcomes:
    """Raises UnreadableOutcomes. `now` is Unix time in seconds."""
    events = parse_json(body)
    if not isinstance(events, list):
        raise UnreadableOutcomes("The body is not an array of events.")
    return read_events(events, _rows, now)


def _rows(event: Mapping[str, Any]) -> Iterator[Row]:
    word = event.get("event")
    if not isinstance(word, str):
        raise WrongRow("has no `event`")
    if word in IGNORED:
        return
    email, at = text_of(event, "email"), event.get("timestamp")
    text = text_of(event, "reason") or text_of(event, "response")
    status = text_of(event, "status")
    if word == "bounce":
        # `blocked` is a refusal of this mail, not of the address
        is_permanent = event.get("type", "bounce") == "bounce"
        yield bounce_row(email, at, status, text, is_permanent=is_permanent)
    elif word in OUTCOMES:
        yield row(email, OUTCOMES[word], at, status, text)
    else:
        raise unknown("event", word)
