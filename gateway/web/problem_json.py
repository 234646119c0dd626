"""Problem details (RFC 9457) for errors on Veriplex's own paths.

An error on a vendor's path is written by that vendor's dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


def problem_response(
    status: int,
    detail: str | None = None,
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem of the type `about:blank`.

    Without a `title` it has the status's phrase (section 4.2.1). `members` are extension members
    (section 3.2).
    """
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
    }
    if detail is not None:
        body["detail"] = detail
    return Response(orjson.dumps(body | members), status, headers, media_type=MEDIA_TYPE)
