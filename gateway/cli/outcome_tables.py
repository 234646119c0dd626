"""How right each source was, and what the engine would have to change, as tables for a terminal."""

from __future__ import annotations

import sys

from gateway.cli.tables import print_table
from gateway.outcomes import words
from gateway.outcomes.candidates import Candidates
from gateway.outcomes.report import OutcomeReport


def print_report(found: OutcomeReport) -> None:
    """How right each source was, and how far shadow sources agree."""
    _print_outcomes(found)
    if found.agreement:
        sys.stdout.write("\nShadow sources: the share with the verdict that clients got\n")
        print_table(
            [
                (
                    row.shadow,
                    row.source,
                    row.provider or "all",
                    words.share(row.agreement.same),
                    words.kappa(row.agreement),
                )
                for row in found.agreement
            ],
            headings=("shadow", "source", "provider", "the same", "kappa"),
        )


def _print_outcomes(found: OutcomeReport) -> None:
    if not found.outcomes:
        sys.stdout.write(
            "No outcomes are known yet. POST /veriplex/v1/outcomes tells what became of mails.\n"
        )
        return
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items())
    sys.stdout.write(f"Outcomes: {counts}.\n")
    if not found.verdicts:
        sys.stdout.write("None of these addresses was verified here before.\n")
        return
    sys.stdout.write("\nMail that bounced, by what the source had said before\n")
    print_table(
        [
            (row.source, row.provider or "all", row.verdict.value, words.share(row.bounced))
            for row in found.verdicts
        ],
        headings=("source", "provider", "verdict", "bounced"),
    )
    sys.stdout.write("\nCalibration: the share delivered by the source's score\n")
    print_table(
        [
            (source, f"{band.low}-{band.high}", words.share(band.delivered))
            for source, bands in found.calibration.items()
            for band in bands
        ],
        headings=("source", "score", "delivered"),
    )
    if found.wrong:
        sys.stdout.write("\nReasons for verdicts that were wrong\n")
        print_table(
            [
                (
                    f"{row.count:,}",
                    row.source,
                    f"{row.verdict.value} ({row.reason})",
                    " ".join(filter(None, (row.code, row.text))) or "mail arrived",
                )
                for row in found.wrong
            ],
            headings=("count", "source", "said", "then"),
        )


def print_candidates(found: Candidates) -> None:
    """Replies that led to wrong verdicts, and those that came after mail had been sent."""
    if not found.replies and not found.bounces:
        sys.stdout.write("No reply is known that led the engine to a wrong verdict.\n")
        return
    if found.replies:
        sys.stdout.write("Replies that led the engine to a wrong verdict, or to none\n")
        print_table(
            [
                (
                    words.share(each.wrong),
                    words.share(each.bounced),
                    f"{each.verdict.value} ({each.reason})",
                    f"{each.meaning}, by {each.rule}",
                    each.reply,
                )
                for each in found.replies
            ],
            headings=("wrong", "bounced", "said", "read as", "reply"),
        )
    if found.bounces:
        sys.stdout.write(
            "\nWhat servers said when mail bounced that the engine called deliverable\n"
        )
        print_table(
            [
                (f"{each.count:,}", f"{each.meaning}, by {each.rule}", each.reply)
                for each in found.bounces
            ],
            headings=("count", "read as", "reply"),
        )
