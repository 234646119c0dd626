"""The plan that applies to a key."""

from __future__ import annotations

import logging

import pytest

from adapters.contract.operations import UNLIMITED, Plan, Rate
from adapters.registry import DIALECTS
from gateway.accounts.plans import Plans

FREE = Plan("free", "Free", {"verify": Rate(10, 60)}, included=100, hard_cap=True)
OTHER_FREE = Plan("free", "Free, of another vendor", {"all": Rate(1, 1)})
VENDOR = Plan("vendor", "Vendor", batches_per_day=3, batches_waiting=2, batches_running=1)
PLANS = Plans({"generic": [FREE], "other": [OTHER_FREE, VENDOR], "plain": []})


@pytest.mark.parametrize(
    ("dialect", "name", "plan"),
    [
        ("generic", "free", FREE),
        ("other", "free", OTHER_FREE),
        ("plain", "free", Plan("free", "Free", {}, included=100, hard_cap=True)),
        ("other", "vendor", VENDOR),
        ("plain", "vendor", Plan("vendor", "Vendor")),
        ("generic", "unlimited", UNLIMITED),
        ("nowhere", "unlimited", UNLIMITED),
    ],
)
def test_a_plan_applies_in_its_dialect_and_its_allowance_everywhere(
    dialect: str, name: str, plan: Plan
) -> None:
    assert PLANS.plan_for(dialect, name) == plan


def test_an_unknown_plan_is_unlimited_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert PLANS.plan_for("generic", "gone") is UNLIMITED
    assert [record.getMessage() for record in caplog.records] == ["plan.unknown"]


def test_a_plan_limits_batches_in_its_own_dialect_alone() -> None:
    plans = Plans({dialect.name: dialect.plans for dialect in DIALECTS})
    for dialect in DIALECTS:
        for plan in dialect.plans:
            for other in DIALECTS:
                if all(plan.name != each.name for each in other.plans):
                    found = plans.plan_for(other.name, plan.name)
                    limits = (found.batches_per_day, found.batches_waiting, found.batches_running)
                    assert limits == (None, None, None)


def test_the_vendors_plans_have_names() -> None:
    names = Plans({dialect.name: dialect.plans for dialect in DIALECTS}).names
    assert {"unlimited", "emailable", "validto", "free", "starter", "pro", "enterprise"} <= {*names}
