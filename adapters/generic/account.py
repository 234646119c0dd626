"""The plans, and an account's use of its plan."""

from __future__ import annotations

from adapters.contract.operations import (
    UNLIMITED_CREDITS,
    AccountInfo,
    Acknowledge,
    Plan,
    Rate,
    ShowAccount,
)
from adapters.contract.wire import WireReply, WireRequest, json_reply

RATE_BUCKET = "verify"
"""The requests that plans limit by the minute; GETs are never counted (see the quirks)."""


def _plan(
    name: str, price: int, per_minute: int, included: int, overage_rate: float | None
) -> Plan:
    return Plan(
        name,
        name.title(),
        rates={RATE_BUCKET: Rate(per_minute, 60)},
        included=included,
        hard_cap=overage_rate is None,
        price=price,
        overage_rate=overage_rate,
    )


PLANS = (
    _plan("free", 0, 10, 100, None),
    _plan("starter", 29, 60, 5_000, 0.008),
    _plan("pro", 99, 300, 25_000, 0.005),
    _plan("enterprise", 299, 1_000, 100_000, 0.003),
)


def read_account(request: WireRequest) -> ShowAccount:
    return ShowAccount()


def read_plans(request: WireRequest) -> Acknowledge:
    return Acknowledge()


def write_account(_: ShowAccount, account: AccountInfo) -> WireReply:
    included = _included(account)
    return json_reply(
        {
            "plan": account.plan.name,
            "planName": account.plan.title,
            "month": account.month,
            "used": account.used,
            "included": included,
            "remaining": max(0, included - account.used),
            "overage": max(0, account.used - included),
            "overageRate": account.plan.overage_rate,
            "rateLimit": _per_minute(account.plan),
        }
    )


def write_plans(_: Acknowledge, __: None) -> WireReply:
    return json_reply(
        {
            "plans": [
                {
                    "plan": plan.name,
                    "planName": plan.title,
                    "price": plan.price,
                    "currency": "usd",
                    "included": plan.included,
                    "overageRate": plan.overage_rate,
                    "rateLimit": _per_minute(plan),
                }
                for plan in PLANS
            ]
        }
    )


def _included(account: AccountInfo) -> int:
    if account.plan.included is not None:
        return account.plan.included
    if account.credits is not None:
        return account.used + account.credits
    return UNLIMITED_CREDITS


def _per_minute(plan: Plan) -> int:
    rate = plan.rates.get(RATE_BUCKET)
    return UNLIMITED_CREDITS if rate is None else rate.count * 60 // rate.per_s
