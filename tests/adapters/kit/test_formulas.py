"""Cells that a spreadsheet would run as a formula (CWE-1236)."""

from __future__ import annotations

import pytest

from adapters.kit.csv import neutralise_formula


@pytest.mark.parametrize(
    "cell",
    [
        "=cmd|' /C calc'!A0@b.evil",
        "=HYPERLINK(1)",
        "@SUM(1)",
        "+1+1",
        "-2+3",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1dSUM(1)",
        "\uff0b1+1",
        "\uff0d1",
        "\uff20SUM(1)",
        "-",
        "+1-555-0100",
    ],
)
def test_a_formula_becomes_text(cell: str) -> None:
    assert neutralise_formula(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a", "ada@example.com", "-5", "+15551234567", "-1.5", "1=1"])
def test_anything_else_stays(cell: str) -> None:
    assert neutralise_formula(cell) == cell
