"""The tables of `docs/sandbox.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.samples import Sample
from adapters.contract.wire import WireRequest
from adapters.registry import DIALECTS
from gateway.sandbox.magic import MAGIC_SAMPLES
from gateway.sandbox.simulate import JOB_WORDS, KIND_WORDS, STATUS_KINDS, problem_for_word
from tools.docs.markdown import row, table_head


def keys() -> Iterator[str]:
    yield from table_head("dialect", "base URL", "test key")
    for dialect in DIALECTS:
        base_url = f"http://127.0.0.1:8025/{dialect.name}{dialect.base_path}"
        yield row(dialect.name, f"`{base_url}`", f"`{dialect.sandbox_key}`")


def addresses() -> Iterator[str]:
    yield from table_head("address", "verdict", "reason", "also")
    for local, sample in MAGIC_SAMPLES.items():
        yield row(
            f"`{local}@example.com`", sample.verdict, f"`{sample.reason}`", _other_evidence(sample)
        )


def _other_evidence(sample: Sample) -> str:
    sets: Mapping[str, Any] = sample.evidence_fields
    words = [f"`{name}`" if value is True else f"`{name}` {value}" for name, value in sets.items()]
    return ", ".join(words)


def problems() -> Iterator[str]:
    yield from table_head("word", *(dialect.name for dialect in DIALECTS))
    for word in (*STATUS_KINDS, *KIND_WORDS):
        yield row(f"`{word}`", *(_statuses(word, dialect) for dialect in DIALECTS))


def _statuses(word: str, dialect: Dialect) -> str:
    """The status at most endpoints, and at those that differ."""
    by_status: dict[int, list[str]] = {}
    for endpoint in dialect.endpoints:
        if endpoint.needs_key:
            names = by_status.setdefault(status_of(word, dialect, endpoint), [])
            if endpoint.name not in names:
                names.append(endpoint.name)
    usual = max(by_status, key=lambda status: len(by_status[status]))
    others = (f"{s} ({', '.join(names)})" for s, names in by_status.items() if s != usual)
    return "; ".join((str(usual), *others))


def status_of(word: str, dialect: Dialect, endpoint: AnyEndpoint) -> int:
    """What an endpoint answers to a word for a problem."""
    request = WireRequest(endpoint.methods[0], endpoint.path)
    problem = problem_for_word(word, dialect, request, endpoint, 0)
    return dialect.write_problem(request, problem, endpoint).status


def batches() -> Iterator[str]:
    yield from table_head("word", "a batch is shown as")
    for word, state in JOB_WORDS.items():
        shown = f"`{state}`" if state else "preparing, then running, then completed after 60 s"
        yield row(f"`{word}`", shown)


def operations() -> Iterator[str]:
    """The names of endpoints, by which requests are filtered and faults matched."""
    yield from table_head("dialect", "operations")
    for dialect in DIALECTS:
        names = dict.fromkeys(f"`{endpoint.name}`" for endpoint in dialect.endpoints)
        yield row(dialect.name, ", ".join(names))


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "sandbox-keys": keys,
    "sandbox-addresses": addresses,
    "sandbox-problems": problems,
    "sandbox-batches": batches,
    "sandbox-operations": operations,
}
