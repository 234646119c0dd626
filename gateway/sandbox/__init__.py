"""The sandbox: what test keys are answered with, off-line and the same every time."""

from __future__ import annotations

from collections.abc import Callable

from adapters.dialect import Dialect, Problem, ProblemKind, Verify
from engine.model import Address, Verification
from gateway.sandbox.magic import MAGIC_DOMAIN, SLOW
from gateway.sandbox.samples import Samples


class Sandbox:
    """Answers for test keys."""

    def __init__(self, seed: str, *, clock: Callable[[], float]) -> None:
        self._samples = Samples(seed)
        self._clock = clock

    def verify(self, dialect: Dialect, address: Address, op: Verify) -> Verification:
        """The sample for an address. Raises `Problem` (`NOT_READY`) for `slow@`."""
        if (
            op.wait_s is not None
            and address.user.lower() == SLOW
            and address.ascii_domain == MAGIC_DOMAIN
        ):
            raise Problem(ProblemKind.NOT_READY)
        return self._samples.of(dialect.name, op.email, op.checks)
