"""The addresses of a comparison as rows of CSV, and the whole report as JSON. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from adapters.kit.csv import neutralise_formula
from engine.model import Address
from gateway.comparing.compared import ComparedSource
from gateway.comparing.questions import Question
from gateway.comparing.report import Report
from gateway.outcomes.report import share_as_dict
from gateway.outcomes.statistics import Share
from gateway.upstreams.routing.budgets import MICROS_PER_UNIT

OUTCOME_WORDS: Mapping[bool | None, str] = {True: "bounced", False: "delivered", None: ""}
SOURCE_COLUMNS = ("verdict", "reason", "score", "latency_ms", "cost")

ShowAddress = Callable[[Address], str]
"""Makes a text of an address, which may be its digest."""


def csv_rows(
    questions: Sequence[Question], sources: Sequence[ComparedSource], show: ShowAddress
) -> Iterator[bytes]:
    """A row an address. Cells that a spreadsheet would run are neutralised."""
    titles = [f"{source.name} {column}" for source in sources for column in SOURCE_COLUMNS]
    yield _line(["address", "provider", "outcome", *titles])
    for number, question in enumerate(questions):
        row = [show(question.address), question.provider, OUTCOME_WORDS[question.bounced]]
        for source in sources:
            answer = source.answers.get(number)
            if answer is None:
                row += ["", source.faults.get(number, ""), "", "", ""]
            else:
                cost = f"{answer.micros / MICROS_PER_UNIT:g}"
                row += [answer.verdict, answer.reason, str(answer.score)]
                row += [str(answer.latency_ms), cost]
        yield _line(row)


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([neutralise_formula(cell) for cell in cells])
    return text.getvalue().encode(errors="replace")


def differing_addresses(
    questions: Sequence[Question], sources: Sequence[ComparedSource], show: ShowAddress
) -> list[dict[str, Any]]:
    """The addresses about which not all sources have the same verdict, with what each says."""
    rows = []
    for number, question in enumerate(questions):
        answers = {s.name: s.answers[number] for s in sources if number in s.answers}
        if len({answer.verdict for answer in answers.values()}) > 1:
            rows.append(
                {
                    "address": show(question.address),
                    "provider": question.provider,
                    "outcome": OUTCOME_WORDS[question.bounced] or None,
                    "answers": {
                        name: {
                            "verdict": answer.verdict,
                            "reason": answer.reason,
                            "score": answer.score,
                        }
                        for name, answer in answers.items()
                    },
                }
            )
    return rows


def report_json(report: Report, differing: Sequence[Mapping[str, Any]]) -> bytes:
    """The report, and the addresses that sources differ about.

    Every share has its count, and its interval of 95 %.
    """
    fields = {**_plain(report), "differing_addresses": differing}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
    return orjson.dumps(fields, default=_plain, option=options)


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Share):
        return share_as_dict(value)
    return {name: getattr(value, name) for name in value.__slots__}
