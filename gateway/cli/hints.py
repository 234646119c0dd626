"""Lines for the end of a run whose results say that something is wrong with the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.model import Reason, Verification

if TYPE_CHECKING:
    from engine.probe import ProbeConfig
    from engine.smtp.egress import EgressSet

HELO = (
    "hint: mail servers were greeted as localhost, which many refuse; set engine.helo to a name"
    " that resolves to this machine and back"
)
UNREACHABLE = "nobody could be reached on port 25: run `veriplex doctor`"
REFUSED = "every mail server refused this machine: run `veriplex doctor`"


class NetworkHints:
    """Observes the results of a run."""

    def __init__(self, config: ProbeConfig) -> None:
        names = {egress.identity.helo for egress in config.effective_egresses}
        self._helo_is_localhost = "localhost" in names
        self._greeted_others = False
        self._refused = self._unreachable = self._answered = False
        self._faults: list[str] = []

    def observe(self, verification: Verification) -> None:
        smtp = verification.evidence.smtp
        if smtp is None:
            return
        if verification.reason is Reason.NO_CONNECT:
            self._unreachable = True
        elif verification.reason is Reason.BLOCKED:
            self._refused = True
        else:
            self._answered = True
        if self._helo_is_localhost and smtp.ip is not None and not self._greeted_others:
            from ipaddress import ip_address

            self._greeted_others = not ip_address(smtp.ip).is_loopback

    def observe_egresses(self, egresses: EgressSet) -> None:
        """Note which ways out failed, at the end of the run."""
        for egress in egresses:
            if egress.health.faults:
                faults, reason = egress.health.faults, egress.health.reason
                often = f"{faults:,} times, the last time" if faults > 1 else "once"
                self._faults.append(f"hint: egress {egress.name} failed {often}: {reason}")

    def lines(self) -> Iterator[str]:
        """For the end of the run."""
        yield from self._faults
        if not self._answered and (self._unreachable or self._refused):
            yield UNREACHABLE if self._unreachable else REFUSED
        if self._greeted_others:
            yield HELO
