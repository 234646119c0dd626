"""The parameters: names in any case, in the query or in a body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.wire import WireRequest


def request_params(request: WireRequest) -> Mapping[str, Any]:
    """The query's parameters, and a POST's own, which outrank them; names in lower case.

    Raises `UnreadableRequest`.
    """
    body = request.fields if request.method == "POST" else {}
    return {name.lower(): value for sent in (request.query, body) for name, value in sent.items()}


def wants_xml(params: Mapping[str, Any]) -> bool:
    return str(params.get("outputformat")).strip().lower() == "xml"
