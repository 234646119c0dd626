"""The parameters: names in any case, in the query or in a body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.wire import WireRequest

SWITCH_WORDS: Mapping[str, bool] = {"0": False, "1": True, "false": False, "true": True}
"""The pages say 0 and 1, the Node client says true and false; anything else is the default."""


def request_params(request: WireRequest) -> Mapping[str, Any]:
    """Query parameters overlaid by the body's, names in lower case. Raises `Unreadable`."""
    body = request.fields if request.method == "POST" else {}
    return {name.lower(): value for sent in (request.query, body) for name, value in sent.items()}


def parse_switch(value: object, default: bool) -> bool:
    """Text, number or JSON boolean."""
    return SWITCH_WORDS.get(str(value).strip().lower(), default)


def wants_xml(params: Mapping[str, Any]) -> bool:
    return str(params.get("outputformat")).strip().lower() == "xml"
