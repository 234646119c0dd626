"""How much a mail host takes in bulk before it objects, learnt from its replies. Pure.

Servers slow down or hang up after so many refused recipients on one connection, accept few
recipients in one transaction, or are simply slow. `HostLimits` says how many recipients the next
window may hold (a window is one write of pipelined commands), and learns from each window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_WINDOW_SIZE = 10
"""Recipients in the first window."""
MAX_WINDOW_SIZE = 200
GROW_BELOW_S, SHRINK_ABOVE_S = 0.5, 2.0
"""The window size is doubled after a full window that took less, halved after one that took
more."""

DEFAULT_REFUSAL_BUDGET = 9
"""Refused recipients on a connection before a server objects (Postfix slows down at the tenth)."""
REFUSAL_RESERVE = 2
"""With less than this left of the budget a connection is renewed: a window for one more
recipient costs more than it brings."""
BUDGET_TEST_RECIPIENTS = 2
"""Recipients in each window that tests what a server does beyond the default budget."""
TARPIT_S = 0.8
"""A window that takes longer was held back on purpose (Postfix: a second for each reply)."""
ACCEPTED_PER_RECIPIENT = 4
"""Recipients accepted in a row for each one in the next window, while the budget is a guess."""

REFUSAL_RATE_WEIGHT = 0.2
"""Weight of the latest window in the moving average."""
NEGLIGIBLE_REFUSAL_RATE = 0.001
"""A rate below this counts as none."""
REFUSAL_MARGIN = 3
"""Safety factor: at the average rate a window uses up a third of the refusals that are left."""

UNLIMITED = 1_000_000
"""Recipients or refusals; more than any connection carries."""


@dataclass(slots=True)
class WindowSize:
    """Recipients in one window: more while the host is quick, fewer when it is slow or hangs up."""

    recipients: int = FIRST_WINDOW_SIZE

    def update(self, asked: int, took_s: float, *, broken: bool) -> None:
        """Learn from a window of `asked` recipients; `broken` if its replies broke off."""
        if broken or took_s > SHRINK_ABOVE_S:
            self.recipients = max(1, self.recipients // 2)
        elif took_s < GROW_BELOW_S and asked >= self.recipients:
            self.recipients = min(MAX_WINDOW_SIZE, self.recipients * 2)


@dataclass(slots=True)
class RefusalRate:
    """Share of recipients refused lately, 0..1: an exponentially weighted moving average."""

    share: float = 0.0

    def update(self, refused: int, asked: int) -> None:
        self.share += REFUSAL_RATE_WEIGHT * (refused / max(asked, 1) - self.share)
        if self.share < NEGLIGIBLE_REFUSAL_RATE:
            self.share = 0.0

    def max_recipients(self, refusals_left: int) -> int:
        """Recipients of which no more than `refusals_left` should be refused."""
        if not self.share:
            return UNLIMITED
        return max(refusals_left, round(refusals_left / (REFUSAL_MARGIN * self.share)))


@dataclass(slots=True)
class RefusalBudget:
    """Recipients that may be refused on one connection before the host slows down or hangs up.

    It is a guess at first. A host that hangs up shows a smaller one; else one connection tests
    whether replies beyond the guess are held back, and if they are not, there is no limit.
    """

    limit: int = DEFAULT_REFUSAL_BUDGET
    is_known: bool = False
    """Whether it is known what the host does beyond the limit."""
    test_running: bool = False
    """Whether a connection asks beyond the limit to find out."""
    accepted_in_a_row: int = 0
    """Recipients since the last refusal, on all connections."""

    def left(self, refused: int) -> int:
        """Refusals left on a connection that has had `refused` of them."""
        return self.limit - refused

    def is_spent(self, refused: int) -> bool:
        """Whether what is left is not worth another window."""
        return self.left(refused) < min(REFUSAL_RESERVE, self.limit)

    def claim_test(self, *, is_tester: bool) -> bool:
        """Whether a connection whose budget is spent may go on as a test, of which there is one.

        `is_tester` if it is the connection that tests already.
        """
        if self.is_known or (self.test_running and not is_tester):
            return False
        self.test_running = True
        return True

    def max_recipients(self, refused: int) -> int:
        """Recipients in the next window, in case all of them are refused.

        A batch may begin with its valid addresses, so while the limit is a guess a window grows
        only with the recipients accepted before it.
        """
        if self.is_known:
            return UNLIMITED
        return max(
            self.left(refused) + BUDGET_TEST_RECIPIENTS,
            self.accepted_in_a_row // ACCEPTED_PER_RECIPIENT,
        )

    def update(
        self, refused_before: int, refused: int, asked: int, took_s: float, *, hung_up: bool
    ) -> None:
        """Learn from a window of `asked` recipients on a connection.

        `refused_before` of the connection's recipients were refused in earlier windows, `refused`
        in this one. `hung_up` if the host closed the connection.
        """
        self.accepted_in_a_row = 0 if refused else self.accepted_in_a_row + asked
        total = refused_before + refused
        if refused and hung_up:
            # It hung up because of its refusals: the next connection is renewed before that.
            self.limit = max(1, min(self.limit, total - 1))
            self.is_known = True
        elif not self.is_known and total > self.limit:
            if took_s > TARPIT_S:
                self.is_known = True
            elif total > self.limit + BUDGET_TEST_RECIPIENTS:
                self.is_known = True
                self.limit = UNLIMITED


@dataclass(slots=True)
class ConnectionUse:
    """How far one connection is used."""

    recipients: int = 0
    refused: int = 0
    tests_budget: bool = False
    """Whether it is the one that tests the refusal budget."""


@dataclass(slots=True)
class HostLimits:
    """What one mail host was found to take."""

    recipients_per_transaction: int = UNLIMITED
    window: WindowSize = field(default_factory=WindowSize)
    refusal_rate: RefusalRate = field(default_factory=RefusalRate)
    refusal_budget: RefusalBudget = field(default_factory=RefusalBudget)

    def next_window_size(self, use: ConnectionUse, recipients_per_connection: int) -> int:
        """Recipients that the connection's next window may hold; 0 if it should be renewed."""
        size = min(self.window.recipients, recipients_per_connection - use.recipients)
        budget = self.refusal_budget
        if budget.is_spent(use.refused):
            if not budget.claim_test(is_tester=use.tests_budget):
                return 0
            use.tests_budget = True
            return min(size, BUDGET_TEST_RECIPIENTS)
        return min(
            size,
            budget.max_recipients(use.refused),
            self.refusal_rate.max_recipients(budget.left(use.refused)),
        )

    def max_refusals(self, use: ConnectionUse) -> int:
        """Refusals in a window after which a slow reply may end it; 0 if none may.

        While the refusal budget is a guess, one slow reply beyond it is enough to know.
        """
        budget = self.refusal_budget
        return 0 if budget.is_known or use.tests_budget else budget.left(use.refused)

    def record_window(
        self,
        use: ConnectionUse,
        *,
        asked: int,
        refused: int,
        took_s: float,
        broken: bool,
    ) -> None:
        """Learn from a window of `asked` recipients; `broken` if its replies broke off."""
        self.refusal_rate.update(refused, asked)
        self.refusal_budget.update(use.refused, refused, asked, took_s, hung_up=broken)
        self.window.update(asked, took_s, broken=broken)
        use.recipients += asked
        use.refused += refused
