"""The tables of what is lost when one vendor answers the clients of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamResult
from adapters.registry import DIALECTS
from engine.model import Dns, Reason, Verdict, Verification
from engine.score import START_POINTS
from engine.verification import verification_from_verdict
from tools.docs.dialect_verdicts import engine_verification, verdict_words, write
from tools.docs.markdown import row, table_head


def pairs() -> Iterator[str]:
    """How many of our verdicts with a reason a client reads otherwise if a vendor answered."""
    yield from table_head("answered by", *(f"{dialect.name} client" for dialect in DIALECTS))
    for behind in DIALECTS:
        counts = (_changed(before, behind) for before in DIALECTS)
        yield row(f"`{behind.name}`", *(str(count) if count else "" for count in counts))


def reasons() -> Iterator[str]:
    """The reasons that a vendor has no word for, and as which they come back."""
    yield from table_head("vendor", "reasons that come back as another")
    for dialect in DIALECTS:
        back: dict[tuple[Verdict, Reason], list[Reason]] = {}
        for verdict, reason in START_POINTS:
            found = answered_by(dialect, engine_verification(verdict, reason))
            if found.reason is not reason:
                back.setdefault((found.verdict, found.reason), []).append(reason)
        yield row(
            f"`{dialect.name}`",
            "; ".join(
                f"{', '.join(f'`{reason}`' for reason in lost)} → {verdict}, `{reason}`"
                for (verdict, reason), lost in back.items()
            ),
        )


def _changed(before: Dialect, behind: Dialect) -> int:
    """The verdicts whose words for the client differ from those without the vendor."""
    own = (engine_verification(verdict, reason) for verdict, reason in START_POINTS)
    return sum(
        list(verdict_words(before, v)) != list(verdict_words(before, answered_by(behind, v)))
        for v in own
    )


def answered_by(dialect: Dialect, v: Verification) -> Verification:
    """The verification as it comes back from the vendor's reply, completed from DNS."""
    assert dialect.upstream is not None
    reply = UpstreamReply(200, {}, write(dialect, v).body, 0.0)
    found = dialect.upstream.verify.parse(reply, UpstreamQuery(v.address))
    assert isinstance(found, UpstreamResult)
    evidence = found.evidence
    if evidence.dns is Dns.NOT_CHECKED:
        evidence = replace(evidence, dns=v.evidence.dns, mx=v.evidence.mx)
    return verification_from_verdict(
        v.address,
        found.verdict,
        found.reason,
        evidence,
        v.checks,
        verified_at=v.verified_at,
        source_score=found.score,
    )


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "dialect-pairs": pairs,
    "dialect-reasons": reasons,
}
