"""What a vendor's refusal says: statuses and words to faults."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply

MAX_DETAIL = 300


def detail_text(value: object) -> str:
    """A vendor's words for `Fault.detail`: one line, and not too long."""
    return " ".join(str(value).split())[:MAX_DETAIL]


def fault_from_status(
    reply: UpstreamReply, status_faults: Mapping[int, FaultKind], detail: object = ""
) -> Fault:
    """The fault that a status says; `kinds` has what the vendor's statuses mean.

    Any other 5xx is the server's error, any other 4xx a refusal of this request, and a 2xx
    or 3xx without the vendor's body in it is garbage. A 403 that is a page to be read by people
    is of the firewall before the vendor, which knows no keys: it refuses our address.
    """
    kind = status_faults.get(reply.status)
    if reply.status == 403 and "html" in reply.headers.get("content-type", ""):
        kind = FaultKind.BANNED
    if kind is None:
        kind = _CLASS_FAULTS.get(reply.status // 100, FaultKind.GARBAGE)
    words = detail_text(detail or "") or detail_text(
        reply.body[:MAX_DETAIL].decode("utf-8", "replace")
    )
    return Fault(kind, words, reply.status, reply.retry_after_s)


_CLASS_FAULTS: Mapping[int, FaultKind] = {5: FaultKind.SERVER_ERROR, 4: FaultKind.REFUSED}

STATUS_FAULTS: Mapping[int, FaultKind] = {
    401: FaultKind.DEAD_KEY,
    402: FaultKind.NO_CREDITS,
    403: FaultKind.DEAD_KEY,
    404: FaultKind.SERVER_ERROR,  # a wrong base URL: nothing is wrong with the address
    405: FaultKind.SERVER_ERROR,
    408: FaultKind.SERVER_ERROR,
    429: FaultKind.TOO_FAST,
}
"""What the statuses mean at most vendors."""
