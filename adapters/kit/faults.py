"""Error replies of vendors as `Fault`s, by their status or their text.

At most vendors the status is enough. Some report errors with a 200, or several kinds of errors with
one status; then the text decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply

MAX_DETAIL_CHARACTERS = 300

STATUS_FAULTS: Mapping[int, FaultKind] = {
    401: FaultKind.DEAD_KEY,
    402: FaultKind.NO_CREDITS,
    403: FaultKind.DEAD_KEY,
    # a wrong path or method means a wrong base URL, and nothing about the address
    404: FaultKind.SERVER_ERROR,
    405: FaultKind.SERVER_ERROR,
    408: FaultKind.SERVER_ERROR,
    429: FaultKind.TOO_FAST,
}
"""The meaning of a status at most vendors. A dialect overrides single rows."""

_CLASS_FAULTS: Mapping[int, FaultKind] = {5: FaultKind.SERVER_ERROR, 4: FaultKind.REFUSED}


class FaultWords(NamedTuple):
    """A row of a dialect's table of error texts."""

    words: str
    """In lower case. The row applies to a text that contains them in any case."""
    kind: FaultKind
    ask_balance: bool = False
    """See `Fault.ask_balance`."""


def detail_text(value: object) -> str:
    """An error text for `Fault.detail`, as one line, shortened. A JSON value that is not a text is
    shown as JSON."""
    if not isinstance(value, str):
        value = orjson.dumps(value).decode()
    return " ".join(value.split())[:MAX_DETAIL_CHARACTERS]


def fault_from_status(
    reply: UpstreamReply,
    detail: object = "",
    statuses: Mapping[int, FaultKind] = STATUS_FAULTS,
) -> Fault:
    """The fault for a status; `detail` is the vendor's error text, else the body is shown.

    A status without a row is a server error (5xx) or a refusal of this request (4xx); a 2xx or 3xx
    without the vendor's body is garbage. A 403 with an HTML page is from a firewall in front of the
    vendor, which knows no keys: it refuses our IP address.
    """
    kind = statuses.get(reply.status)
    if _is_firewall_page(reply):
        kind = FaultKind.BANNED
    if kind is None:
        kind = _CLASS_FAULTS.get(reply.status // 100, FaultKind.GARBAGE)
    words = detail_text(detail or "") or detail_text(
        reply.body[:MAX_DETAIL_CHARACTERS].decode("utf-8", "replace")
    )
    return Fault(kind, words, reply.status, reply.retry_after_s)


def fault_from_words(
    reply: UpstreamReply,
    text: object,
    rows: Sequence[FaultWords],
    statuses: Mapping[int, FaultKind] = STATUS_FAULTS,
) -> Fault:
    """The fault for an error text, for a status that has several meanings.

    The first row that applies counts. Without one, the status decides; a text with a 2xx is then a
    refusal of this request.
    """
    words = detail_text(text or "")
    row = next((row for row in rows if row.words in words.lower()), None)
    if row is not None and not _is_firewall_page(reply):
        return Fault(row.kind, words, reply.status, reply.retry_after_s, row.ask_balance)
    if words and reply.status // 100 == 2:
        return Fault(FaultKind.REFUSED, words, reply.status, reply.retry_after_s)
    return fault_from_status(reply, words, statuses)


def _is_firewall_page(reply: UpstreamReply) -> bool:
    return reply.status == 403 and "html" in reply.headers.get("content-type", "")
