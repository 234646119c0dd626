"""All settings as one object, and a look-up by name.

A section is a class of the modules beside this one, and a setting is a field of it, with its
default, bounds and meaning. The tables of `docs/settings.md` and the file that `veriplex init`
writes are made from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field as DataclassField
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from adapters.contract.dialect import Dialect
from adapters.contract.options import DialectOptions
from adapters.registry import DIALECTS
from gateway.errors import LOCAL_SOURCE
from gateway.settings.probe import EgressSettings, EngineSettings
from gateway.settings.section import Section, setting
from gateway.settings.server import (
    ConsoleSettings,
    KeySettings,
    LimitsSettings,
    LogSettings,
    MetricsSettings,
    SandboxSettings,
    ServerSettings,
)
from gateway.settings.sources import (
    CircuitSettings,
    RouteSettings,
    RoutingSettings,
    TransportSettings,
    UpstreamSettings,
)
from gateway.settings.storage import (
    CacheSettings,
    OutcomesSettings,
    SharedSettings,
    StorageSettings,
    WorkSettings,
)


class CommonSettings(Section):
    """All settings, but for the options of dialects."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    shared: SharedSettings = SharedSettings()
    engine: EngineSettings = EngineSettings()
    work: WorkSettings = WorkSettings()
    cache: CacheSettings = CacheSettings()
    sandbox: SandboxSettings = SandboxSettings()
    routing: RoutingSettings = RoutingSettings()
    circuit: CircuitSettings = CircuitSettings()
    transport: TransportSettings = TransportSettings()
    limits: LimitsSettings = LimitsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    console: ConsoleSettings = ConsoleSettings()
    outcomes: OutcomesSettings = OutcomesSettings()
    keys: tuple[KeySettings, ...] = ()
    egress: tuple[EgressSettings, ...] = ()
    upstreams: tuple[UpstreamSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """`routing.order`, or its meaning if it is empty."""
        return self.sources_of(self.routing)

    def sources_of(self, routing: RoutingSettings) -> tuple[str, ...]:
        """The order of one route, or its meaning if it is empty."""
        return routing.order or (LOCAL_SOURCE, *(u.name for u in self.upstreams))


# -- options of dialects -------------------------------------------------------------------


def _dialect_section(dialect: Dialect, options: DialectOptions[Any]) -> type[Section]:
    """The section of a dialect that has options, such as `[dataoorts]`."""
    kinds = get_type_hints(options.kind)
    settings: dict[str, Any] = {
        each.name: (kinds[each.name], _option_setting(each)) for each in fields(options.kind)
    }
    section: type[Section] = create_model(
        f"{dialect.name.title()}Settings",
        __base__=Section,
        __doc__=f"Options of the {dialect.name} dialect.",
        **settings,
    )
    return section


def _option_setting(option: DataclassField[Any]) -> Any:
    about = option.metadata
    bounds = {"allow_inf_nan": False} if isinstance(option.default, float) else {}
    return setting(option.default, about["meaning"], about["unit"], **about["bounds"], **bounds)


DIALECT_SECTIONS: Mapping[str, type[Section]] = {
    dialect.name: _dialect_section(dialect, dialect.options)
    for dialect in DIALECTS
    if dialect.options is not None
}

if TYPE_CHECKING:
    Settings: TypeAlias = CommonSettings
else:
    Settings = create_model(
        "Settings",
        __base__=CommonSettings,
        __doc__="All settings.",
        **{name: (section, section()) for name, section in DIALECT_SECTIONS.items()},
    )

# -- look-up ---------------------------------------------------------------------


def known_settings() -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """All settings with a name of their own, in order; a list of tables is one of them."""
    yield from _fields(Settings, ())


def _fields(
    model: type[BaseModel], prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, info in model.model_fields.items():
        loc = (*prefix, name)
        section = section_class(info)
        if prefix or section is None:
            yield loc, info
        if section is not None:
            yield from _fields(section, loc)


def section_class(info: FieldInfo) -> type[Section] | None:
    """The class of a section; None for a single value."""
    kind: Any = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
