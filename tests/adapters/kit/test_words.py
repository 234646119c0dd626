"""Values in requests and replies."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.batch_rules import IdSource
from adapters.kit.words import (
    clamped_integer,
    datetime_or_none,
    first_job_id,
    parse_bool,
    parse_integer,
    parse_mx_hosts,
    path_segment,
    random_id,
    text_or_none,
    utc_millis,
)
from engine.model import MxHost

anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, True),
        ("True", True),
        (" 1 ", True),
        (1, True),
        (1.0, True),
        (False, False),
        ("false", False),
        ("0.0", False),
        (0, False),
        (None, None),
        ("null", None),
        ("yes", None),
        (2, None),
        ([], None),
    ],
)
def test_a_boolean(value: object, found: bool | None) -> None:
    assert parse_bool(value) is found
    assert parse_bool(value, True) is (True if found is None else found)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (7, 7),
        (-1, -1),
        ("007", 7),
        ("496150", 496_150),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        (True, None),
        ("-1", None),
        ("1.0", 1),
        ("1000065.0", 1_000_065),
        ("1.5", None),
        ("1.", None),
        (1.5, None),
        (float("inf"), None),
        (float("nan"), None),
        (1.0, 1),
        ("\u0667", None),
        ("", None),
        (None, None),
    ],
)
def test_an_integer(value: object, found: int | None) -> None:
    assert parse_integer(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, 5),
        ("x", 5),
        ("", 5),
        (True, 5),
        ([], 5),
        ("nan", 5),
        (1, 2),
        ("99", 10),
        (1e300, 10),
        ("9" * 500, 10),
        (" 7 ", 7),
        (7.0, 7),
        ("2.5", 2),
    ],
)
def test_a_number_is_clamped(value: object, found: int) -> None:
    assert clamped_integer(value, 5, 2, 10) == found


@given(anything)
def test_any_value_is_read_without_an_error(value: object) -> None:
    assert parse_bool(value) in (True, False, None)
    assert isinstance(parse_integer(value), int | None)
    assert isinstance(text_or_none(value), str | None)
    assert isinstance(datetime_or_none(value), datetime | None)
    assert isinstance(first_job_id(value), str | None)
    assert isinstance(parse_mx_hosts(value), tuple)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (("", None, "abc"), "abc"),
        ((7,), "7"),
        ((True, 1.5, [], {}), None),
        (("x" * 201, "y"), "y"),
        (("  a ",), "a"),
    ],
)
def test_a_job_id(values: tuple[object, ...], found: str | None) -> None:
    assert first_job_id(*values) == found


def test_mail_hosts_are_ranked_by_their_position() -> None:
    assert parse_mx_hosts("MX1.x.test.", "", None, "mx2.x.test") == (
        MxHost("mx1.x.test", 0),
        MxHost("mx2.x.test", 1),
    )


def test_an_instant_is_written_in_utc_with_milliseconds() -> None:
    at = datetime(2026, 5, 15, 12, 30, 0, 123_999, timezone(timedelta(hours=2)))
    assert utc_millis(at) == "2026-05-15T10:30:00.123Z"
    assert datetime_or_none(utc_millis(at)) == datetime(2026, 5, 15, 10, 30, 0, 123_000, UTC)


def test_an_id_is_drawn_from_its_alphabet() -> None:
    assert random_id("abc", 4)(IdSource(1, lambda bound: bound - 1)) == "cccc"


def test_an_id_stays_one_segment() -> None:
    assert path_segment("a/b?c d") == "a%2Fb%3Fc%20d"
