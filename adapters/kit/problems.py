"""Headers that the error replies of several vendors have."""

from __future__ import annotations

from adapters.contract.problems import Problem


def problem_headers(problem: Problem) -> tuple[tuple[str, str], ...]:
    """`Retry-After` and `Allow` (RFC 9110 sections 10.2.3 and 10.2.1), where they apply."""
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_s is not None:
        headers += (("Retry-After", str(problem.retry_after_s)),)
    if problem.allowed_methods:
        headers += (("Allow", ", ".join(problem.allowed_methods)),)
    return headers
