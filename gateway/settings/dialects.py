"""The dialects as the settings want them."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from gateway.settings.model import Settings
from gateway.settings.section import Section


def configured_dialects(
    settings: Settings, dialects: Iterable[Dialect] = DIALECTS
) -> tuple[Dialect, ...]:
    """Each dialect with the options in the section that is named for it."""
    return tuple(_configured(dialect, settings) for dialect in dialects)


def _configured(dialect: Dialect, settings: Settings) -> Dialect:
    section: Section | None = getattr(settings, dialect.name, None)
    if dialect.options is None or section is None:
        return dialect
    return dialect.options.apply(dialect, section.model_dump())
