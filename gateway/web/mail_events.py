"""`/veriplex/v1/outcomes/{service}`: the events that mail services post.

They have no key; each service shows in its own way that it is the sender. What cannot be read in a
request that is genuine is counted in the reply, and does not make the service send it again.
"""

from __future__ import annotations

import logging
import math

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.errors import StorageUnavailable
from gateway.outcomes.events.receiver import SETTINGS, NotSetUp
from gateway.outcomes.events.terms import MissingExtra, TryAgainLater, WrongSignature
from gateway.outcomes.opening import OutcomeServices
from gateway.outcomes.reading import UnreadableOutcomes
from gateway.web.native_outcomes import outcomes_as_dict
from gateway.web.problem_json import problem_response

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Of one request: SendGrid's have up to 768 KB, SNS's 256 KB, Postmark's may have the bounce."""
MAX_BYTES_IN_FLIGHT = 32 * 1024 * 1024
"""Of all such requests, since anybody can send them."""


class MailEventCalls:
    """Without services, as in the sandbox, no events are taken."""

    def __init__(self, outcomes: OutcomeServices | None) -> None:
        self._events = outcomes.events if outcomes is not None else None
        self._in_flight = 0

    async def receive(self, request: Request) -> Response:
        """Take the events of a mail service: ses, sendgrid, mailgun or postmark."""
        service = request.path_params["service"]
        if service not in SETTINGS:
            return problem_response(404, f"Events come from {', '.join(SETTINGS)}.")
        if self._events is None:
            return problem_response(404, "This server keeps no outcomes.")
        taken = 0
        try:
            self._events.check_set_up(service)
            encoding = request.headers.get("content-encoding", "identity").strip().lower()
            if encoding != "identity":
                return problem_response(415, "The body is compressed; send it as it is.")
            body = bytearray()
            async for piece in request.stream():
                if len(body) + len(piece) > MAX_EVENT_BYTES:
                    return problem_response(413, f"The body has over {MAX_EVENT_BYTES:,} bytes.")
                if self._in_flight + len(piece) > MAX_BYTES_IN_FLIGHT:
                    return _later("Too many events are on their way.", 5)
                self._in_flight += len(piece)
                taken += len(piece)
                body += piece
            headers = dict(request.headers)
            found = await self._events.receive(service, headers, bytes(body))
        except NotSetUp as exc:
            return problem_response(404, f"This server takes no events of {service}: {exc}")
        except WrongSignature as exc:
            log.warning("outcomes.event_refused", extra={"service": service, "reason": str(exc)})
            return problem_response(401, str(exc))
        except UnreadableOutcomes as exc:
            log.warning("outcomes.event_refused", extra={"service": service, "reason": str(exc)})
            return problem_response(400, str(exc))
        except MissingExtra as exc:
            log.error("outcomes.event_refused", extra={"service": service, "reason": str(exc)})
            return problem_response(501, str(exc))
        except TryAgainLater as exc:
            return _later(str(exc), 60)
        except StorageUnavailable:
            return _later("The outcomes cannot be stored now.", 10)
        except ClientDisconnect:
            return problem_response(400, "The body did not arrive whole.")
        finally:
            self._in_flight -= taken
        if found.read.refused:
            _, why = found.read.refused[0]
            log.warning(
                "outcomes.event_not_understood",
                extra={"service": service, "count": found.read.refused_count, "reason": why},
            )
        summary = outcomes_as_dict(found.read, found.stored, found.known)
        summary["received"] += found.read.ignored
        summary["ignored"] = found.read.ignored
        return Response(orjson.dumps(summary), media_type="application/json")


def _later(detail: str, after_s: float) -> Response:
    return problem_response(503, detail, headers={"Retry-After": str(math.ceil(after_s))})
