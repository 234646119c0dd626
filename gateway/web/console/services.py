"""The services that the console shows and uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.contract.dialect import Dialect
from gateway.accounts.console_access import ConsoleAccess

if TYPE_CHECKING:
    from gateway.accounts.accounts import Accounts
    from gateway.accounts.directory import AccountDirectory
    from gateway.batches.oversight import BatchOversight
    from gateway.outcomes.opening import OutcomeServices
    from gateway.sandbox import Sandbox
    from gateway.service import Service
    from gateway.settings import Settings
    from gateway.settings.section import SettingPath
    from gateway.status.overview import Overview
    from gateway.web.browsers import BrowserGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleServices:
    """Those that every server has, and those that `veriplex sandbox` has not: they are None."""

    access: ConsoleAccess
    guard: BrowserGuard
    dialects: Sequence[Dialect]
    sandbox: Sandbox
    service: Service
    settings: Settings | None = None
    accounts: Accounts | None = None
    batches: BatchOversight | None = None
    directory: AccountDirectory | None = None
    overview: Overview | None = None
    outcomes: OutcomeServices | None = None
    origins: Mapping[SettingPath, str] = field(default_factory=dict)
    """Where settings come from that are not the defaults."""
