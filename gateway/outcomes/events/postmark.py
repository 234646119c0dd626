"""Events of Postmark: one in a request, with a password or a header of one's own. Pure.

https://postmarkapp.com/developer/webhooks/webhooks-overview, …/bounce-webhook,
…/delivery-webhook, …/spam-complaint-webhook and …/subscription-change-webhook (seen November 2026).
Postmark signs nothing: it sends the name and the password of the webhook's URL as basic
authentication, and headers that the webhook's settings name. Fixtures:
`compat_fixtures/mail_services/_postmark.json`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.outcomes.events.terms import (
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

TOKEN_HEADER = "x-veriplex-token"  # noqa: S105  # its name
BOUNCES = {
    # whether Postmark calls the bounce permanent
    "HardBounce": True,
    "BadEmailAddress": True,
    "AddressChange": False,
    "SoftBounce": False,
    "Transient": False,
    "DnsError": False,
    "Blocked": False,
    "SpamNotification": False,
    "VirusNotification": False,
    "DMARCPolicy": False,
    "Unknown": False,
    "ChallengeVerification": False,
    "Undeliverable": False,
}
OUTCOMES = {"Unsubscribe": Outcome.UNSUBSCRIBED, "SpamComplaint": Outcome.COMPLAINT}
IGNORED_BOUNCES = frozenset(
    {
        "AutoResponder",
        "Subscribe",
        "OpenRelayTest",
        "Unconfirmed",
        # nothing was sent, or what came was no mail of ours
        "ManuallyDeactivated",
        "SMTPApiError",
        "InboundError",
        "TemplateRenderingFailed",
    }
)
IGNORED = frozenset({"Open", "Click", "Inbound"})


def verify(headers: Mapping[str, str], tokens: Iterable[str]) -> None:
    """The token is the password, `name:password`, a bearer token, or in `X-Veriplex-Token`.

    Raises WrongSignature. `headers` have names in lower case.
    """
    given = [headers.get(TOKEN_HEADER, "")]
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given.append(rest.strip())
    elif scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise WrongSignature("The header Authorization is not one of RFC 7617.") from None
        given += [pair, pair.partition(":")[2]]
    wanted = [token.encode() for token in tokens]
    found = [
        hmac.compare_digest(text.encode("utf-8", "surrogatepass"), token)
        for text in given
        for token in wanted
        if text
    ]
    if not any(found):
        raise WrongSignature("The request does not have outcomes.postmark_token.")


def read(body: bytes, now: float) -> ReadOutcomes:
    """Raises UnreadableOutcomes. `now` is Unix time in seconds."""
    event = parse_json(body)
    if not isinstance(event, dict):
        raise UnreadableOutcomes("The body is not an event.")
    return read_events([event], _rows, now)


def _rows(event: Mapping[str, Any]) -> Iterator[Row]:
    record = event.get("RecordType")
    if not isinstance(record, str):
        raise WrongRow("has no `RecordType`")
    details = text_of(event, "Details")
    if record in ("Bounce", "SpamComplaint"):
        kind = text_of(event, "Type") or record
        email, at = text_of(event, "Email"), event.get("BouncedAt")
        if kind in OUTCOMES:
            yield row(email, OUTCOMES[kind], at)
        elif kind in BOUNCES:
            yield bounce_row(email, at, "", details, is_permanent=BOUNCES[kind])
        elif kind not in IGNORED_BOUNCES:
            raise unknown("Type", kind)
    elif record == "Delivery":
        yield row(text_of(event, "Recipient"), Outcome.DELIVERED, event.get("DeliveredAt"))
    elif record == "SubscriptionChange":
        # of bounces and complaints there are events of their own, and an operator's is no answer
        is_recipients = event.get("SuppressionReason") == "ManualSuppression" and (
            event.get("Origin") == "Recipient"
        )
        if event.get("SuppressSending") is True and is_recipients:
            yield row(text_of(event, "Recipient"), Outcome.UNSUBSCRIBED, event.get("ChangedAt"))
    elif record not in IGNORED:
        raise unknown("RecordType", record)
