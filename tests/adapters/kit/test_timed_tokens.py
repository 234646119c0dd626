"""Tokens of links that expire."""

import pytest

from adapters.kit.timed_tokens import parse_timed_token, timed_token

TOKEN = timed_token("kickbox", "17", "the-secret", 1_000)


def test_a_token_is_valid_until_its_end() -> None:
    timed = parse_timed_token(TOKEN)
    assert timed is not None
    assert (timed.job_id, timed.expires_at) == ("17", 1_000)
    assert timed.is_valid("kickbox", "the-secret", 1_000.0)
    assert not timed.is_valid("kickbox", "the-secret", 1_000.1)


@pytest.mark.parametrize(
    ("dialect", "secret", "token"),
    [
        pytest.param("kickbox", "another", TOKEN, id="the secret of another batch"),
        pytest.param("emailable", "the-secret", TOKEN, id="another dialect"),
        pytest.param("kickbox", "the-secret", TOKEN.replace("-1000-", "-9000-"), id="a later end"),
        pytest.param("kickbox", "the-secret", TOKEN.replace("17-", "18-"), id="another batch"),
        pytest.param("kickbox", "the-secret", TOKEN[:-1] + "x", id="another signature"),
    ],
)
def test_a_token_is_valid_for_nothing_else(dialect: str, secret: str, token: str) -> None:
    timed = parse_timed_token(token)
    assert timed is not None
    assert not timed.is_valid(dialect, secret, 0.0)


@pytest.mark.parametrize(
    "text",
    ["", "-", "--", "17", "17-1000", TOKEN[3:], TOKEN + "0", TOKEN[:-1] + "é",
     TOKEN.replace("1000", "1e3"), TOKEN.replace("1000", "-1"), TOKEN.replace("1000", "9" * 40)],
)  # fmt: skip
def test_another_text_is_no_token(text: str) -> None:
    assert parse_timed_token(text) is None
