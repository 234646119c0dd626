"""Rules of a dialect's tables that Python's types cannot express."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.operations import Operation
from adapters.registry import DIALECTS

ENDPOINTS = [(dialect, endpoint) for dialect in DIALECTS for endpoint in dialect.endpoints]


def function_of(translator: Callable[..., Any]) -> Callable[..., Any]:
    return translator.func if isinstance(translator, partial) else translator


def outcome_type(operation: type[Any]) -> Any:
    """The `Out` of the `Operation[Out]` that a class derives from."""
    if arguments := get_args(operation):
        return arguments[0]
    for base in operation.__dict__.get("__orig_bases__", operation.__bases__):
        origin = getattr(base, "__origin__", base)
        if isinstance(origin, type) and issubclass(origin, Operation):
            (argument,) = get_args(base) or (None,)
            return outcome_type(origin) if argument is None else argument
    raise AssertionError(f"{operation} is no operation")


def plain(operation: Any) -> Any:
    """The class of `JobOperation[Job]`, of which a reader makes several kinds."""
    origin = get_origin(operation)
    return origin if isinstance(origin, type) and issubclass(origin, Operation) else operation


@pytest.mark.parametrize(
    ("dialect", "endpoint"), ENDPOINTS, ids=[f"{d.name} {e.name} {e.path}" for d, e in ENDPOINTS]
)
def test_a_writer_takes_the_outcome_of_the_readers_operation(
    dialect: Dialect, endpoint: AnyEndpoint
) -> None:
    write = function_of(endpoint.write)
    hints = get_type_hints(write)
    written_operation, written_outcome = (
        hints[name] for name in inspect.signature(write).parameters
    )
    operation = get_type_hints(function_of(endpoint.read))["return"]
    assert issubclass(plain(operation), plain(written_operation))
    assert written_outcome == outcome_type(operation)
