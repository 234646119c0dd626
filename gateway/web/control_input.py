"""What tests send to the control API: filters and faults. A name that does not exist is refused
with the nearest one, since a test that filters by it would be green for another reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from typing import Any

from pydantic_core import ErrorDetails
from starlette.requests import Request

from adapters.contract.dialect import Dialect
from adapters.contract.problems import ProblemKind
from gateway.sandbox.deliveries import DeliveryFilter, DeliveryStatus
from gateway.sandbox.faults import InjectedFault
from gateway.sandbox.redact import redact_keys
from gateway.sandbox.requests import ExchangeFilter
from gateway.sandbox.webhooks import WEBHOOK_OPERATION
from gateway.settings.problems import suggestion

MAX_TEXT_CHARACTERS = 256
"""Of the text that requests are searched for."""
MAX_SHOWN_CHARACTERS = 60
"""Of a name that does not exist."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class ControlApiError(Exception):
    """Becomes a problem document (RFC 9457)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


# -- filters and faults ------------------------------------------------------------------


class ControlNames:
    """The names of the dialects and their operations. All methods raise ControlApiError."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        dialects = tuple(dialects)
        self._dialects = {name: d.name for d in dialects for name in (d.name, *d.aliases)}
        """By names and aliases."""
        self._operations = {
            d.name: tuple(dict.fromkeys(endpoint.name for endpoint in d.endpoints))
            for d in dialects
        }
        """The names of endpoints, by dialect."""

    def parse_filter(self, request: Request, *others: str) -> ExchangeFilter:
        """The filter of requests in the query, which may have the parameters `others` as well."""
        parameters = _parameters(request, ExchangeFilter, others)
        if len(parameters.get("text", "")) > MAX_TEXT_CHARACTERS:
            raise ControlApiError(
                400, f"text should have at most {MAX_TEXT_CHARACTERS} characters."
            )
        self._resolve_dialect(parameters)
        self._check_operation(parameters, ())
        if "method" in parameters:
            parameters["method"] = _known("method", parameters["method"].upper(), METHODS)
        if parameters.get("problem"):
            _known("problem", parameters["problem"], list(ProblemKind))
        for name in ("path", "text"):
            if name in parameters:  # as it stands in the log
                parameters[name] = redact_keys(parameters[name], "")
        for name in ("status", "after", "before"):
            if name in parameters:
                parameters[name] = parse_number(request, name, 0, 0, 2**62)
        return ExchangeFilter(**parameters)

    def parse_delivery_filter(self, request: Request, *others: str) -> DeliveryFilter:
        """The filter of webhooks in the query."""
        parameters = _parameters(request, DeliveryFilter, others)
        self._resolve_dialect(parameters)
        if "status" in parameters:
            _known("status", parameters["status"], list(DeliveryStatus))
        return DeliveryFilter(**parameters)

    def resolve_fault(self, fault: InjectedFault) -> InjectedFault:
        """The fault with the dialect's own name, if there are requests that it can match."""
        parameters = {"dialect": fault.dialect, "operation": fault.operation}
        self._resolve_dialect(parameters)
        self._check_operation(parameters, (WEBHOOK_OPERATION,))
        return replace(fault, dialect=parameters["dialect"])

    def _resolve_dialect(self, parameters: dict[str, Any]) -> None:
        """An empty one is that of requests to a path of no dialect."""
        if parameters.get("dialect"):
            _known("dialect", parameters["dialect"], self._dialects)
            parameters["dialect"] = self._dialects[parameters["dialect"]]

    def _check_operation(self, parameters: Mapping[str, Any], others: tuple[str, ...]) -> None:
        operation, dialect = parameters.get("operation"), parameters.get("dialect")
        if not operation:
            return
        if dialect:
            names, where = self._operations[dialect], f"operation of {dialect}"
        else:
            names, where = tuple(chain(*self._operations.values())), "operation"
        _known(where, operation, tuple(dict.fromkeys((*names, *others))))


def _parameters(
    request: Request, kind: type[ExchangeFilter | DeliveryFilter], others: Collection[str]
) -> dict[str, Any]:
    """The parameters that a filter is made of. Raises ControlApiError for an unknown one."""
    names = [field.name for field in fields(kind)]
    check_parameters(request, (*names, *others))
    return {name: value for name, value in request.query_params.items() if name in names}


def check_parameters(request: Request, names: Collection[str]) -> None:
    """Raises ControlApiError for a parameter that is neither one of these nor `key`: with `?kye=`
    a call would be about all keys."""
    for name in request.query_params:
        _known("parameter", name, (*names, "key"))


def parse_number(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (
        text.isascii() and text.isdigit() and len(text) < 20 and minimum <= int(text) <= maximum
    ):
        raise ControlApiError(400, f"{name} should be a whole number from {minimum} to {maximum}.")
    return int(text)


def _known(noun: str, name: str, known: Collection[str]) -> str:
    """The name. Raises ControlApiError if it is not known."""
    if name in known:
        return name
    shown = redact_keys(name[:MAX_SHOWN_CHARACTERS], "")
    hint = suggestion(name, known) or f"; there are {', '.join(known)}"
    raise ControlApiError(400, f"no {noun} is named {shown!r}{hint}")


# -- bodies ------------------------------------------------------------------------------


def mistakes_text(errors: Sequence[ErrorDetails], type_: type[Any]) -> str:
    """What is wrong with a body, in plain words: of several forms of a value one line."""
    seen: dict[str, str] = {}
    for error in errors:
        place = ".".join(part for part in map(str, error["loc"]) if part.isidentifier())
        field = place.split(".")[0]
        seen.setdefault(field, _mistake_text(error, type_))
    return "; ".join(f"{field}: {text}" if field else text for field, text in seen.items())


def _mistake_text(error: ErrorDetails, type_: type[Any]) -> str:
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument" if len(error["loc"]) == 1:
            known = tuple(name for name in getattr(type_, "__annotations__", {}) if name[0] != "_")
            hint = suggestion(str(error["loc"][0]), known) or f"; there are {', '.join(known)}"
            return f"no member has this name{hint}"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"no member is named {str(error['loc'][-1])[:MAX_SHOWN_CHARACTERS]!r}"
        case "missing":
            return f"{error['loc'][-1]} is missing"
    if error["loc"][:1] == ("latency_ms",):
        return LATENCY_FORMS
    known_text = MISTAKES.get(error["type"])
    if known_text is not None:
        return known_text
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text.replace("should be greater than or equal to", "should be at least").replace(
        "should be less than or equal to", "should be at most"
    )


LATENCY_FORMS = 'should be milliseconds, as 100, [50, 200] or {"median": 100, "sigma": 0.5}'
MISTAKES: Mapping[str, str] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing"),
        "should be a time, as 2027-01-01T00:00:00Z",
    ),
    **dict.fromkeys(("dataclass_type", "model_type", "dict_type"), "should be an object"),
    "string_type": "should be a text, in quotes",
    "json_invalid": "the body is not valid JSON",
}
"""What is wrong with a value, by the type of pydantic's error."""
