"""The tables that list the dialects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from adapters.contract.batch_rules import BatchRules, BilledUnit, ChargeTime
from adapters.contract.operations import UNLIMITED, Plan
from adapters.kit.root_paths import RULES
from adapters.registry import DIALECTS
from tools.docs.markdown import row, table_head

MAX_ADDRESSES = 1_000_000
"""More than any dialect accepts in a batch."""


_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count() -> Iterator[str]:
    """A sentence with the number of vendors, and their names."""
    titles = [dialect.title for dialect in DIALECTS]
    number = _NUMBERS[len(titles)] if len(titles) < len(_NUMBERS) else str(len(titles))
    names = f"{', '.join(titles[:-1])} and {titles[-1]}"
    yield f"It speaks the APIs of {number} vendors: {names}."


def addresses() -> Iterator[str]:
    yield from table_head("dialect", "at the root", "under its prefix", "host names")
    for dialect in DIALECTS:
        prefixes = (dialect.name, *dialect.aliases)
        yield row(
            f"`{dialect.name}`",
            f"`{dialect.base_path or '/'}`",
            ", ".join(f"`/{prefix}{dialect.base_path}`" for prefix in prefixes),
            ", ".join(f"`{host}`" for host in dialect.hosts),
        )


CANNOT_BE_SET = "cannot be set: redirect its [host name](#host-names)"


def clients() -> Iterator[str]:
    yield from table_head("client", "where its base URL is set")
    for dialect in DIALECTS:
        for client in dialect.clients:
            url = f"http://127.0.0.1:8025{client.base_path}"
            setting = (client.setting or CANNOT_BE_SET).replace("{url}", url)
            yield row(f"{dialect.title}: {client.name}", setting)
    yield row(
        "the vendors' own snippets (`requests`, `fetch`, cURL)",
        "the constant with the URL: replace scheme and host, keep the path",
    )


def certificate() -> Iterator[str]:
    """A command that makes a certificate for the host names of all vendors."""
    names = ",".join(f"DNS:{host}" for dialect in DIALECTS for host in dialect.hosts)
    yield "```sh"
    yield "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=veriplex \\"
    yield "  -keyout names.key -out names.pem \\"
    yield f"  -addext subjectAltName={names}"
    yield "```"


def shared_paths() -> Iterator[str]:
    yield from table_head("path at the root", "belongs to", "if", "else to")
    served = {dialect.name for dialect in DIALECTS}
    for path, owner, when, other in RULES:
        if {owner, other} <= served:
            yield row(path, f"`{owner}`", when, f"`{other}`")


def plans() -> Iterator[str]:
    yield from table_head("plan", "dialect", "rates", "verifications a month", "batches")
    yield row(f"`{UNLIMITED.name}`", "all", "", "", "")
    for dialect in DIALECTS:
        for plan in dialect.plans:
            yield row(
                f"`{plan.name}`", dialect.name, _rates(plan), _allowance(plan), _batch_limits(plan)
            )


_PERIODS = {1: "a second", 10: "in 10 seconds", 60: "a minute", 3_600: "an hour", 86_400: "a day"}


def _rates(plan: Plan) -> str:
    """Such as `25 verify, 5 account a second`; the names are those of endpoints."""
    by_period: dict[int, list[str]] = {}
    for bucket, rate in plan.rates.items():
        calls = "calls" if bucket == "all" else f"`{bucket}`"
        by_period.setdefault(rate.per_s, []).append(f"{rate.count:,} {calls}")
    rates = [f"{', '.join(counts)} {_PERIODS[s]}" for s, counts in by_period.items()]
    if plan.parallel is not None:
        rates.append(f"{plan.parallel} at a time from an address")
    return "; ".join(rates)


def _allowance(plan: Plan) -> str:
    if plan.included is None:
        return ""
    return f"{plan.included:,}, then {'refused' if plan.hard_cap else 'overage'}"


def _batch_limits(plan: Plan) -> str:
    limits = (
        (plan.batches_per_day, "a day"),
        (plan.batches_waiting, "waiting"),
        (plan.batches_running, "running"),
    )
    return ", ".join(f"{count} {what}" for count, what in limits if count is not None)


def batches() -> Iterator[str]:
    yield from table_head(
        "dialect", "a duplicate address", "charged", "refunded", "results are stored for", "then"
    )
    for dialect in DIALECTS:
        if (rules := dialect.batch_rules) is not None:
            yield row(
                dialect.name,
                _duplicates(rules),
                _charge(rules),
                f"rows that are `{rules.refund_word}`" if rules.refund_word else "",
                _retention(rules),
                "nothing" if rules.delete_with_rows else "the counts",
            )


def _duplicates(rules: BatchRules) -> str:
    if rules.marks_duplicates:
        return "two rows, one verified and charged"
    return "one row" if rules.merge_duplicates else "two rows"


_UNITS = {
    BilledUnit.ENTRIES: "entry",
    BilledUnit.ROWS: "row",
    BilledUnit.VALID: "well-formed entry",
}
_TIMES = {ChargeTime.SUBMIT: "at submission", ChargeTime.START: "at the start"}


def _charge(rules: BatchRules) -> str:
    charge = f"{_TIMES[rules.charged_at]}, one credit per {_UNITS[rules.billed_unit]}"
    if rules.must_cover_unit is rules.billed_unit:
        return charge
    return f"{charge}, if there is one per {_UNITS[rules.must_cover_unit]}"


def _retention(rules: BatchRules) -> str:
    """`30 days`, or `30 days; 5 days for more than 1,000 addresses`."""
    small, large = rules.retention_s(1), rules.retention_s(MAX_ADDRESSES)
    if small == large:
        return _days(small)
    limit = bisect_left(range(MAX_ADDRESSES), True, key=lambda n: rules.retention_s(n) == large)
    return f"{_days(small)}; {_days(large)} for more than {limit - 1:,} addresses"


def _days(retention_s: int | None) -> str:
    return "until deleted" if retention_s is None else f"{retention_s // 86_400} days"


def browsers() -> Iterator[str]:
    yield from table_head("dialect", "pages of any origin may call")
    for dialect in DIALECTS:
        open_ = {f"`{e.path}`": None for e in dialect.endpoints if e.cors}
        yield row(dialect.name, ", ".join(open_) or "nothing")


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "dialect-count": count,
    "dialect-addresses": addresses,
    "dialect-browsers": browsers,
    "dialect-clients": clients,
    "certificate": certificate,
    "dialect-shared-paths": shared_paths,
    "dialect-plans": plans,
    "dialect-batches": batches,
}
