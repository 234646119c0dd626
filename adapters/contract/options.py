"""Settings of one dialect, in the section of `veriplex.toml` that has its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from adapters.contract.dialect import Dialect

Values = TypeVar("Values")


def option(default: Any, meaning: str, *, unit: str = "", **bounds: float) -> Any:
    """A field of a dialect's options: a bool, a number, or a `Literal` of words.

    `meaning` is the sentence in `docs/settings.md`; `unit` is "s" for seconds; `bounds` are `gt`,
    `ge`, `lt` and `le`.
    """
    metadata = {"meaning": meaning, "unit": unit, "bounds": bounds}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class DialectOptions(Generic[Values]):
    """The options of a dialect, and how they change it."""

    kind: type[Values]
    """A frozen dataclass whose fields are made by `option`."""
    configure: Callable[[Dialect, Values], Dialect]
    """The dialect with these values. Pure."""

    def apply(self, dialect: Dialect, values: Mapping[str, Any]) -> Dialect:
        """The dialect with these values by name; a missing one has its default."""
        return self.configure(dialect, self.kind(**values))
