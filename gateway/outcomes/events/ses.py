"""Events of Amazon SES, as SNS wraps them. Pure.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html and
…/notification-contents.html (seen November 2026). Fixtures:
`compat_fixtures/mail_services/_ses.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.outcomes.events.terms import (
    Row,
    bounce_row,
    list_of,
    object_of,
    objects_of,
    parse_json,
    read_events,
    row,
    text_of,
    unknown,
)
from gateway.outcomes.reading import ReadOutcomes, WrongRow
from gateway.outcomes.terms import Outcome

IGNORED = frozenset({"Send", "Reject", "Open", "Click", "Rendering Failure"})
NOT_SENT = frozenset({"Suppressed", "OnAccountSuppressionList"})
"""Bounces and complaints for which nothing was sent: the address had one before."""


def read(message: str, now: float) -> ReadOutcomes:
    """The outcomes of the `Message` of a notification. Raises UnreadableOutcomes."""
    if message.startswith("Successfully validated SNS topic"):
        return ReadOutcomes(ignored=1)  # SES says so once, when events are set up
    return read_events([parse_json(message.encode("utf-8", "surrogatepass"))], _rows, now)


def _rows(event: Mapping[str, Any]) -> Iterator[Row]:
    kind = event.get("eventType") or event.get("notificationType")
    if not isinstance(kind, str):
        raise WrongRow("has no `eventType`")
    if kind == "Bounce":
        yield from _bounce(object_of(event, "bounce"))
    elif kind == "Complaint":
        complaint = object_of(event, "complaint")
        if text_of(complaint, "complaintSubType") not in NOT_SENT:
            for each in objects_of(complaint, "complainedRecipients"):
                at = complaint.get("timestamp")
                yield row(text_of(each, "emailAddress"), Outcome.COMPLAINT, at)
    elif kind == "Delivery":
        delivery = object_of(event, "delivery")
        for email in list_of(delivery, "recipients"):
            yield row(email, Outcome.DELIVERED, delivery.get("timestamp"))
    elif kind == "DeliveryDelay":
        delay = object_of(event, "deliveryDelay")
        for each in objects_of(delay, "delayedRecipients"):
            yield bounce_row(
                text_of(each, "emailAddress"),
                delay.get("timestamp"),
                text_of(each, "status"),
                text_of(each, "diagnosticCode"),
                is_permanent=False,
            )
    elif kind == "Subscription":
        subscription = object_of(event, "subscription")
        preferences = subscription.get("newTopicPreferences")
        if isinstance(preferences, Mapping) and preferences.get("unsubscribeAll") is True:
            for email in list_of(object_of(event, "mail"), "destination"):
                yield row(email, Outcome.UNSUBSCRIBED, subscription.get("timestamp"))
    elif kind not in IGNORED:
        raise unknown("eventType", kind)


def _bounce(bounce: Mapping[str, Any]) -> Iterator[Row]:
    if text_of(bounce, "bounceSubType") in NOT_SENT:
        return
    for each in objects_of(bounce, "bouncedRecipients"):
        yield bounce_row(
            text_of(each, "emailAddress"),
            bounce.get("timestamp"),
            text_of(each, "status"),
            text_of(each, "diagnosticCode"),
            is_permanent=bounce.get("bounceType") == "Permanent",
        )
