"""The tables of dialects as upstreams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from adapters.contract.upstream import Upstream
from adapters.registry import DIALECTS
from tools.docs.markdown import row, table_head


def base_urls() -> Iterator[str]:
    yield from table_head("dialect", "`base_url`", "how `upstreams check` tests a key")
    for dialect in DIALECTS:
        if dialect.upstream is not None:
            hosts = {
                host for others in dialect.upstream.other_hosts.values() for host in others.values()
            }
            urls = (f"`https://{h}{dialect.base_path}`" for h in dialect.hosts if h not in hosts)
            yield row(f"`{dialect.name}`", ", ".join(urls), _key_check(dialect.upstream))


def _key_check(upstream: Upstream) -> str:
    if upstream.balance is None:
        return "not at all, since every call costs; it tests the connection alone"
    path = upstream.balance.build("key").path
    elsewhere = any(
        path.startswith(prefix) for others in upstream.other_hosts.values() for prefix in others
    )
    return "its balance, on the vendor's other host" if elsewhere else "its balance"


def usual_answers() -> Iterator[str]:
    yield from table_head("vendor", "an answer normally takes up to")
    for dialect in DIALECTS:
        if dialect.upstream is not None:
            yield row(f"`{dialect.name}`", f"{dialect.upstream.usual_answer_s:g} s")


def vendor_jobs() -> Iterator[str]:
    yield from table_head("vendor", "from", "addresses a job", "first poll after", "at most every")
    for dialect in DIALECTS:
        jobs = dialect.vendor_jobs
        if jobs is not None:
            yield row(
                f"`{dialect.name}`",
                f"{jobs.min_addresses:,}",
                f"{jobs.max_addresses:,}",
                f"{jobs.first_poll_delay_s:g} s",
                f"{jobs.max_poll_delay_s:g} s",
            )


LIST_FACTS = {
    "free": "free",
    "role": "role",
    "no_reply": "no-reply",
    "person": "names",
    "did_you_mean": "did-you-mean",
    "disposable": "disposable",
}
"""Fields of the evidence that our lists and rules know, and their names in the table."""


def added_facts() -> Iterator[str]:
    yield from table_head("vendor", "added from the lists")
    for dialect in DIALECTS:
        if dialect.upstream is not None:
            missing = LIST_FACTS.keys() - dialect.upstream.always_reports
            names = (title for fact, title in LIST_FACTS.items() if fact in missing)
            yield row(f"`{dialect.name}`", ", ".join(names) or "nothing")


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "dialect-base-urls": base_urls,
    "dialect-usual-answers": usual_answers,
    "dialect-vendor-jobs": vendor_jobs,
    "dialect-added-facts": added_facts,
}
