"""Plans: those of the dialects, and `unlimited`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from adapters.contract.operations import UNLIMITED, Plan

log = logging.getLogger(__name__)


class Plans:
    """Finds the plan that applies to a caller.

    An account has one plan, and keys of many dialects. In a dialect that defines the plan, all of
    it applies. In the others its monthly allowance applies, which is the account's, but no other
    limit: its rates count calls of the defining dialect's endpoints, and its batches are those of
    the defining vendor's API.
    """

    def __init__(self, by_dialect: Mapping[str, Iterable[Plan]]) -> None:
        self._plans: dict[tuple[str, str], Plan] = {}
        self._other_dialects: dict[str, Plan] = {UNLIMITED.name: UNLIMITED}
        for dialect, plans in by_dialect.items():
            for plan in plans:
                self._plans[dialect, plan.name] = plan
                self._other_dialects.setdefault(plan.name, _in_other_dialects(plan))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._other_dialects)

    def plan_for(self, dialect: str, name: str) -> Plan:
        """The plan `name` as it applies to a key of `dialect`.

        A name that no dialect defines any more counts as unlimited: an upgrade must not lock paying
        customers out.
        """
        found = self._plans.get((dialect, name)) or self._other_dialects.get(name)
        if found is None:
            log.warning("plan.unknown", extra={"plan": name})
            return UNLIMITED
        return found


def _in_other_dialects(plan: Plan) -> Plan:
    """What a plan comes to for keys of dialects that do not define it."""
    return replace(plan, rates={}, batches_per_day=None, batches_waiting=None, batches_running=None)
